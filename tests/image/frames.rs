//! Many frames in batches: the rings' 16-bit indices wrap several times, and a notification or an interrupt that
//! got lost on the way would leave a batch unanswered for good.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use crate::support::guest::{Guest, free_port};
use crate::support::random::Random;

/// More than three times 65,536, the turns of an index.
const FRAMES: usize = 200_000;
/// Frames sent at once at most: fewer than the ring of 128 buffers has room for.
const BATCH_MAX: usize = 100;
/// How long no answer may come at all; an answer takes well under a millisecond.
const SILENCE_MAX: Duration = Duration::from_secs(20);

const OUR_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x02];
const NOS_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OUR_ADDRESS: [u8; 4] = [10, 9, 0, 1];
const NOS_ADDRESS: [u8; 4] = [10, 9, 0, 2];
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];

pub(crate) fn two_hundred_thousand_frames_in_batches_are_all_answered() {
    let ours = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
    ours.set_read_timeout(Some(SILENCE_MAX))
        .expect("a timeout above 0");
    let port = ours.local_addr().expect("it is bound").port();
    let qemus = free_port();
    ours.connect(("127.0.0.1", qemus))
        .expect("a loopback address");
    // QEMU sends and takes a frame as a datagram.
    let link = format!(
        "-netdev socket,id=n0,udp=127.0.0.1:{port},localaddr=127.0.0.1:{qemus} \
         -device virtio-net-device,netdev=n0,mac=52:54:00:12:34:56"
    );
    let guest = Guest::boot(&[
        ("NET", "none".into()),
        ("APPEND", "nos.ip=10.9.0.2/24,10.9.0.1".into()),
        ("QEMU_EXTRA", link),
    ]);
    let wire = Wire(ours);
    wire.send(&arp(1, [0xff; 6], [0; 6], NOS_ADDRESS));
    let mut random = Random::seeded(1);
    let (mut sent, mut number) = (0, 0u16);
    while sent < FRAMES {
        let batch = 1 + random.below(BATCH_MAX);
        let mut missing = HashSet::new();
        for _ in 0..batch {
            wire.send(&echo_request(number));
            missing.insert(number);
            number = number.wrapping_add(1);
        }
        sent += batch;
        while !missing.is_empty() {
            let answered = wire.next_answer().unwrap_or_else(|| {
                let missing = missing.len();
                panic!("{missing} of {batch} frames are not answered after {sent}")
            });
            assert!(missing.remove(&answered), "{answered} is answered twice");
        }
    }
    println!("  {sent} frames");
    assert!(
        !guest.serial().contains("nos: crashed"),
        "{}",
        guest.serial()
    );
}

struct Wire(UdpSocket);

impl Wire {
    fn send(&self, frame: &[u8]) {
        self.0.send(frame).expect("QEMU listens");
    }

    /// The number of the next echo reply; `None` if nothing comes. Answers who asks for our address.
    fn next_answer(&self) -> Option<u16> {
        let mut frame = [0; 2048];
        loop {
            let len = match self.0.recv(&mut frame) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            };
            let frame = &frame[..len];
            if frame.len() < 42 {
                continue;
            }
            if frame[12..14] == ARP && frame[20..22] == [0, 1] && frame[38..42] == OUR_ADDRESS {
                self.send(&arp(2, NOS_MAC, NOS_MAC, NOS_ADDRESS));
            } else if frame[12..14] == IPV4 && frame[23] == 1 && frame[34] == 0 {
                assert_eq!(
                    frame[42..],
                    PAYLOAD,
                    "an echo reply repeats what it was sent"
                );
                return Some(u16::from_be_bytes([frame[40], frame[41]]));
            }
        }
    }
}

const PAYLOAD: [u8; 18] = *b"two hundred thousa";

fn ethernet(to: [u8; 6], kind: [u8; 2]) -> Vec<u8> {
    [&to[..], &OUR_MAC, &kind].concat()
}

/// An ARP packet from us: operation 1 asks, 2 answers.
fn arp(operation: u8, to: [u8; 6], their_mac: [u8; 6], their_address: [u8; 4]) -> Vec<u8> {
    let mut frame = ethernet(to, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(OUR_MAC);
    frame.extend(OUR_ADDRESS);
    frame.extend(their_mac);
    frame.extend(their_address);
    frame
}

fn echo_request(number: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x4e, 0x4f];
    icmp.extend(number.to_be_bytes());
    icmp.extend(PAYLOAD);
    fill_checksum(&mut icmp, 2);
    let mut ip = vec![0x45, 0, 0, 20 + icmp.len() as u8, 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend(OUR_ADDRESS);
    ip.extend(NOS_ADDRESS);
    fill_checksum(&mut ip, 10);
    [ethernet(NOS_MAC, IPV4), ip, icmp].concat()
}

/// Writes the internet checksum (RFC 1071) of an even number of bytes at `at`, where zeros stand.
fn fill_checksum(bytes: &mut [u8], at: usize) {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
