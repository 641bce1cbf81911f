//! Orders as they come from outside, and what is shown of the points.

use super::{POINTS, leak};
use crate::error::{Error, HttpFault, Kind};
use crate::injection::{Declaration, Group, Pairs, Registry};
use crate::metrics::{Encoder, Format, Json, Source};
use std::string::{String, ToString};
use std::vec::Vec;

const SLOW: &[Declaration] = &[Declaration::new("slow").with_amount("milliseconds", 25)];

fn registry() -> Registry {
    let mut registry = Registry::new();
    for points in [POINTS, SLOW] {
        let group = leak(Group::new(points).expect("memory"));
        registry.add(group).expect("memory");
    }
    registry
}

fn page(registry: &Registry) -> String {
    let mut page = Vec::new();
    let mut json = Json::new(&mut page);
    registry.write(&mut json);
    json.finish().expect("memory");
    String::from_utf8(page).expect("JSON is text")
}

fn metrics(registry: &Registry) -> String {
    let mut page = Vec::new();
    let mut encoder = Encoder::new(&mut page, Format::Text);
    registry.collect(&mut encoder);
    encoder.finish().expect("memory");
    String::from_utf8(page).expect("metrics are text")
}

/// The row of a point, without braces.
fn row(registry: &Registry, point: &str) -> String {
    let page = page(registry);
    let mut rows = page.split(['{', '}']);
    let begins = std::format!("\"point\":\"{point}\"");
    rows.find(|row| row.starts_with(&begins))
        .expect("it is shown")
        .into()
}

fn post(registry: &Registry, body: &str) -> Result<(), Error> {
    Pairs::of_body(body.as_bytes()).and_then(|pairs| registry.obey(&pairs))
}

#[test]
fn words_forms_and_json_arm_alike() {
    let expected = r#""point":"aimed","state":"armed","probability":50,"interval":2,"times":null,"space":8,"nth":0,"seed":9,"target":"there","armed":1,"fired":0,"suppressed":0"#;
    let by_words = registry();
    by_words.obey_all(
        "aimed:probability=50,interval=2,times=-1,space=8,seed=9,target=there",
        |error| panic!("{error}"),
    );
    assert_eq!(row(&by_words, "aimed"), expected);
    for body in [
        "point=aimed&probability=50&interval=2&times=-1&space=8&seed=9&target=there",
        r#"{"probability":50,"interval":2,"times":-1,"space":8,"seed":9,"target":"there","point":"aimed"}"#,
        " {\n\"point\" : \"aimed\" , \"probability\":50,\"interval\":2,\"times\":null,\"space\":8,\"seed\":\"9\",\"target\":\"there\"\n}\n",
    ] {
        let registry = registry();
        post(&registry, body).expect(body);
        assert_eq!(row(&registry, "aimed"), expected, "{body}");
    }
}

#[test]
fn what_the_page_shows_of_a_point_is_an_order() {
    let registry = registry();
    for order in ["aimed:times=-1,nth=4,target=there", "slow:amount=7,seed=3"] {
        registry.obey_all(order, |error| panic!("{order}: {error}"));
    }
    let before: Vec<_> = ["plain", "aimed", "slow"]
        .map(|name| row(&registry, name))
        .into();
    for row in &before {
        post(&registry, &std::format!("{{{row}}}")).expect(row);
    }
    for (name, before) in ["plain", "aimed", "slow"].into_iter().zip(before) {
        let counted = before.replace("\"armed\":1", "\"armed\":2");
        assert_eq!(row(&registry, name), counted);
    }
}

#[test]
fn several_orders_are_obeyed_in_turn_and_one_that_cannot_be_spoils_no_other() {
    let registry = registry();
    let mut told = Vec::new();
    registry.obey_all(
        "plain:times=3;no-such:times=1;slow;aimed:target=moon;",
        |error| {
            told.push(error.to_string());
        },
    );
    assert_eq!(
        told,
        [
            "platform: bad value for no-such: expected a point that /faults lists",
            "platform: bad value for target: expected one of the point's targets"
        ]
    );
    for (name, state) in [("plain", "armed"), ("slow", "armed"), ("aimed", "off")] {
        let expected = std::format!("\"state\":\"{state}\"");
        assert!(row(&registry, name).contains(&expected), "{name}");
    }
    assert!(row(&registry, "slow").contains("\"amount\":25"));
}

#[test]
fn a_state_of_off_disarms() {
    let registry = registry();
    post(&registry, "point=plain&times=-1").expect("an order");
    post(&registry, r#"{"point":"plain","state":"off"}"#).expect("an order");
    assert!(row(&registry, "plain").contains("\"state\":\"off\""));
    assert!(row(&registry, "plain").contains("\"armed\":1"));
}

#[test]
fn an_unknown_key_or_a_bad_value_is_named_and_arms_nothing() {
    for (order, key) in [
        ("", ""),
        ("times=1", ""),
        ("point=nosuch", "nosuch"),
        ("point=plain&tims=1", "tims"),
        ("point=plain&state=on", "state"),
        ("point=plain&probability=101", "probability"),
        ("point=plain&probability=1.5", "probability"),
        ("point=plain&interval=0", "interval"),
        ("point=plain&times=-2", "times"),
        ("point=plain&space=4k", "space"),
        ("point=plain&nth=", "nth"),
        ("point=plain&seed=0x1", "seed"),
        ("point=plain&amount=1", "amount"),
        ("point=plain&target=here", "target"),
        ("point=aimed&target=0", "target"),
        (r#"{"point":"plain","times":true}"#, "times"),
    ] {
        let registry = registry();
        let error = post(&registry, order).expect_err(order);
        let Kind::BadValue { key: named, .. } = error.kind() else {
            panic!("{order}: {error}")
        };
        assert_eq!(named.as_str(), key, "{order}");
        assert!(!page(&registry).contains("\"state\":\"armed\""), "{order}");
    }
}

#[test]
fn a_body_that_is_no_order_is_refused() {
    for body in [
        "{",
        "{}x",
        "{\"point\"}",
        "{\"point\":}",
        "{\"point\":\"plain\"",
        "{point:plain}",
        "{\"point\":\"plain\"}}",
        "{\"point\":\"plain\",}",
        "{\"point\":[1]}",
        "{\"a\\nb\":1}",
        "{\"point\":\"pl\\ain\"}",
        "plain",
        "point=plain&times",
        "[]",
    ] {
        let error = Pairs::of_body(body.as_bytes()).expect_err(body);
        assert!(
            matches!(error.kind(), Kind::Http(HttpFault::BadRequest(_))),
            "{body}"
        );
    }
    assert!(Pairs::of_body(b"point=\xff").is_err());
    let many = "a=1&".repeat(21);
    assert!(Pairs::of_body(many.as_bytes()).is_err());
    assert!(Pairs::of_body(b"{ }").is_ok_and(|pairs| pairs.iter().count() == 0));
}

#[test]
fn a_scrape_counts_what_points_that_were_ever_armed_did() {
    let registry = registry();
    assert_eq!(metrics(&registry).lines().count(), 2);
    registry.obey_all("plain:times=2,interval=2", |error| panic!("{error}"));
    let (group, at) = registry.find("plain").expect("it is there");
    for _ in 0..10 {
        group.fires(at);
    }
    let samples: Vec<String> = metrics(&registry).lines().skip(2).map(Into::into).collect();
    let sample = |outcome, count| {
        std::format!("nos_fault_injections_total{{point=\"plain\",outcome=\"{outcome}\"}} {count}")
    };
    assert_eq!(
        samples,
        [
            sample("armed", 1),
            sample("fired", 2),
            sample("suppressed", 2)
        ]
    );
}
