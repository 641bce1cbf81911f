//! nos: a cache unikernel for aarch64.
//!
//! The floors, top to bottom; imports point downwards only (`scripts/check-floors.sh` checks it):
//!
//! | room | what it holds | what may enter it |
//! | --- | --- | --- |
//! | [`kernel`] | composition root: builds each part once, joins them; the scheduler that runs them on fibers | everything |
//! | [`app`] | the `Application` trait; `cache_server`, the default application | net and below |
//! | [`diagnosis`], [`net`] | what is wrong, why, and what helps; symbols and lines; sockets, flows, HTTP | bus and below |
//! | `injection` | faults on purpose: points, knobs, wrappers of traits of the floors below (feature `fault-injection`) | bus and below |
//! | [`bus`] | messages, requests, executors; what subsystems are found through and supervised by | memory and below |
//! | [`memory`] | frames, per-CPU page cache, heap | cache and below |
//! | [`storage`] | traits of block devices, one in memory, the slots of checkpoints, and notes beside them | cache and below |
//! | [`cache`] | eviction policies and hit statistics, used by every cache in the image | metrics and below |
//! | [`metrics`] | counter types, the `Source` trait, the encoder | platform and below |
//! | [`platform`] | what the device tree says: memory map, CPUs, interrupt controller, console, clock, virtio | arch and below |
//! | [`arch`] | entry, vectors, stack switch, MMU, timer, PSCI: the only assembly | error |
//! | [`error`] | the one error type of the image | nothing |
//!
//! Everything above `arch` and the register level of `platform` is plain Rust that builds and is tested on
//! the host as well. The room `modules` of the house plan opens when its parts arrive.
#![no_std]
#![deny(unsafe_code)]
// What may fail for want of memory says so (clippy.toml).
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_macros))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod app;
pub mod arch;
pub mod bus;
pub mod cache;
pub mod diagnosis;
pub mod error;
#[cfg(feature = "fault-injection")]
pub mod injection;
#[cfg(target_os = "none")]
pub mod kernel;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod platform;
pub mod storage;
