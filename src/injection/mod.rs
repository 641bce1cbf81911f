//! Fault injection: what can be made to fail on purpose, when, and how often it did.
//!
//! A [`Point`](point) is a place where a fault can happen: the part that owns it declares it, by name. Points that one
//! part asks for together are a [`Group`]. Whether a call at an armed point fails is decided by its [`Knobs`], those of
//! Linux' fault injection (Documentation/fault-injection) and a seed: from the same knobs, the same calls fail again.
//! The [`Registry`] has all groups: by it points are armed, by name, and shown (`nos.faults=`, `/faults`, `/metrics`).
//!
//! Faults come from outside of what they happen to: a wrapper implements the trait that the core already uses and asks
//! its group before it hands a call on. So no code under test knows of them, and nothing of them is left in an image
//! that is built without the feature `fault-injection`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `knobs`, `point`, `group` | when a call fails, and the decision |
//! | `orders`, `registry` | arming by text, form or JSON; the page and the metrics |
//! | `network` | frames lost, changed, doubled, out of order or held back; interrupts and kicks lost; the link down |
//! | `frames` | blocks refused; bits flipped in blocks that were given out |
//! | `block` | a block device that fails, tears, changes, forgets or delays |
//!
//! Always true: while none of a group's points is armed, asking it is one load and one comparison. A point that has
//! failed as often as it was to is armed no more.
//!
//! The diagnosis engine is what faults are injected for: it imports nothing of this and never looks at its counters.

mod block;
mod frames;
mod group;
mod knobs;
mod network;
mod orders;
mod point;
mod registry;
#[cfg(test)]
mod tests;

pub use block::{BLOCK_POINTS, FaultyBlockQueue};
pub use frames::{FRAME_POINTS, FaultyFrames};
pub use group::Group;
pub use knobs::{Knob, Knobs};
pub use network::{
    FaultyNetwork, FaultyReceiver, FaultyTransmitter, NETWORK_POINTS, NetworkFaults,
};
pub use orders::Pairs;
pub use point::Declaration;
pub use registry::Registry;
