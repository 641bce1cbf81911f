//! Any bytes from a client of port 9100, in pieces: the server never panics, consumes no more than it was shown, and
//! serves the next client.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::{converse, http_server};

fuzz_target!(|input: &[u8]| {
    let mut server = http_server();
    converse(&mut server, 0, input);
    let reply = converse(&mut server, 1, b"\x00GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(reply.starts_with(b"HTTP/1.1 200 "), "{reply:?}");
});
