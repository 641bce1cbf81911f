//! A full dataset under each of the eight policies: who goes, who stays, and when a write is refused.

use super::tests::Fixture;
use crate::cache::eviction::{NAMES, Ranking, Scope};
use crate::net::service::Service;
use crate::platform::time::Clock;
use std::format;
use std::string::String;
use std::vec::Vec;

const REFUSAL: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
/// Keys of each kind before the dataset is full.
const KEPT: u32 = 250;
/// Writes that do not fit beside them.
const WRITES: u32 = 3_000;

/// A server with 512 KiB under `policy` and [`KEPT`] keys that never expire.
fn server(policy: &str) -> Fixture {
    let mut fixture = Fixture::new(&[("maxmemory", "512kb"), ("maxmemory-policy", policy)]);
    for id in 0..KEPT {
        assert_eq!(set(&mut fixture, &format!("kept:{id}"), ""), "+OK");
    }
    fixture
}

fn set(fixture: &mut Fixture, key: &str, lifetime: &str) -> String {
    fixture.ask(&format!("SET {key} {} {lifetime}", "x".repeat(200)))
}

fn exists(fixture: &mut Fixture, key: &str) -> bool {
    fixture.ask(&format!("EXISTS {key}")) == ":1"
}

/// How many of the keys are there.
fn count(fixture: &mut Fixture, kind: &str, ids: core::ops::Range<u32>) -> usize {
    ids.filter(|id| exists(fixture, &format!("{kind}:{id}")))
        .count()
}

fn evicted(fixture: &mut Fixture) -> u64 {
    let info = fixture.ask("INFO stats");
    let mut fields = info.split(' ');
    let value = fields.find_map(|field| field.strip_prefix("evicted_keys:"));
    value
        .and_then(|value| value.parse().ok())
        .expect("INFO has it")
}

#[test]
fn only_what_a_policy_names_goes_and_each_key_that_went_was_counted() {
    for (policy, scope, ranking) in NAMES {
        let mut fixture = server(policy);
        let mut refused = 0;
        for id in 0..WRITES {
            match set(&mut fixture, &format!("brief:{id}"), "EX 1000").as_str() {
                "+OK" => {}
                reply => {
                    assert_eq!(reply, REFUSAL, "{policy}");
                    refused += 1;
                }
            }
        }
        let kept = count(&mut fixture, "kept", 0..KEPT);
        let brief = count(&mut fixture, "brief", 0..WRITES);
        let gone = (KEPT + WRITES - refused) as usize - kept - brief;
        assert_eq!(evicted(&mut fixture), gone as u64, "{policy}");
        match (scope, ranking) {
            (_, Ranking::Nothing) => assert!(refused > 0 && gone == 0, "{policy}: {gone} went"),
            (Scope::All, _) => {
                assert_eq!(refused, 0, "{policy}");
                assert!(kept < KEPT as usize, "{policy}: none of the oldest went");
            }
            (Scope::Expiring, _) => assert_eq!((refused, kept), (0, KEPT as usize), "{policy}"),
        }
    }
}

#[test]
fn writes_without_a_lifetime_are_refused_where_only_others_may_go_and_nowhere_else() {
    for (policy, scope, ranking) in NAMES {
        let mut fixture = server(policy);
        // One that may go, under a policy that asks for a lifetime.
        assert_eq!(set(&mut fixture, "brief:0", "EX 1000"), "+OK");
        let replies: Vec<String> = (0..WRITES)
            .map(|id| set(&mut fixture, &format!("more:{id}"), ""))
            .collect();
        let refused = replies.iter().filter(|reply| *reply == REFUSAL).count();
        assert!(
            replies
                .iter()
                .all(|reply| reply == "+OK" || reply == REFUSAL),
            "{policy}"
        );
        if scope == Scope::All && ranking != Ranking::Nothing {
            assert_eq!(refused, 0, "{policy}");
            continue;
        }
        assert!(refused > 0, "{policy}");
        let (went, stayed) = (evicted(&mut fixture), exists(&mut fixture, "brief:0"));
        let may_go = ranking != Ranking::Nothing;
        assert_eq!((went, stayed), (u64::from(may_go), !may_go), "{policy}");
        // Refused for good, and yet it reads and deletes; what was deleted makes room for one of its size.
        let late = format!("more:{WRITES}");
        assert_eq!(set(&mut fixture, &late, ""), REFUSAL, "{policy}");
        assert_eq!(
            count(&mut fixture, "kept", 0..KEPT),
            KEPT as usize,
            "{policy}"
        );
        assert_eq!(fixture.ask("DEL more:1000"), ":1", "{policy}");
        assert_eq!(set(&mut fixture, &late, ""), "+OK", "{policy}");
    }
}

#[test]
fn of_those_that_may_go_the_policy_chooses() {
    for (policy, _, ranking) in NAMES {
        let mut fixture = Fixture::new(&[("maxmemory", "512kb"), ("maxmemory-policy", policy)]);
        // The earlier a key, the later it expires; the first hundred are used all the time.
        let lifetime = |id: u32| format!("EX {}", 100_000 - id);
        let mut refused = false;
        for id in 0..WRITES {
            refused |= set(&mut fixture, &format!("key:{id}"), &lifetime(id)) != "+OK";
            fixture.pass_millis(10);
            fixture.ask(&format!("GET key:{}", id % 100));
        }
        let used = count(&mut fixture, "key", 0..100);
        let latest = count(&mut fixture, "key", WRITES - 100..WRITES);
        match ranking {
            Ranking::Nothing => assert!(refused && used == 100, "{policy}"),
            Ranking::LeastRecent => {
                assert!(used >= 98 && latest >= 98, "{policy}: {used} {latest}")
            }
            Ranking::LeastFrequent => assert!(used >= 98, "{policy}: {used}"),
            // Each write but the first ones threw out the one before it.
            Ranking::SoonestExpiry => {
                assert!(used == 100 && latest == 1, "{policy}: {used} {latest}")
            }
            Ranking::Random => assert!(used < 100, "{policy}: {used} is no accident"),
        }
    }
}

#[test]
fn under_pressure_only_what_a_policy_names_goes_and_a_bounded_part_of_it_at_a_time() {
    for (policy, scope, ranking) in NAMES {
        let mut fixture = server(policy);
        for id in 0..KEPT {
            assert_eq!(set(&mut fixture, &format!("brief:{id}"), "EX 1000"), "+OK");
        }
        let mut gone = 0;
        while fixture.server.relieve(64 << 10, fixture.machine.now()) {
            let now_gone = evicted(&mut fixture);
            assert!(
                now_gone - gone <= 64,
                "{policy}: {} at once",
                now_gone - gone
            );
            gone = now_gone;
        }
        let kept = count(&mut fixture, "kept", 0..KEPT);
        let brief = count(&mut fixture, "brief", 0..KEPT);
        let all = KEPT as usize;
        let left = match (scope, ranking) {
            (_, Ranking::Nothing) => (all, all),
            (Scope::All, _) => (0, 0),
            (Scope::Expiring, _) => (all, 0),
        };
        assert_eq!((kept, brief), left, "{policy}");
        assert_eq!(gone as usize, 2 * all - kept - brief, "{policy}");
        assert_eq!(set(&mut fixture, "after", ""), "+OK", "{policy}");
    }
}
