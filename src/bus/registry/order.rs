//! The order in which parts start: each after all that it depends on, and else as they were registered.

use crate::bus::subsystem::Profile;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use alloc::vec::Vec;

/// The start order of `parts`, as their places.
///
/// # Errors
/// `MissingDependency`, naming both ends, if one depends on a part that is not there; `DependencyCycle`, naming
/// two neighbours in it; `OutOfMemory`.
pub(super) fn start_order(parts: &[Profile]) -> Result<Vec<usize>> {
    let fault = |kind| Err(Error::new(Subsystem::Bus, kind));
    let is_there = |name: &str| parts.iter().any(|part| part.name == name);
    for part in parts {
        if let Some(needs) = part.dependencies.iter().find(|name| !is_there(name)) {
            let name = part.name;
            return fault(Kind::MissingDependency { name, needs });
        }
    }
    let mut order: Vec<usize> = Vec::new();
    order.try_reserve_exact(parts.len())?;
    let mut started = Vec::new();
    started.try_reserve_exact(parts.len())?;
    started.resize_reserved(parts.len(), false);
    while order.len() < parts.len() {
        let Some(next) = next_to_start(parts, &started) else {
            let has_started = |name: &str| order.iter().any(|&at| parts[at].name == name);
            let (name, needs) = cycle(parts, has_started);
            return fault(Kind::DependencyCycle { name, needs });
        };
        started[next] = true;
        order.push_reserved(next);
    }
    Ok(order)
}

/// A part that waits for itself, and the one it waits for: from any part that waits, following what each waits
/// for leads into a cycle within as many steps as there are parts.
fn cycle(parts: &[Profile], started: impl Fn(&str) -> bool) -> (&'static str, &'static str) {
    let waits_for = |name: &str| {
        let part = parts.iter().find(|part| part.name == name)?;
        part.dependencies.iter().find(|name| !started(name))
    };
    let waiting = parts.iter().find(|part| !started(part.name));
    let mut name = waiting.expect("some part could not be ordered").name;
    for _ in parts {
        name = waits_for(name).expect("what cannot start waits for another that cannot");
    }
    let needs = waits_for(name).expect("as above");
    (name, needs)
}

/// The start order of `parts`, as their places, for a constant: what has none stops the build of the image.
///
/// # Panics
/// Naming a part of a cycle, or one that depends on a part that is not there.
pub const fn constant_start_order<const N: usize>(parts: &[Profile; N]) -> [usize; N] {
    let (mut order, mut started, mut count) = ([0; N], [false; N], 0);
    while count < N {
        match next_to_start(parts, &started) {
            Some(next) => {
                started[next] = true;
                order[count] = next;
                count += 1;
            }
            None => {
                let mut waiting = 0;
                while started[waiting] {
                    waiting += 1;
                }
                waits_for_itself_or_for_what_is_not_there(parts[waiting].name);
            }
        }
    }
    order
}

/// Its name and its argument are the message: a constant's panic takes one text.
const fn waits_for_itself_or_for_what_is_not_there(name: &str) -> ! {
    panic!("{}", name)
}

/// Of the parts that have not started and can, the first: so the order of registration shows through.
const fn next_to_start(parts: &[Profile], started: &[bool]) -> Option<usize> {
    let mut at = 0;
    while at < parts.len() {
        if !started[at] && has_what_it_needs(&parts[at], parts, started) {
            return Some(at);
        }
        at += 1;
    }
    None
}

const fn has_what_it_needs(part: &Profile, parts: &[Profile], started: &[bool]) -> bool {
    let mut at = 0;
    while at < part.dependencies.len() {
        let mut other = 0;
        while other < parts.len()
            && !(started[other] && is_same(parts[other].name, part.dependencies[at]))
        {
            other += 1;
        }
        if other == parts.len() {
            return false;
        }
        at += 1;
    }
    true
}

/// What `==` is not yet in constants.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn part(name: &'static str, dependencies: &'static [&'static str]) -> Profile {
        Profile {
            name,
            dependencies,
            ..Profile::default()
        }
    }

    fn names(parts: &[Profile]) -> Vec<&'static str> {
        let order = start_order(parts).expect("an order");
        order.into_iter().map(|at| parts[at].name).collect()
    }

    #[test]
    fn parts_in_any_order_are_let_through_when_the_image_is_built() {
        const PARTS: [Profile; 3] = [named("c", &["b", "a"]), named("a", &[]), named("b", &["a"])];
        const ORDER: [usize; 3] = constant_start_order(&PARTS);
        assert_eq!(ORDER, [1, 2, 0]);
    }

    #[test]
    #[should_panic(expected = "b")]
    fn a_cycle_is_refused_when_the_image_is_built_and_a_part_of_it_named() {
        constant_start_order(&[named("a", &[]), named("b", &["c"]), named("c", &["b"])]);
    }

    #[test]
    #[should_panic(expected = "lonely")]
    fn a_dependency_that_is_not_there_is_refused_when_the_image_is_built() {
        // No name is taken for another that begins like it.
        constant_start_order(&[named("part", &[]), named("lonely", &["parts"])]);
    }

    const fn named(name: &'static str, dependencies: &'static [&'static str]) -> Profile {
        Profile {
            name,
            version: "1",
            dependencies,
            capabilities: &[],
            topics: &[],
        }
    }

    #[test]
    fn each_part_starts_after_what_it_depends_on_and_else_as_registered() {
        let parts = [
            part("http", &["data", "log"]),
            part("log", &[]),
            part("data", &["clock"]),
            part("clock", &[]),
        ];
        assert_eq!(names(&parts), ["log", "clock", "data", "http"]);
    }

    #[test]
    fn a_dependency_that_is_not_there_is_refused_with_both_names() {
        let error = start_order(&[part("http", &["data"])]).expect_err("no data");
        let kind = Kind::MissingDependency {
            name: "http",
            needs: "data",
        };
        assert_eq!(error.kind(), kind);
        assert_eq!(
            std::format!("{error}"),
            "bus: http needs data, which is not there"
        );
    }

    #[test]
    fn a_cycle_is_refused_with_names_from_inside_it() {
        let parts = [
            part("outside", &["a"]),
            part("a", &["b"]),
            part("b", &["c"]),
            part("c", &["a"]),
        ];
        let error = start_order(&parts).expect_err("a cycle");
        let Kind::DependencyCycle { name, needs } = error.kind() else {
            panic!("{error}");
        };
        assert!([("a", "b"), ("b", "c"), ("c", "a")].contains(&(name, needs)));
        assert!(start_order(&[part("self", &["self"])]).is_err());
    }
}
