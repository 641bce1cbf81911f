//! nos: a cache unikernel for aarch64.
//!
//! The floors, top to bottom; imports point downwards only (`scripts/check-floors.sh` checks it):
//!
//! | room | what it holds | what may enter it |
//! | --- | --- | --- |
//! | [`kernel`] | composition root: builds each part once, joins them, runs the data plane | everything |
//! | [`app`] | the `Application` trait; `cache_server`, the default application | net and below |
//! | [`diagnosis`], [`net`] | what is wrong, and why; sockets, flows, HTTP | bus and below |
//! | [`bus`] | the registry that parts are found through | memory and below |
//! | [`memory`] | frames, per-CPU page cache, heap | cache and below |
//! | [`cache`] | eviction policies and hit statistics, used by every cache in the image | metrics and below |
//! | [`metrics`] | counter types, the `Source` trait, the encoder | platform and below |
//! | [`platform`] | what the device tree says: memory map, CPUs, interrupt controller, console, clock, virtio | arch and below |
//! | [`arch`] | entry, vectors, MMU, timer, PSCI: the only assembly | error |
//! | [`error`] | the one error type of the image | nothing |
//!
//! Everything above `arch` and the register level of `platform` is plain Rust that builds and is tested on
//! the host as well. The rooms `storage` and `modules` of the house plan open when their parts arrive.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod app;
#[cfg(target_os = "none")]
pub mod arch;
pub mod bus;
pub mod cache;
pub mod diagnosis;
pub mod error;
#[cfg(target_os = "none")]
pub mod kernel;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod platform;
