//! The Internet checksum of TCP and UDP over IPv4: for frames whose device leaves it to the driver.
//!
//! Source: RFC 1071, RFC 9293 3.1 (pseudo-header).

use super::network_device::ETHERNET_HEADER_BYTES;

/// The transport segment of an Ethernet frame with a whole IPv4 packet of TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the transport header in the frame.
    pub start: usize,
    /// One past the last byte of the segment in the frame (a short frame is padded after it).
    pub end: usize,
    /// Offset of the checksum in the transport header.
    pub checksum_offset: usize,
    /// The sum of the pseudo-header, not folded.
    pseudo_header: u64,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

impl Segment {
    /// Finds the segment of `frame`; none for other protocols, fragments and damaged headers.
    #[inline]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let head: &[u8; ETHERNET_HEADER_BYTES + 20] = frame.first_chunk()?;
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let header_bytes = usize::from(head[14] & 0xf) * 4;
        let total = usize::from(half(16));
        let is_fragment = half(20) & 0x3fff != 0;
        let protocol = head[23];
        let (checksum_offset, transport_min) = match protocol {
            TCP => (16, 20),
            UDP => (6, 8),
            _ => return None,
        };
        if half(12) != 0x0800
            || head[14] >> 4 != 4
            || is_fragment
            || header_bytes < 20
            || total < header_bytes + transport_min
            || total > frame.len() - ETHERNET_HEADER_BYTES
        {
            return None;
        }
        let length = (total - header_bytes) as u64;
        let addresses = u64::from(word(26)) + u64::from(word(30));
        Some(Self {
            start: ETHERNET_HEADER_BYTES + header_bytes,
            end: ETHERNET_HEADER_BYTES + total,
            checksum_offset,
            pseudo_header: addresses + u64::from(protocol) + length,
        })
    }

    /// The folded sum of the pseudo-header, not complemented: what a device that fills in the rest
    /// expects in the checksum field (virtio 1.2, 5.1.6.2).
    #[inline]
    pub fn partial(&self) -> u16 {
        fold(self.pseudo_header)
    }

    /// True if the checksum of the segment in `frame` is right (or, for UDP, left out).
    pub fn verify(&self, frame: &[u8]) -> bool {
        let segment = &frame[self.start..self.end];
        let left_out = self.checksum_offset == 6 && segment[6..8] == [0, 0];
        left_out || fold(self.pseudo_header + sum(segment)) == 0xffff
    }
}

/// The sum of big-endian 16-bit words, an odd last byte padded with 0.
fn sum(bytes: &[u8]) -> u64 {
    // Summing in 32-bit words is as good: 2^16 is 1 in this arithmetic.
    let mut words = bytes.chunks_exact(4);
    let mut sum: u64 = words
        .by_ref()
        .map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]])))
        .sum();
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

/// Folds a sum to 16 bits with end-around carry; four steps do for any 64 bits.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A TCP SYN from 10.0.2.2:34567 to 10.0.2.15:6379 with its right checksum.
    fn syn() -> Vec<u8> {
        let mut frame = std::vec![0; 14];
        frame[12] = 8;
        frame.extend([
            0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15,
        ]);
        frame.extend([
            0x87, 0x07, 0x18, 0xeb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        let segment = Segment::of(&frame).expect("a TCP segment");
        let checksum = !fold(segment.pseudo_header + sum(&frame[34..54]));
        frame[50..52].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    #[test]
    fn a_right_checksum_is_accepted_and_any_flipped_bit_refused() {
        let frame = syn();
        let segment = Segment::of(&frame).expect("a TCP segment");
        assert!(segment.verify(&frame));
        for bit in 0..20 * 8 {
            let mut damaged = frame.clone();
            damaged[34 + bit / 8] ^= 1 << (bit % 8);
            assert!(!segment.verify(&damaged), "bit {bit}");
        }
    }

    #[test]
    fn the_known_checksum_of_rfc_1071_comes_out() {
        assert_eq!(
            fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])),
            0xddf2
        );
    }

    #[test]
    fn padding_behind_the_packet_is_not_summed() {
        let mut frame = syn();
        frame.extend([0xff; 6]);
        assert!(Segment::of(&frame).expect("a TCP segment").verify(&frame));
    }

    #[test]
    fn fragments_other_protocols_and_damaged_headers_have_no_segment() {
        let with = |at: usize, value: u8| {
            let mut frame = syn();
            frame[at] = value;
            Segment::of(&frame)
        };
        assert_eq!(with(14, 0x44), None, "a header of 16 bytes");
        assert_eq!(with(17, 255), None, "longer than the frame");
        assert_eq!(with(20, 0x20), None, "more fragments follow");
        assert_eq!(with(23, 1), None, "ICMP");
        assert_eq!(with(12, 0x86), None, "not IPv4");
        for length in 0..54 {
            assert_eq!(Segment::of(&syn()[..length]), None, "{length} bytes");
        }
    }
}
