//! The order in which parts start: each after all that it depends on, and else as they were registered.

use crate::bus::subsystem::Profile;
use crate::error::{Error, Kind, Result, Subsystem};
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
    let started = |order: &[usize], name: &str| order.iter().any(|&at| parts[at].name == name);
    while order.len() < parts.len() {
        // Always the first that can start, so that the order of registration shows through.
        let next = (0..parts.len()).find(|at| {
            let mut needs = parts[*at].dependencies.iter();
            !order.contains(at) && needs.all(|name| started(&order, name))
        });
        let Some(next) = next else {
            let (name, needs) = cycle(parts, |name| started(&order, name));
            return fault(Kind::DependencyCycle { name, needs });
        };
        order.push(next);
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
