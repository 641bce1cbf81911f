//! The subsystems of the image: what each is, where it runs, and what its fiber does.
//!
//! | name | does | ranks |
//! | --- | --- | --- |
//! | `supervisor` | clears away what died and starts it again | first, and runs only then |
//! | `data-plane` | network, protocol, store | before all others |
//! | `http` | the pages of port 9100 | |
//! | `diagnosis` | the detectors | last |

pub(super) mod data_plane;
pub(super) mod diagnosis;
pub(super) mod http;
mod news;
mod placement;

pub(super) use news::{News, PRESSURE_TOPIC};
pub(super) use placement::Placement;

use super::scheduler::FiberSpec;
use crate::bus::registry::constant_start_order;
use crate::memory::accounts::Owner;
use crate::platform::time::Duration;

/// A subsystem as the composition root's table has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    priority: u8,
    stack_bytes: usize,
    /// The account that it is charged to.
    pub(super) owner: Owner,
}

const fn account(number: u8) -> Owner {
    Owner::new(number).expect("accounts are few")
}

/// What outlives the data plane is charged to this account.
pub(super) const STORE: Owner = account(1);

/// What runs when something has died.
pub(super) const SUPERVISOR: Entry = Entry {
    name: "supervisor",
    priority: 0,
    stack_bytes: 32 << 10,
    owner: Owner::KERNEL,
};
/// Network, protocol, store.
pub(super) const DATA_PLANE: Entry = Entry {
    name: "data-plane",
    priority: 1,
    // The deepest calls (LCS, a SYN's interface) with room to spare.
    stack_bytes: 192 << 10,
    owner: account(2),
};
/// The pages.
pub(super) const HTTP: Entry = Entry {
    name: "http",
    priority: 2,
    stack_bytes: 64 << 10,
    owner: account(3),
};
/// The detectors.
pub(super) const DIAGNOSIS: Entry = Entry {
    name: "diagnosis",
    priority: 3,
    stack_bytes: 32 << 10,
    owner: account(4),
};

/// All of them, in the order in which they are placed.
pub(super) const ALL: [Entry; 4] = [SUPERVISOR, DATA_PLANE, HTTP, DIAGNOSIS];

/// In which order those that are supervised start: places in the row of these. A cycle is refused when the image is
/// built.
pub(super) const START_ORDER: [usize; 3] =
    constant_start_order(&[data_plane::PROFILE, http::PROFILE, diagnosis::PROFILE]);

/// Stacks of all their fibers, in bytes.
pub(super) const STACKS: [usize; ALL.len()] = [
    SUPERVISOR.stack_bytes,
    DATA_PLANE.stack_bytes,
    HTTP.stack_bytes,
    DIAGNOSIS.stack_bytes,
];

impl Entry {
    /// Its fiber on `cpu`, killed when it does not come back to its executor for `hang_limit`.
    pub(super) fn fiber(&self, cpu: usize, hang_limit: Option<Duration>) -> FiberSpec {
        FiberSpec {
            name: self.name,
            cpu,
            priority: self.priority,
            stack_bytes: self.stack_bytes,
            hang_limit,
            owner: self.owner.get(),
        }
    }
}
