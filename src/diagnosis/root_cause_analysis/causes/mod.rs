//! The table of causes, one row each, by what they are faults of. To add one is to add a row: the tests in
//! `../tests.rs` take it up by themselves, and `docs/causes.md` is written anew (`make docs`).
//!
//! Likelihoods are what the parts promise by their construction, rounded: 0.95 where the cause cannot but show, 0.5
//! where it depends on load; none is fitted to a campaign.

mod execution;
mod load;
mod memory;
mod network;
mod storage;

use super::graph::Cause;

/// All rows, by groups.
const GROUPS: [&[Cause]; 5] = [
    memory::ROWS,
    storage::ROWS,
    network::ROWS,
    execution::ROWS,
    load::ROWS,
];

/// How many there are.
pub const CAUSES: usize = {
    let (mut rows, mut group) = (0, 0);
    while group < GROUPS.len() {
        rows += GROUPS[group].len();
        group += 1;
    }
    rows
};

/// All causes, in the order of their tables.
pub fn causes() -> impl Iterator<Item = &'static Cause> {
    GROUPS.into_iter().flatten()
}

/// The cause of that name.
pub fn cause(name: &str) -> Option<&'static Cause> {
    causes().find(|cause| cause.name == name)
}
