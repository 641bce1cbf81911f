//! Services for tests: one that echoes, and one that does as it is told.

use crate::error::test_heap::refuse_blocks_above;
use crate::net::service::{ConnectionId, Next, Output, Progress, Service, Turn};
use crate::platform::time::Instant;
use core::net::SocketAddrV4;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// What a service has seen, shared with the test.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) opened: Vec<ConnectionId>,
    pub(super) closed: Vec<ConnectionId>,
    /// Bytes that were consumed, by connection.
    pub(super) consumed: BTreeMap<ConnectionId, Vec<u8>>,
    pub(super) calls: usize,
    pub(super) ticks: usize,
    /// When it wants a tick.
    pub(super) deadline: Option<Instant>,
    pub(super) doomed: Vec<ConnectionId>,
    /// What it can give back when it is asked to, and what it was asked for.
    pub(super) spare_bytes: Vec<u64>,
    pub(super) relieved_bytes: Vec<u64>,
}

/// What a service does with its input.
#[derive(Clone, Copy)]
pub(super) enum Behaviour {
    /// Sends back what it gets.
    Echo,
    /// Takes blocks of that many bytes, tells how many it needs, and sends each back.
    Blocks(usize),
    /// Answers each byte with that many.
    Amplify(usize),
    /// Answers a line with itself and closes; a line `abort` with a reset.
    OneLine,
    /// Writes a greeting when a connection opens and closes it.
    Greet,
}

pub(super) struct TestService {
    pub(super) port: u16,
    pub(super) behaviour: Behaviour,
    pub(super) seen: Rc<RefCell<Seen>>,
}

impl Service for TestService {
    fn port(&self) -> u16 {
        self.port
    }

    fn open(&mut self, id: ConnectionId, _: SocketAddrV4, _: Instant, output: &mut Output) -> Next {
        let mut seen = self.seen.borrow_mut();
        seen.opened.push(id);
        seen.consumed.insert(id, Vec::new());
        match self.behaviour {
            Behaviour::Greet => {
                output.write(b"hello and goodbye");
                Next::Close
            }
            _ => Next::MORE,
        }
    }

    fn receive(&mut self, turn: Turn<'_>) -> Progress {
        let mut seen = self.seen.borrow_mut();
        seen.calls += 1;
        assert!(!seen.closed.contains(&turn.id), "no call after close");
        let (consumed, next) = match self.behaviour {
            Behaviour::Echo | Behaviour::Greet => {
                turn.output.write(turn.input);
                (turn.input.len(), Next::MORE)
            }
            Behaviour::Blocks(len) => {
                let whole = turn.input.len() / len * len;
                turn.output.write(&turn.input[..whole]);
                (whole, Next::Wait { until_bytes: len })
            }
            Behaviour::Amplify(times) => {
                let mut consumed = 0;
                while consumed < turn.input.len() && !turn.output.is_full() {
                    (0..times).for_each(|_| turn.output.write(&turn.input[consumed..=consumed]));
                    consumed += 1;
                }
                (consumed, Next::MORE)
            }
            Behaviour::OneLine => match turn.input.iter().position(|&byte| byte == b'\n') {
                None => (0, Next::MORE),
                Some(_) if turn.input.starts_with(b"abort") => (turn.input.len(), Next::Abort),
                Some(end) => {
                    turn.output.write(&turn.input[..=end]);
                    (end + 1, Next::Close)
                }
            },
        };
        let stream = seen
            .consumed
            .get_mut(&turn.id)
            .expect("a connection is opened before");
        stream.extend_from_slice(&turn.input[..consumed]);
        Progress { consumed, next }
    }

    fn farewell(&mut self, _: ConnectionId, output: &mut Output) {
        output.write(b"too late");
    }

    fn refuse(&mut self, _: ConnectionId, output: &mut Output) {
        output.write(b"no room");
    }

    /// Lets the heap give out larger blocks, as its next piece of what is spare says.
    fn relieve(&mut self, bytes: u64, _: Instant) -> bool {
        let mut seen = self.seen.borrow_mut();
        seen.relieved_bytes.push(bytes);
        let spare = seen.spare_bytes.pop();
        spare
            .map(|bytes| refuse_blocks_above(bytes as usize))
            .is_some()
    }

    fn close(&mut self, id: ConnectionId) {
        let mut seen = self.seen.borrow_mut();
        assert!(
            seen.opened.contains(&id) && !seen.closed.contains(&id),
            "closed once"
        );
        seen.closed.push(id);
    }

    fn tick(&mut self, _: Instant) {
        let mut seen = self.seen.borrow_mut();
        seen.ticks += 1;
        seen.deadline = None;
    }

    fn deadline(&self) -> Option<Instant> {
        self.seen.borrow().deadline
    }

    fn take_doomed(&mut self) -> Option<ConnectionId> {
        self.seen.borrow_mut().doomed.pop()
    }
}
