//! An application of one's own, and what no application may give away.

use std::process::Stdio;

use crate::boot::make_run;
use crate::support::guest::Guest;
use crate::support::http::{Response, exchange, get, parse};

/// The reply to a POST of `body`, with that field in its head.
fn post(guest: &Guest, path: &str, field: &str, body: &str) -> Response {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n{field}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    parse(&exchange(guest.http_port, request.as_bytes())).expect("an answer")
}

/// `make run APP=hello`: its own pages, its own metric, its own setting by the admin token; no cache.
pub(crate) fn make_run_boots_an_application_of_ones_own() {
    let settings = [
        ("APP", "hello".into()),
        ("PROFILE", "functional".into()),
        ("MEM", "64M".into()),
        ("APPEND", "nos.admin-token=sesame".into()),
    ];
    let mut guest = Guest::spawn(make_run(), &settings, Stdio::piped());
    assert_eq!(guest.ready_or_ended(), None, "{}", guest.serial());
    let hello = || get(guest.http_port, "/hello?name=you").body;
    assert_eq!(hello(), "hello, you\n");
    let index = get(guest.http_port, "/").body;
    assert!(index.contains("/hello") && index.contains("A greeting"));
    for (field, status) in [
        ("", 401),
        ("Authorization: Bearer open\r\n", 401),
        ("Authorization: Bearer sesame\r\n", 200),
    ] {
        let reply = post(&guest, "/greeting", field, "welcome");
        assert_eq!(reply.status, status, "{field}");
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{challenge:?}");
    }
    assert_eq!(hello(), "welcome, you\n");
    let metrics = get(guest.http_port, "/metrics").body;
    for line in [
        "# TYPE hello_greetings_total counter\nhello_greetings_total 2\n",
        "nos_http_requests_total{path=\"/hello\",code=\"200\"} 2\n",
        "nos_http_rejected_total{reason=\"auth\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    assert!(!metrics.contains("nos_kv_"), "there is no cache");
    assert!(!guest.serial().contains("sesame"), "{}", guest.serial());
    assert_eq!(get(guest.http_port, "/healthz").status, 200);
}

/// Good values, values that cannot be used, and keys misspelt, at the most talkative level.
pub(crate) fn secrets_are_never_on_the_serial_line() {
    const SECRET: &str = "hunter2";
    let long = SECRET.repeat(60);
    for arguments in [
        format!("nos.requirepass={SECRET} nos.admin-token={SECRET}"),
        format!("nos.requirepass={long} nos.admin-token={long}"),
        format!("nos.requirepas={SECRET} nos.admin_token={SECRET} nos.maxmemory={SECRET}"),
        format!("nos.admin-token=\"{SECRET}\" nos.log={SECRET} nos.ip={SECRET}"),
    ] {
        let words = format!("{arguments} nos.log=trace");
        let guest = Guest::boot(&[("MEM", "64M".into()), ("APPEND", words.clone())]);
        let mut client = guest.redis();
        client.command(&["AUTH", SECRET]);
        client.command(&["AUTH", "default", "hunter2 and more"]);
        client.command(&["CONFIG", "SET", "requirepass", "hunter2x"]);
        client.command(&["FROBNICATE", SECRET]);
        let field = format!("Authorization: Bearer {SECRET}\r\n");
        assert_eq!(post(&guest, "/metrics", &field, "").status, 405);
        assert_eq!(get(guest.http_port, "/healthz").status, 200);
        let serial = guest.serial();
        assert!(
            !serial.contains(SECRET),
            "a secret is in the log of {arguments}:\n{serial}"
        );
        let pages =
            ["/metrics", "/memory", "/diagnosis", "/"].map(|path| get(guest.http_port, path));
        for page in pages {
            assert!(!page.body.contains(SECRET), "{}", page.body);
        }
    }
}
