//! Any frames from the wire, through the whole stack with both servers on it; the stack never panics, and always
//! comes to rest. The input is frames, each behind its length in two bytes and the milliseconds before it in one.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use nos::net::config::{AddressConfig, StackConfig};
use nos::net::counters::NetworkCounters;
use nos::net::stack::{Activity, Secrets, Stack};
use nos::platform::network_device::Checksums;
use nos::platform::time::{Duration, Instant};
use std::net::Ipv4Addr;
use std::sync::Arc;
use support::{Wire, cache_server, http_server};

/// Polls after a frame until the stack must have come to rest.
const POLLS_MAX: usize = 1_000;

fuzz_target!(|input: &[u8]| {
    let config = StackConfig {
        address: AddressConfig::Static {
            address: Ipv4Addr::new(10, 0, 0, 1),
            prefix_len: 24,
            gateway: Some(Ipv4Addr::new(10, 0, 0, 2)),
        },
        ..StackConfig::default()
    };
    let secrets = Secrets {
        sequence_key: [1, 2],
        hash_seed: 3,
        interface_seed: 4,
    };
    // The fuzzer would never guess a checksum: the device vouches for all of them.
    let (wire, frames) = Wire::new(Checksums {
        receive_verified: true,
        transmit_filled: true,
    });
    let mut now = Instant::ZERO;
    let counters = Arc::new(NetworkCounters::new());
    let services = vec![cache_server(), Box::new(http_server())];
    let mut stack = Stack::new(wire, config, services, secrets, counters, now)
        .expect("the host has memory, and the ports differ");
    let mut rest = input;
    while let [low, high, millis, behind @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (frame, behind) = behind.split_at(len);
        rest = behind;
        now = now + Duration::from_millis(u64::from(*millis));
        frames.borrow_mut().push_back(frame.to_vec());
        let comes_to_rest = (0..POLLS_MAX).any(|_| stack.poll(now) == Activity::Idle);
        assert!(comes_to_rest, "still busy after {POLLS_MAX} polls");
    }
});
