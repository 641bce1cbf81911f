//! The network: what serves a TCP port ([`service`]), the stack under it, and the HTTP server.

pub mod http;
pub mod service;
