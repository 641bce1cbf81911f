//! Who may change something: who shows the admin token.

use super::*;

/// The reply of a server with `token` to `method` on its one route, with `field` in the head, and what it counted.
fn ask(token: AdminToken, access: Access, method: &str, field: &str) -> (String, String) {
    let counters = Arc::new(HttpCounters::new(&["/act"]).expect("room"));
    let mut routes = Vec::from([Route::admin("/act", Methods::GetAndPost, Echo).expect("memory")]);
    routes[0].access = access;
    let mut server = HttpServer::new(&CLOCK, 9100, Limits::DEFAULT, routes, counters.clone())
        .expect("counters for each route")
        .with_admin_token(token);
    let mut peer = Peer::connect(&mut server, 0, at(1));
    let request =
        format!("{method} /act HTTP/1.1\r\nHost: a\r\n{field}Content-Length: 4\r\n\r\ndone");
    peer.feed(&mut server, request.as_bytes(), at(1));
    assert!(!peer.is_closed, "the next request may be another's");
    let mut page = Vec::new();
    let mut encoder = crate::metrics::Encoder::new(&mut page, crate::metrics::Format::Text);
    crate::metrics::Source::collect(&*counters, &mut encoder);
    encoder.finish().expect("room");
    (
        peer.replies,
        String::from_utf8(page).expect("metrics are text"),
    )
}

fn token() -> AdminToken {
    AdminToken::new("admin-token", "open-sesame").expect("a token")
}

#[test]
fn the_token_opens_what_acts() {
    for field in [
        "Authorization: Bearer open-sesame\r\n",
        "authorization: bearer  open-sesame \r\n",
    ] {
        let (reply, counted) = ask(token(), Access::Admin, "POST", field);
        assert!(
            reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("done"),
            "{reply}"
        );
        assert!(counted.contains("nos_http_requests_total{path=\"/act\",code=\"200\"} 1\n"));
        assert!(counted.contains("nos_http_rejected_total{reason=\"auth\"} 0\n"));
    }
}

#[test]
fn without_it_nothing_acts_and_the_refusal_is_counted() {
    for field in [
        "",
        "Authorization: Bearer open-sesam\r\n",
        "Authorization: Bearer open-sesame1\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: open-sesame\r\n",
        "Authorization: Basic open-sesame\r\n",
        "Authorization: Bearer wrong\r\nAuthorization: Bearer open-sesame\r\n",
        "Authorization: Bearer open-sesame\r\nAuthorization: Bearer open-sesame\r\n",
    ] {
        let (reply, counted) = ask(token(), Access::Admin, "POST", field);
        let head =
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"nos\"\r\nContent-Type: ";
        assert!(reply.starts_with(head), "{field}: {reply}");
        assert!(
            reply.ends_with("\r\n\r\n401 Unauthorized: this route needs the admin token\n"),
            "{reply}"
        );
        assert!(!reply.contains("sesam"), "{reply}");
        assert!(counted.contains("nos_http_requests_total{path=\"other\",code=\"401\"} 1\n"));
        assert!(counted.contains("nos_http_rejected_total{reason=\"auth\"} 1\n"));
    }
}

#[test]
fn where_none_is_set_nobody_may_act_whatever_they_show() {
    for field in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer x\r\n",
    ] {
        let (reply, counted) = ask(AdminToken::NONE, Access::Admin, "POST", field);
        assert!(reply.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{reply}");
        assert!(counted.contains("nos_http_requests_total{path=\"other\",code=\"403\"} 1\n"));
        assert!(counted.contains("nos_http_rejected_total{reason=\"auth\"} 1\n"));
    }
}

#[test]
fn reading_takes_no_token_and_an_open_route_none_at_all() {
    for (access, method) in [
        (Access::Admin, "GET"),
        (Access::Admin, "HEAD"),
        (Access::Admin, "OPTIONS"),
        (Access::Open, "POST"),
    ] {
        let (reply, _) = ask(AdminToken::NONE, access, method, "");
        assert!(reply.starts_with("HTTP/1.1 200 "), "{method}: {reply}");
    }
}
