//! The network: what serves a TCP port ([`service`]), the stack under it ([`stack`]), and the HTTP server.
//!
//! A frame's road: `stack` takes it from the device, `ingress` finds its flow (`frame`, `flow_table`), the
//! flow's socket takes the segment (`link`, `phy`), `schedule` marks the flow; in its turn (`turns`, `flow`)
//! `conversation` shows the bytes to the service and keeps what it wrote, and `link` sends it.
//! `timer_wheel` wakes flows that fall silent; `time_wait` remembers those that are over, and `peers`, beyond the
//! stack's own end, those that are not; `system` holds our address, `arp` announces it; `isn` makes sequence numbers;
//! `counters` tells of it all.

mod arp;
pub mod config;
mod conversation;
pub mod counters;
mod flow;
mod flow_table;
mod frame;
pub mod http;
mod ingress;
mod isn;
mod link;
pub mod peers;
mod phy;
mod schedule;
pub mod service;
pub mod stack;
mod system;
mod time_wait;
mod timer_wheel;
mod turns;

#[cfg(test)]
mod tests;
