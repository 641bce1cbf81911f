//! The diagnosis at work: subsystems die by each means, `/diagnosis` names why, the incident closes when all is well
//! again, and the counters agree. By faults armed at `/faults`.

use std::thread;
use std::time::{Duration, Instant};

use crate::kills::{LIMIT, guest, guest_with, kill, number, standing};
use crate::support::guest::Guest;
use crate::support::http::{Response, exchange, get, parse, parse_if_whole};
use crate::support::resp::Reply;

/// Who dies, by what means, and what that is to be called. None dies four times in a minute: that is another cause.
const DEATHS: [(&str, &str, &str, &str); 8] = [
    ("http", "panic", "task_panic", "part_panicked"),
    (
        "diagnosis",
        "stack-overflow",
        "stack_overflow",
        "part_overflowed_stack",
    ),
    ("data-plane", "hang", "hang", "part_hung"),
    ("http", "wild-read", "wild_write", "part_aborted"),
    (
        "diagnosis",
        "wild-jump",
        "bad_instruction",
        "part_ran_undefined",
    ),
    (
        "http",
        "endless-allocation",
        "quota_exceeded",
        "quota_reached",
    ),
    ("data-plane", "panic", "task_panic", "part_panicked"),
    ("diagnosis", "panic", "task_panic", "part_panicked"),
];

/// The incidents of `/diagnosis`; whoever asks while HTTP or the data plane is dead asks again.
fn incidents(guest: &Guest) -> String {
    let ask = b"GET /diagnosis HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n";
    let began = Instant::now();
    loop {
        let reply = parse_if_whole(&exchange(guest.http_port, ask));
        let page = reply
            .filter(|reply| reply.status == 200)
            .map(|reply| reply.body);
        if let Some((_, incidents)) = page
            .as_deref()
            .and_then(|page| page.split_once("\"incidents\":"))
        {
            return incidents.into();
        }
        assert!(began.elapsed() < LIMIT, "/diagnosis is not answered");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until so many incidents are over and none is open.
pub(crate) fn await_the_end(guest: &Guest, opened: u64) -> String {
    let began = Instant::now();
    loop {
        let page = incidents(guest);
        if page.contains("\"open\":null") && number(&page, "opened_total") == opened {
            return page;
        }
        assert!(
            began.elapsed() < LIMIT,
            "incident {opened} does not end: {page}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// The samples of a family, and their sum.
fn samples(guest: &Guest, family: &str) -> (String, u64) {
    let page = get(guest.http_port, "/metrics").body;
    let of_family = |line: &&str| {
        let rest = line.strip_prefix(family);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    let samples: Vec<&str> = page.lines().filter(of_family).collect();
    let values = samples.iter().filter_map(|line| line.rsplit(' ').next());
    let values = values.map(|value| value.parse::<u64>().expect("a count"));
    (samples.join("\n"), values.sum())
}

/// Every death is named by its cause with the evidence, was healed by a restart, and is counted once.
pub(crate) fn deaths_are_named_with_their_evidence_healed_and_counted() {
    let guest = guest(1);
    for (number, (part, means, cause, symptom)) in (1..).zip(DEATHS) {
        kill(&guest, part, means);
        let page = await_the_end(&guest, number);
        let (_, past) = page.split_once("\"past\":[").expect("a list");
        assert!(past.starts_with(&format!("{{\"id\":{number},")), "{past}");
        let (record, _) = past.split_once("]}]").unwrap_or((past, ""));
        for told in [
            format!("\"causes\":[{{\"cause\":\"{cause}\",\"part\":\"{part}\",\"posterior\":"),
            format!(
                "\"evidence\":[{{\"symptom\":\"{symptom}\",\"part\":\"{part}\",\"bearing\":\"seen\""
            ),
        ] {
            assert!(
                record.contains(&told),
                "{part} {means}: no {told} in {record}"
            );
        }
        let (_, attempts) = past.split_once("\"attempts\":[").expect("a list");
        let (attempts, _) = attempts.split_once(']').expect("its end");
        let restart = format!(
            "{{\"remedy\":\"restart_part\",\"action\":\"restart_subsystem\",\"part\":\"{part}\","
        );
        assert!(attempts.starts_with(&restart), "{attempts}");
        assert!(
            attempts.ends_with("\"outcome\":\"recovered\"}"),
            "{attempts}"
        );
    }
    let deaths = DEATHS.len() as u64;
    let (by_cause, incidents) = samples(&guest, "nos_diagnosis_incidents_total");
    assert_eq!(incidents, deaths, "{by_cause}");
    for (_, _, cause, _) in DEATHS {
        let same = DEATHS.iter().filter(|death| death.2 == cause).count();
        let line = format!("nos_diagnosis_incidents_total{{cause=\"{cause}\"}} {same}");
        assert!(by_cause.lines().any(|sample| sample == line), "{by_cause}");
    }
    let (actions, recoveries) = samples(&guest, "nos_diagnosis_recoveries_total");
    let recovered = format!("{{action=\"restart_subsystem\",outcome=\"recovered\"}} {deaths}");
    assert!(actions.contains(&recovered), "{actions}");
    assert_eq!(recoveries, deaths, "{actions}");
    for family in ["detection", "recovery"] {
        let count = format!("nos_diagnosis_{family}_seconds_count");
        assert_eq!(samples(&guest, &count).1, deaths, "{family}");
    }
    assert_eq!(samples(&guest, "nos_diagnosis_incidents_open").1, 0);
}

/// Sends what acts, with that token if there is one.
fn post(guest: &Guest, path: &str, token: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n{body}"
    );
    parse(&exchange(guest.http_port, request.as_bytes())).expect("it is answered")
}

/// What is only advised is applied by who has the token, to an incident that is open, if it is one of its remedies.
pub(crate) fn an_advised_remedy_is_applied_by_who_may() {
    let guest = guest_with(1, "nos.remedies=advise");
    let token = "Authorization: Bearer kill\r\n";
    let apply =
        |id: &str, token, body| post(&guest, &format!("/diagnosis/{id}/apply"), token, body);
    assert_eq!(apply("1", "", "").status, 401);
    assert_eq!(apply("1", "Authorization: Bearer open\r\n", "").status, 401);
    assert_eq!(apply("1", token, "").status, 404, "there is none yet");
    for id in ["x", "+1", "-1", "1.0", "", "99999999999999999999"] {
        assert_eq!(apply(id, token, "").status, 400, "{id}");
    }
    assert_eq!(get(guest.http_port, "/diagnosis/1/apply").status, 405);
    assert_eq!(get(guest.http_port, "/diagnosis/1/2/apply").status, 404);

    kill(&guest, "diagnosis", "panic");
    let began = Instant::now();
    while standing(&guest, "diagnosis").0 == 0 {
        assert!(began.elapsed() < LIMIT, "it is not started again");
    }
    assert_eq!(apply("1", token, "compact").status, 409, "no remedy of its");
    let reply = apply("1", token, "restart_part");
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(
        reply.body.contains("\"remedy\":\"restart_part\""),
        "{}",
        reply.body
    );
    let page = await_the_end(&guest, 1);
    assert!(page.starts_with("{\"level\":\"advise\","), "{page}");
    let healed = "\"outcome\":\"recovered\"";
    assert_eq!(
        page.matches(healed).count(),
        2,
        "its own and the operator's: {page}"
    );
    assert_eq!(standing(&guest, "diagnosis").0, 2);
    assert_eq!(apply("1", token, "").status, 409, "it is over");
    // What was ordered is no death that anybody has to be told of.
    assert_eq!(samples(&guest, "nos_diagnosis_incidents_total").1, 1);
    let mut client = guest.redis();
    assert_eq!(client.command(&["PING"]), Reply::Simple("PONG".into()));
}

/// Without a token nobody may, and a healthy image has no incident, whatever its load was.
pub(crate) fn a_healthy_image_has_no_incident_after_all_its_load(guest: &Guest) {
    assert_eq!(post(guest, "/diagnosis/1/apply", "", "").status, 403);
    let page = incidents(guest);
    let none = "{\"level\":\"safe\",\"opened_total\":0,\"open\":null,\"past\":[]}";
    assert!(page.starts_with(none), "{page}");
}
