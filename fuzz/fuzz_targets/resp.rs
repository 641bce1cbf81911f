//! Any bytes from a client of the cache, in pieces: the server never panics, consumes no more than it was shown, and
//! serves the next client.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::{cache_server, converse};

fuzz_target!(|input: &[u8]| {
    let mut server = cache_server();
    converse(server.as_mut(), 0, input);
    let reply = converse(server.as_mut(), 1, b"\x00PING\r\n");
    assert_eq!(reply, b"+PONG\r\n");
});
