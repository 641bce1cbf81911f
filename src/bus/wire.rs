//! The wire form of messages, to record them and to replay what was recorded; inside the image they are moved.
//!
//! A record is one byte of version and then the envelope and its body in postcard's encoding. The form of a
//! version never changes; another version is refused by its number. Bodies that can be recorded derive serde's
//! traits; a body that owns frames says there what is recorded of it.

use super::envelope::{
    Address, Correlation, Envelope, MessageId, NEVER, Priority, SubsystemId, TopicId,
};
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::platform::time::Instant;
use alloc::vec::Vec;
use core::num::NonZero;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;
/// Bytes of a record at most: bodies are small, and what is large is a parcel (a guess).
pub const RECORD_BYTES_MAX: usize = 512;

/// An envelope as it is written; the order of the fields is the form.
#[derive(Serialize, Deserialize)]
struct Record<B> {
    id: u64,
    deadline: Option<u64>,
    correlation: Option<(u32, NonZero<u32>)>,
    sender: u8,
    to: To,
    urgent: bool,
    body: B,
}

#[derive(Serialize, Deserialize)]
enum To {
    Receiver(u8),
    Topic(u8),
}

fn protocol(what: &'static str) -> Error {
    Error::new(Subsystem::Bus, Kind::Protocol { what })
}

fn too_long(limit: usize) -> Error {
    let (what, limit) = ("bytes of a record", limit as u64);
    Error::new(Subsystem::Bus, Kind::LimitReached { what, limit })
}

/// Writes a message into `out`; returns how many bytes it took.
///
/// # Errors
/// `LimitReached` if `out` is too small.
pub fn encode<M: Serialize>(envelope: &Envelope<M>, out: &mut [u8]) -> Result<usize> {
    let limit = out.len();
    let (version, rest) = out.split_first_mut().ok_or(too_long(limit))?;
    let record = Record {
        id: envelope.id.as_u64(),
        deadline: Some(envelope.deadline)
            .filter(|&deadline| deadline != NEVER)
            .map(Instant::as_nanos),
        correlation: envelope
            .correlation
            .map(|request| (request.slot, request.generation)),
        sender: envelope.sender.index() as u8,
        to: match envelope.to {
            Address::Receiver(id) => To::Receiver(id.index() as u8),
            Address::Topic(id) => To::Topic(id.0),
        },
        urgent: envelope.priority == Priority::Urgent,
        body: &envelope.body,
    };
    let written = postcard::to_slice(&record, rest).map_err(|_| too_long(limit))?;
    *version = VERSION;
    Ok(1 + written.len())
}

/// Reads a message that [`encode`] wrote.
///
/// # Errors
/// `UnknownVersion`; `Protocol` if the bytes are no message with such a body, or more than one.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<Envelope<M>> {
    let (&found, rest) = bytes.split_first().ok_or(protocol("an empty record"))?;
    if found != VERSION {
        let known = VERSION;
        return Err(Error::new(
            Subsystem::Bus,
            Kind::UnknownVersion { found, known },
        ));
    }
    let read = postcard::take_from_bytes::<Record<M>>(rest);
    let (record, left) = read.map_err(|_| protocol("a record that is no message"))?;
    if !left.is_empty() {
        return Err(protocol("bytes behind a record"));
    }
    let subsystem = |number: u8| {
        SubsystemId::new(usize::from(number)).ok_or(protocol("a subsystem beyond the last"))
    };
    Ok(Envelope {
        id: MessageId::from_u64(record.id),
        deadline: record.deadline.map_or(NEVER, Instant::from_nanos),
        correlation: record
            .correlation
            .map(|(slot, generation)| Correlation { slot, generation }),
        sender: subsystem(record.sender)?,
        to: match record.to {
            To::Receiver(number) => Address::Receiver(subsystem(number)?),
            To::Topic(number) => Address::Topic(TopicId(number)),
        },
        priority: match record.urgent {
            true => Priority::Urgent,
            false => Priority::Normal,
        },
        body: record.body,
    })
}

/// The last messages, as many as fit a ring of bytes; the oldest make room.
pub struct Recorder {
    ring: Vec<u8>,
    /// Bytes ever written, and where of them the oldest record begins.
    end: usize,
    start: usize,
    displaced: u64,
}

/// Before each record: its length.
const LENGTH_BYTES: usize = 2;
const _: () = assert!(RECORD_BYTES_MAX <= u16::MAX as usize);

impl Recorder {
    /// A recorder of `capacity` bytes, more than [`RECORD_BYTES_MAX`].
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(capacity: usize) -> Result<Self> {
        let capacity = capacity.max(RECORD_BYTES_MAX + LENGTH_BYTES);
        let mut ring = Vec::new();
        ring.try_reserve_exact(capacity)?;
        ring.resize_reserved(capacity, 0);
        Ok(Self {
            ring,
            end: 0,
            start: 0,
            displaced: 0,
        })
    }

    /// Records a message. Allocates nothing.
    ///
    /// # Errors
    /// `LimitReached` if it takes more than [`RECORD_BYTES_MAX`]; nothing is recorded then.
    pub fn record<M: Serialize>(&mut self, envelope: &Envelope<M>) -> Result<()> {
        let mut record = [0; RECORD_BYTES_MAX];
        let length = encode(envelope, &mut record)?;
        while self.end - self.start + LENGTH_BYTES + length > self.ring.len() {
            self.start += LENGTH_BYTES + self.length_at(self.start);
            self.displaced += 1;
        }
        let head = (length as u16).to_le_bytes();
        for &byte in head.iter().chain(&record[..length]) {
            let at = self.end % self.ring.len();
            self.ring[at] = byte;
            self.end += 1;
        }
        Ok(())
    }

    fn byte(&self, at: usize) -> u8 {
        self.ring[at % self.ring.len()]
    }

    fn length_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(at), self.byte(at + 1)]))
    }

    /// Records that made room for later ones.
    pub fn displaced(&self) -> u64 {
        self.displaced
    }

    /// What was recorded, oldest first.
    pub fn replay<M: DeserializeOwned>(&self) -> impl Iterator<Item = Result<Envelope<M>>> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            if at == self.end {
                return None;
            }
            let length = self.length_at(at);
            let mut record = [0; RECORD_BYTES_MAX];
            for (offset, byte) in record[..length].iter_mut().enumerate() {
                *byte = self.byte(at + LENGTH_BYTES + offset);
            }
            at += LENGTH_BYTES + length;
            Some(decode(&record[..length]))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::format;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Body {
        Number(u64),
        Pair { a: i16, b: [u8; 3] },
    }

    fn envelope(number: u64) -> Envelope<Body> {
        let sender = SubsystemId::new(number as usize % 64).expect("below 64");
        let odd = number % 2 == 1;
        Envelope {
            id: MessageId::new(sender, number),
            deadline: if odd {
                NEVER
            } else {
                Instant::from_nanos(number)
            },
            correlation: odd.then_some(Correlation {
                slot: number as u32,
                generation: NonZero::new(7).expect("not 0"),
            }),
            sender,
            to: if odd {
                Address::Receiver(sender)
            } else {
                Address::Topic(TopicId(9))
            },
            priority: if odd {
                Priority::Urgent
            } else {
                Priority::Normal
            },
            body: if odd {
                Body::Number(number)
            } else {
                Body::Pair {
                    a: -3,
                    b: [1, 2, 3],
                }
            },
        }
    }

    #[test]
    fn a_message_comes_back_equal() {
        let mut bytes = [0; RECORD_BYTES_MAX];
        for number in [0, 1, 2, 63, u64::from(u32::MAX) << 8] {
            let length = encode(&envelope(number), &mut bytes).expect("room");
            let back: Envelope<Body> = decode(&bytes[..length]).expect("as written");
            assert_eq!(back, envelope(number));
        }
    }

    #[test]
    fn the_form_of_version_1_stays_as_it_is() {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let mut length = encode(&envelope(1), &mut bytes).expect("room");
        let odd = [
            1, 129, 128, 128, 128, 128, 128, 128, 128, 1, 0, 1, 1, 7, 1, 0, 1, 1, 0, 1,
        ];
        assert_eq!(bytes[..length], odd);
        length = encode(&envelope(2), &mut bytes).expect("room");
        let even = [
            1, 130, 128, 128, 128, 128, 128, 128, 128, 2, 1, 2, 0, 2, 1, 9, 0, 1, 5, 1, 2, 3,
        ];
        assert_eq!(bytes[..length], even);
    }

    #[test]
    fn what_is_no_record_is_refused_and_a_version_by_its_number() {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let length = encode(&envelope(1), &mut bytes).expect("room");
        bytes[0] = 2;
        let error = decode::<Body>(&bytes[..length]).expect_err("another version");
        assert_eq!(format!("{error}"), "bus: version 2 is not known, only 1");
        bytes[0] = VERSION;
        for cut in 0..length {
            let error = decode::<Body>(&bytes[..cut]).expect_err("cut off");
            assert!(matches!(error.kind(), Kind::Protocol { .. }));
        }
        assert!(decode::<Body>(&bytes[..length + 1]).is_err());
        let short = encode(&envelope(1), &mut [0; 5]).expect_err("too small");
        assert!(matches!(short.kind(), Kind::LimitReached { limit: 5, .. }));
    }

    #[test]
    fn the_last_messages_are_replayed_equal_and_in_order() {
        let mut recorder = Recorder::new(600).expect("memory");
        for number in 0..200 {
            recorder.record(&envelope(number)).expect("short");
        }
        let replayed: Vec<_> = recorder
            .replay()
            .map(|message| message.expect("as recorded"))
            .collect();
        let first = recorder.displaced();
        assert!(first > 100 && first < 200, "{first}");
        let recorded: Vec<_> = (first..200).map(envelope).collect();
        assert_eq!(replayed, recorded);
    }
}
