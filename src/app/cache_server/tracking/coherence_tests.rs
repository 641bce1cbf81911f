//! Clients with copies against random commands of others: no copy is ever wrong.

use super::tests::{fixture, mail};
use crate::cache::random::Random;
use crate::net::service::Service;
use crate::platform::time::Clock;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

type Copies = BTreeMap<String, String>;

/// Reads what a client with copies is sent: messages, and the reply to a GET of the key `read` among them.
fn heed(copies: &mut Copies, text: &str, read: Option<&str>) {
    let mut words = text.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word == ">2" {
            // `$10 invalidate`, and then `*count` and so many keys, or null.
            let what = words.nth(2).expect("what is invalid");
            match what.strip_prefix('*') {
                None => copies.clear(),
                Some(count) => {
                    for _ in 0..count.parse().expect("a length") {
                        copies.remove(words.nth(1).expect("a key"));
                    }
                }
            }
        } else if let Some(key) = read {
            let value = word
                .starts_with('$')
                .then(|| words.next().expect("a value"));
            copies.insert(key.to_string(), value.unwrap_or(word).to_string());
        }
    }
}

fn random_line(random: &mut Random) -> String {
    let (key, other) = (random.below(8), random.below(8));
    match random.below(12) {
        0 => format!("SET {key} {}", random.below(100)),
        1 => format!("INCR {key}"),
        2 => format!("DEL {key} {other}"),
        3 => format!("RENAME {key} {other}"),
        4 => format!("COPY {key} {other} REPLACE"),
        5 => format!("SET {key} 1 PX {}", 1 + random.below(5)),
        6 if random.below(10) == 0 => "FLUSHALL".to_string(),
        7 => format!("MSET {key} 7 {other} 8"),
        _ => format!("GET {key}"),
    }
}

#[test]
fn copies_that_heed_their_messages_are_always_right() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut fixture = fixture(4);
        fixture.ask("CONFIG SET tracking-table-max-keys 5");
        for (slot, options) in [(0, ""), (1, "OPTOUT"), (2, "BCAST")] {
            fixture.ask_as(slot, &format!("CLIENT TRACKING ON {options}"));
        }
        let (mut copies, mut compared) = ([const { Copies::new() }; 3], 0);
        for _ in 0..500 {
            let (slot, line) = (random.below(4), random_line(&mut random));
            let reply = fixture.ask_as(slot, &line);
            if let Some(copies) = copies.get_mut(slot as usize) {
                heed(copies, &reply, line.strip_prefix("GET "));
            }
            fixture.pass_millis(u64::from(random.below(3)));
            let now = fixture.machine.now();
            fixture.server.tick(now);
            let truth: Vec<_> = (0..8)
                .map(|key| fixture.ask_as(3, &format!("GET {key}")))
                .collect();
            for (slot, text) in mail(&mut fixture) {
                heed(&mut copies[slot as usize], &text, None);
            }
            for (key, copy) in copies.iter().flatten() {
                let number: usize = key.parse().expect("a number");
                let value = truth[number].split(' ').next_back();
                assert_eq!(value, Some(&**copy), "seed {seed}: {key} after {line}");
                compared += 1;
            }
        }
        assert!(compared > 500, "seed {seed}: {compared} copies");
    }
}
