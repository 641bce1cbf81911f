//! What each kind of request is answered with.

use super::*;

#[test]
fn a_request_is_answered_and_the_connection_kept() {
    let (reply, is_closed) = exchange([GET.as_bytes()]);
    assert_eq!(
        reply,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"ok\"}\n"
    );
    assert!(!is_closed);
}

#[test]
fn each_kind_of_request_gets_its_status() {
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("200", false)),
        (
            "GET http://a/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            ("200", false),
        ),
        (
            "GET /%68ealthz?a=%zz HTTP/1.1\r\nHost: a\r\n\r\n",
            ("200", false),
        ),
        ("GET / HTTP/1.0\r\n\r\n", ("200", true)),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            ("200", false),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            ("200", true),
        ),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ("200", false)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ("200", false)),
        ("OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n", ("200", false)),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", ("400", false)),
        ("GET / HTTP/1.1\r\n\r\n", ("400", true)),
        ("GET / HTTP/1.1\nHost: a\n\n", ("400", true)),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ("400", true)),
        ("hello\r\n", ("400", true)),
        ("\x16\x03\x01\x02\x00", ("400", true)),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", ("400", true)),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", ("404", false)),
        ("GET /healthz/ HTTP/1.1\r\nHost: a\r\n\r\n", ("404", false)),
        (
            "DELETE /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            ("405", false),
        ),
        (
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
            ("405", false),
        ),
        ("BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", ("501", false)),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", ("400", true)),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", ("505", true)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ("505", true)),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            ("501", true),
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n",
            ("413", true),
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
            ("400", true),
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfail",
            ("500", false),
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfull",
            ("503", false),
        ),
        ("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", ("503", false)),
    ] {
        let (code, is_closed) = status(request);
        assert_eq!((code.as_str(), is_closed), expected, "{request:?}");
    }
    let long = "a".repeat(9000);
    let cases = [
        (format!("GET /{long}"), "414"),
        (format!("{long}{long}"), "414"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"), "431"),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(65)),
            "431",
        ),
    ];
    for (request, code) in cases {
        assert_eq!(
            status(&request),
            (code.to_string(), true),
            "{}",
            &request[..20]
        );
    }
}

#[test]
fn a_405_names_the_methods_the_route_has() {
    let (reply, _) = exchange([&b"PUT /echo HTTP/1.1\r\nHost: a\r\n\r\n"[..]]);
    assert!(
        reply.contains("\r\nAllow: GET, HEAD, POST, OPTIONS\r\n"),
        "{reply}"
    );
    let (reply, _) = exchange([&b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n"[..]]);
    assert!(
        reply.contains("\r\nContent-Length: 0\r\nAllow: GET, HEAD, OPTIONS\r\n"),
        "{reply}"
    );
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    for path in ["/", "/healthz", "/readyz", "/json", "/echo?abc", "/nothing"] {
        let ask = |method: &str| {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            exchange([request.as_bytes()]).0
        };
        let (get, head) = (ask("GET"), ask("HEAD"));
        let end = get.find("\r\n\r\n").expect("a head") + 4;
        assert_eq!(head, get[..end], "{path}");
        assert!(get.len() > end, "{path}");
    }
}

#[test]
fn bodies_reach_the_handler_with_their_coding_removed() {
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
    ] {
        let request = format!("POST /echo?q= HTTP/1.1\r\nHost: a\r\n{body}{GET}");
        let (reply, is_closed) = exchange([request.as_bytes()]);
        assert!(
            reply.contains("\r\nContent-Length:          7\r\n\r\nq=hello"),
            "{reply}"
        );
        assert!(
            reply.ends_with("{\"status\":\"ok\"}\n") && !is_closed,
            "{reply}"
        );
    }
}

#[test]
fn a_client_that_holds_its_body_back_is_told_to_go_on_once() {
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (reply, _) = exchange([head.as_bytes(), b"h", b"i"]);
    let rest = reply
        .strip_prefix("HTTP/1.1 100 Continue\r\n\r\n")
        .expect("an interim reply");
    assert!(
        rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("hi"),
        "{reply}"
    );
    let all = format!("{head}hi");
    assert!(
        exchange([all.as_bytes()])
            .0
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
}

#[test]
fn the_metrics_page_counts_what_was_served_in_the_format_that_was_asked_for() {
    let mut server = server();
    let mut peer = Peer::connect(&mut server, 0, at(1));
    peer.feed(&mut server, GET.as_bytes(), at(1));
    peer.feed(
        &mut server,
        b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
        at(1),
    );
    peer.replies.clear();
    peer.feed(
        &mut server,
        b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        at(1),
    );
    for part in [
        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
        "nos_http_requests_total{path=\"/healthz\",code=\"200\"} 1\n",
        "nos_http_requests_total{path=\"other\",code=\"404\"} 1\n",
        "nos_http_request_duration_seconds_count 2\n",
    ] {
        assert!(peer.replies.contains(part), "{part}: {}", peer.replies);
    }
    peer.replies.clear();
    let request =
        "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n";
    peer.feed(&mut server, request.as_bytes(), at(1));
    assert!(
        peer.replies
            .contains("application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
    );
    assert!(peer.replies.ends_with("# EOF\n"), "{}", peer.replies);
}

#[test]
fn the_index_lists_its_routes_and_loads_nothing_from_elsewhere() {
    let (reply, _) = exchange([&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]]);
    assert!(reply.contains("Content-Type: text/html; charset=utf-8\r\n"));
    assert!(
        reply.contains("<a href=\"/a&amp;b\">/a&amp;b</a></dt><dd>&lt;none></dd>"),
        "{reply}"
    );
    assert!(reply.contains("1.2.3"));
    assert!(!reply.contains("http:") && !reply.contains("https:") && !reply.contains("url("));
}

#[test]
fn a_server_whose_counters_are_not_for_its_routes_is_refused() {
    let counters = Arc::new(HttpCounters::new(&["/a"]).expect("room"));
    let error = HttpServer::new(&CLOCK, 9100, Limits::DEFAULT, Vec::new(), counters)
        .err()
        .expect("no route has that counter");
    assert!(matches!(error.kind(), Kind::Missing { .. }));
}

#[test]
fn who_wants_one_answer_gets_at_once_what_it_would_get_in_turn() {
    for (request, is_served) in [
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            true,
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n", true),
        ("GET /nothing HTTP/1.0\r\n\r\n", true),
        ("BREW /healthz HTTP/1.0\r\n\r\n", true),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("GET /healthz HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n", false),
        (
            "GET /healthz HTTP/1.0\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            false,
        ),
        ("GET /healthz HTTP/1.0\r\nA: b\r\n", false),
        ("\r\nGET /healthz HTTP/1.0\r\n\r\n", false),
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", false),
    ] {
        let (mut server, mut output) = (server(), Output::new());
        let was_served = serve_at_once(&mut server, request, &mut output);
        assert_eq!(was_served, is_served, "{request}");
        if is_served {
            let in_turn = exchange([request.as_bytes()]);
            let at_once = String::from_utf8(output.take()).expect("text");
            assert_eq!((at_once, true), in_turn, "{request}");
        } else {
            assert!(output.is_empty(), "{request}");
        }
        // It knows nobody, and where there is no room it does not begin.
        assert_eq!(server.deadline(), None);
        for slot in 1..5 {
            Peer::connect(&mut server, slot, at(1));
        }
        let was_served = serve_at_once(&mut server, request, &mut output);
        assert!(!was_served, "{request}");
    }
}

fn serve_at_once(server: &mut HttpServer, request: &str, output: &mut Output) -> bool {
    server.serve_at_once(Turn {
        id: id(0),
        now: at(1),
        input: request.as_bytes(),
        output,
    })
}

#[test]
fn a_bad_value_is_told_with_its_key_and_what_it_must_be() {
    let request = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nbad";
    let (reply, is_closed) = exchange([request.as_bytes()]);
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert_eq!(body, "400 Bad Request: times: expected a number\n");
    assert!(!is_closed);
}
