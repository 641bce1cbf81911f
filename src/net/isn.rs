//! Initial sequence numbers by RFC 6528, and how smoltcp is made to use them.
//!
//! A number is the time in units of 4 µs plus a keyed hash of the 4-tuple: who does not know the key can
//! neither guess the next number nor link two connections, and numbers of one 4-tuple rise with time, so
//! that a new connection is never confused with the one before it.
//!
//! smoltcp 0.14 draws each initial sequence number from its interface's generator, which only a seed
//! enters. So a SYN is shown to an interface made for it alone, whose seed is computed backwards so that
//! the generator's next number is ours. The generator (sPCG32: a 64-bit congruential state, of which
//! some middle bits come out) has an inverse for every step. [`SequenceNumbers::seed_for`] leans on three
//! facts of smoltcp that its tests hold: the generator itself, one 16-bit draw (not 0) in
//! `Interface::new`, and one 32-bit draw for a SYN in LISTEN.

use crate::platform::time::Instant;
use core::hash::Hasher;
#[expect(
    deprecated,
    reason = "the only SipHash-2-4 in core; std's default hasher is not there"
)]
use core::hash::SipHasher;
use core::net::Ipv4Addr;

/// Nanoseconds in a step of the sequence clock (RFC 9293 3.4.1: one in 4 µs).
const CLOCK_STEP_NANOS: u64 = 4_000;

/// The generator's multiplier and increment.
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
/// The multiplier's inverse modulo 2^64.
const INVERSE: u64 = inverse(MULTIPLIER);

/// Makes initial sequence numbers.
#[derive(Debug)]
pub(super) struct SequenceNumbers {
    key: [u64; 2],
}

impl SequenceNumbers {
    /// A source with that secret key.
    pub(super) const fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    /// The initial sequence number for a connection that opens now.
    pub(super) fn number(
        &self,
        local: (Ipv4Addr, u16),
        remote: (Ipv4Addr, u16),
        now: Instant,
    ) -> u32 {
        #[expect(deprecated, reason = "as at the import")]
        let mut hash = SipHasher::new_with_keys(self.key[0], self.key[1]);
        let mut ends = [0; 12];
        for (end, (address, port)) in ends.chunks_exact_mut(6).zip([local, remote]) {
            end[..4].copy_from_slice(&address.octets());
            end[4..].copy_from_slice(&port.to_be_bytes());
        }
        hash.write(&ends);
        let clock = now.as_nanos() / CLOCK_STEP_NANOS;
        (hash.finish() as u32).wrapping_add(clock as u32)
    }

    /// The seed of an interface whose first initial sequence number is `number`.
    pub(super) fn seed_for(number: u32) -> u64 {
        // With its top three bits clear a state gives out the 32 bits from bit 29; the 29 below are free.
        for filler in 1..1_000 {
            let wanted = u64::from(number) << 29 | filler;
            let before = step_back(wanted);
            if half(output(before)) != 0 {
                return step_back(before);
            }
        }
        unreachable!("one in 65,536 fillers makes a 16-bit draw of 0, which is drawn again")
    }
}

const fn step_back(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
}

const fn output(state: u64) -> u32 {
    (state >> (29 - (state >> 61))) as u32
}

const fn half(word: u32) -> u16 {
    (word ^ word >> 16) as u16
}

/// Newton's iteration: each step doubles the bits that are right, from the 3 that an odd number gives.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut right_bits = 3;
    while right_bits < 64 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        right_bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::time::Duration;

    const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 6379);
    const REMOTE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 40_000);

    #[test]
    fn a_seed_makes_the_generator_give_out_the_wanted_number() {
        for number in (0..=u32::MAX).step_by(65_521).chain([u32::MAX]) {
            let step = |state: u64| state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
            let after_new = step(SequenceNumbers::seed_for(number));
            assert_ne!(half(output(after_new)), 0);
            assert_eq!(output(step(after_new)), number);
        }
    }

    #[test]
    fn numbers_of_one_connection_rise_by_one_in_four_microseconds() {
        let numbers = SequenceNumbers::new([1, 2]);
        let now = Instant::from_nanos(123_000_000_000);
        let later = now + Duration::from_millis(8);
        let (first, second) = (
            numbers.number(LOCAL, REMOTE, now),
            numbers.number(LOCAL, REMOTE, later),
        );
        assert_eq!(second.wrapping_sub(first), 2_000);
    }

    #[test]
    fn numbers_of_other_connections_and_other_keys_have_nothing_in_common() {
        let now = Instant::from_nanos(123_000_000_000);
        let number = |key, port| SequenceNumbers::new(key).number(LOCAL, (REMOTE.0, port), now);
        let base = number([1, 2], 40_000);
        for other in [
            number([1, 2], 40_001),
            number([1, 3], 40_000),
            number([2, 2], 40_000),
        ] {
            assert!(
                (4..=28).contains(&(base ^ other).count_ones()),
                "{base:x} {other:x}"
            );
        }
    }
}
