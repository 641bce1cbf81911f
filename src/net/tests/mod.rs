//! Tests of the whole stack on a wire in memory, with smoltcp's own sockets as clients or frames made by hand.

mod address;
mod bad_input;
mod client;
mod connection;
mod cost;
mod echo;
mod frames;
mod limits;
mod loss;
mod neighbours;
pub(in crate::net) mod random;
mod relayed;
mod restart;
mod time_wait;
mod wire;
