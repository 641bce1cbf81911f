//! Faults on purpose as who tests the image meets them: armed over HTTP and by the boot argument, shown, counted, undone;
//! and clients that get right answers, late, while what is below them fails.

use std::time::{Duration, Instant};

use crate::support::guest::{Guest, Setting};
use crate::support::http::{Response, exchange, get, parse};
use crate::support::resp::{Client, Reply};

/// Requests of one client while one point fails.
const REQUESTS: usize = 150;
/// Keys that are read while bits flip in them: about as many bytes as one bit in two flipped ones hits.
const KEYS: usize = 1000;
/// How long they may take.
const LIMIT: Duration = Duration::from_secs(120);

fn guest(arguments: &str) -> Guest {
    let settings: [Setting; 2] = [
        ("MEM", "128M".into()),
        ("APPEND", format!("nos.admin-token=secret {arguments}")),
    ];
    Guest::boot(&settings)
}

fn post_as(guest: &Guest, field: &str, body: &str) -> Response {
    let request = format!(
        "POST /faults HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n{field}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    parse(&exchange(guest.http_port, request.as_bytes())).expect("an answer")
}

pub(crate) fn post(guest: &Guest, body: &str) -> Response {
    post_as(guest, "Authorization: Bearer secret\r\n", body)
}

/// What a page shows of a point, without braces.
pub(crate) fn point(page: &str, name: &str) -> String {
    let begins = format!("\"point\":\"{name}\"");
    let mut rows = page.split(['{', '}']);
    rows.find(|row| row.starts_with(&begins))
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .into()
}

pub(crate) fn counts(guest: &Guest, name: &str) -> Vec<u64> {
    let metrics = get(guest.http_port, "/metrics").body;
    let begins = format!("nos_fault_injections_total{{point=\"{name}\",");
    let samples = metrics.lines().filter(|line| line.starts_with(&begins));
    samples
        .map(|line| {
            line.rsplit_once(' ')
                .expect("a sample")
                .1
                .parse()
                .expect("a count")
        })
        .collect()
}

pub(crate) fn points_are_armed_by_whoever_has_the_token_and_shown_to_all() {
    let guest = guest(
        "nos.faults=no-such-point;clock-jump:nth=0;task-leak:times=x;net-lost-kick:interval=1000000",
    );
    let serial = guest.serial();
    for told in [
        "bad value for no-such-point: ",
        "bad value for times: expected a number",
    ] {
        let told = format!("boot argument nos.faults: platform: {told}");
        assert_eq!(serial.matches(&told).count(), 1, "{told}\n{serial}");
    }
    let page = get(guest.http_port, "/faults").body;
    assert!(
        point(&page, "net-lost-kick").contains("\"state\":\"armed\""),
        "{page}"
    );
    assert!(point(&page, "task-leak").contains("\"state\":\"off\""));
    let order = "point=net-receive-drop&nth=1000000";
    for (field, status) in [("", 401), ("Authorization: Bearer guess\r\n", 401)] {
        assert_eq!(post_as(&guest, field, order).status, status);
    }
    assert!(
        counts(&guest, "net-receive-drop").is_empty(),
        "it was never armed"
    );
    let armed = post(&guest, order);
    assert_eq!(armed.status, 200);
    let row = point(&armed.body, "net-receive-drop");
    assert!(
        row.contains("\"state\":\"armed\"") && row.contains("\"nth\":1000000"),
        "{row}"
    );
    let counted = counts(&guest, "net-receive-drop");
    assert!(
        counted.len() == 3 && counted[..2] == [1, 0] && counted[2] > 0,
        "{counted:?}"
    );
    let undone = post(
        &guest,
        "{\"point\": \"net-receive-drop\", \"state\": \"off\"}",
    );
    assert!(point(&undone.body, "net-receive-drop").contains("\"state\":\"off\""));
    let refused = post(&guest, "point=net-receive-drop&probability=200");
    let told = "400 Bad Request: probability: expected a percentage, 0 to 100\n";
    assert_eq!((refused.status, refused.body.as_str()), (400, told));
    guest.assert_serves();
}

/// The same keys written and read back over one connection while a point fails: never a wrong answer.
fn serve_through(guest: &Guest, order: &str) {
    let name = &order[..order.find('&').expect("knobs")];
    assert_eq!(
        post(guest, &format!("point={order}")).status,
        200,
        "{order}"
    );
    let began = Instant::now();
    let mut client = Client::connect(guest.redis_port);
    for number in 0..REQUESTS {
        let (key, value) = (format!("key:{}", number % 50), format!("{order}:{number}"));
        assert_eq!(
            client.command(&["SET", &key, &value]),
            Reply::ok(),
            "{order}"
        );
        assert_eq!(
            client.command(&["GET", &key]),
            Reply::bulk(&value),
            "{order}"
        );
        assert!(began.elapsed() < LIMIT, "{order}: {number} requests");
    }
    let fired = counts(guest, name)[1];
    println!(
        "  {order}: {fired} times, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(fired > 0, "{order} never failed");
    assert_eq!(post(guest, &format!("point={name}&state=off")).status, 200);
}

pub(crate) fn clients_get_right_answers_whatever_fails_below_them() {
    let guest = guest("");
    for order in [
        "net-receive-drop&times=4&probability=5",
        "net-receive-corrupt&times=4&probability=5",
        "net-receive-reorder&times=-1&probability=20",
        "net-receive-duplicate&times=-1&probability=20",
        "net-receive-stall&times=3&probability=2&amount=50",
        "net-lost-interrupt&times=1&space=20",
        "net-send-drop&times=4&probability=5",
        "net-send-corrupt&times=4&probability=5",
        "net-send-reorder&times=-1&probability=20",
        "net-send-duplicate&times=-1&probability=20",
        "net-lost-kick&times=3&probability=2",
        "net-link-down&times=1&space=50&amount=300",
        "task-slow&target=data-plane&times=100&amount=2000",
        "task-leak&target=data-plane&times=3",
        "clock-jump&times=1",
        "clock-jump-back&times=1",
        "clock-drift&times=-1",
    ] {
        serve_through(&guest, order);
    }
    guest.assert_serves();
}

/// Bits of what is stored flip under a load that reads it: every answer is right or a miss, what was damaged is counted,
/// and the diagnosis names it.
pub(crate) fn a_flipped_bit_in_what_is_stored_is_no_wrong_answer_and_is_named() {
    let guest = guest("");
    let mut client = Client::connect(guest.redis_port);
    let value = |number: usize| format!("{number:04}").repeat(300);
    for number in 0..KEYS {
        let set = client.command(&["SET", &format!("key:{number}"), &value(number)]);
        assert_eq!(set, Reply::ok());
    }
    let order = "point=store-bit-flip&times=40&interval=20&seed=5";
    assert_eq!(post(&guest, order).status, 200);
    let began = Instant::now();
    let mut misses = 0;
    while counts(&guest, "store-bit-flip")[1] < 40 {
        for number in 0..KEYS {
            match client.command(&["GET", &format!("key:{number}")]) {
                Reply::Nil => misses += 1,
                right => assert_eq!(right, Reply::bulk(&value(number)), "key:{number}"),
            }
        }
        assert!(
            began.elapsed() < LIMIT,
            "{:?}",
            counts(&guest, "store-bit-flip")
        );
    }
    // What flipped last is read as well.
    for number in 0..KEYS {
        client.command(&["GET", &format!("key:{number}")]);
    }
    let damage = |labels: &str| {
        let metrics = get(guest.http_port, "/metrics").body;
        let begins = format!("nos_kv_damage_total{{{labels}}} ");
        let sample = metrics.lines().find_map(|line| line.strip_prefix(&begins));
        sample.expect("a sample").parse::<u64>().expect("a count")
    };
    let corrected = damage("what=\"entry\",outcome=\"corrected\"");
    let dropped = damage("what=\"entry\",outcome=\"dropped\"");
    println!("  {corrected} corrected, {dropped} dropped, {misses} missed");
    assert!(corrected > 0, "no flipped bit was met");
    assert!(dropped > 0 || misses == 0, "{misses} misses of nothing");
    let cause = "\"cause\":\"value_bit_flip\"";
    while !get(guest.http_port, "/diagnosis").body.contains(cause) {
        assert!(
            began.elapsed() < LIMIT,
            "{}",
            get(guest.http_port, "/diagnosis").body
        );
        std::thread::sleep(Duration::from_millis(200));
        client.command(&["GET", "key:0"]);
    }
    guest.assert_serves();
}
