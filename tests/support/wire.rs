//! The guest's network as a wire in our hands: QEMU carries each frame in a datagram on loopback, which asks
//! for no privileges, no files and no addresses of the host. On it, any number of hosts and of connections.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::frames::{ACK, FIN, PSH, RST, SYN, Segment};
use super::guest::{Guest, Setting};

/// Time for an answer before a segment is sent again: datagrams get lost when a queue is full.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// How often a segment is sent before its connection is given up.
const TRIES: u32 = 20;

pub(crate) struct Wire {
    socket: UdpSocket,
    pub(crate) guest: Guest,
}

impl Wire {
    /// Boots the image with our wire as its network, as 10.0.2.15/16.
    #[track_caller]
    pub(crate) fn boot(memory: &str) -> Self {
        Self::boot_with(memory, "")
    }

    /// As [`Wire::boot`], with more boot arguments.
    #[track_caller]
    pub(crate) fn boot_with(memory: &str, arguments: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let probe = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
        let (ours, theirs) = (port(&socket), port(&probe));
        drop(probe);
        let network = format!(
            "-netdev dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port={theirs},\
             remote.type=inet,remote.host=127.0.0.1,remote.port={ours} \
             -device virtio-net-device,netdev=n0,mac=52:54:00:12:34:56"
        );
        socket
            .connect(("127.0.0.1", theirs))
            .expect("it is an address");
        let settings: [Setting; 4] = [
            ("NET", "none".into()),
            ("MEM", memory.into()),
            ("APPEND", format!("nos.ip=10.0.2.15/16 {arguments}")),
            ("QEMU_EXTRA", network),
        ];
        let guest = Guest::boot(&settings);
        Self { socket, guest }
    }

    /// Puts a frame on the wire.
    pub(crate) fn send(&self, frame: &[u8]) {
        // QEMU's queue may be full, or QEMU may have ended: what follows finds out.
        let _ = self.socket.send(frame);
    }

    /// The guest's next frame, if one comes in time.
    pub(crate) fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        let mut frame = [0; 2048];
        let limit = limit.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(limit))
            .expect("a timeout above 0");
        let len = self.socket.recv(&mut frame).ok()?;
        Some(frame[..len].to_vec())
    }

    /// Sends `frame`, again if need be, until the guest answers with what `read` knows.
    #[track_caller]
    pub(crate) fn ask<A>(&self, frame: &[u8], mut read: impl FnMut(&[u8]) -> Option<A>) -> A {
        for _ in 0..TRIES {
            self.send(frame);
            let until = Instant::now() + ANSWER_TIME;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                let frame = self.receive(left);
                if let Some(answer) = frame.and_then(|frame| read(&frame)) {
                    return answer;
                }
            }
        }
        panic!("no answer; the serial line:\n{}", self.guest.serial());
    }

    /// Takes what the guest has sent meanwhile, and forgets it.
    pub(crate) fn drain(&self) {
        while self.receive(Duration::from_millis(1)).is_some() {}
    }

    /// One GET on a connection of its own: the body.
    #[track_caller]
    pub(crate) fn get(&self, from: (Ipv4Addr, u16), path: &str) -> String {
        let mut connection = Connection::open(self, from, 9100);
        let request = format!("GET {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n");
        let answer = connection.request(self, request.as_bytes(), |_| false);
        let answer = super::http::parse(&answer).expect("an HTTP answer");
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }

    /// A sample of /metrics.
    #[track_caller]
    pub(crate) fn metric(&self, from: (Ipv4Addr, u16), name: &str) -> u64 {
        let page = self.get(from, "/metrics");
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {name} in {page}"))
            .parse()
            .expect("a whole number")
    }
}

/// A TCP connection of one of our hosts with the guest. It acknowledges all that comes in order, at once.
pub(crate) struct Connection {
    /// What is sent next, without a payload.
    next: Segment,
    /// The guest has sent its FIN.
    has_ended: bool,
}

impl Connection {
    /// Connects.
    #[track_caller]
    pub(crate) fn open(wire: &Wire, host: (Ipv4Addr, u16), guest_port: u16) -> Self {
        let syn = Segment::syn(host, guest_port);
        let mut connection = Self {
            next: syn.clone(),
            has_ended: false,
        };
        let answer = wire.ask(&syn.frame(), |frame| connection.segment(frame));
        assert_eq!(answer.control, SYN | ACK, "{host:?} is let in");
        assert_eq!(answer.acknowledged, syn.sequence + 1);
        connection.next.sequence += 1;
        connection.next.acknowledged = answer.sequence.wrapping_add(1);
        connection.next.control = ACK;
        wire.send(&connection.next.frame());
        connection
    }

    /// Sends `request`, and takes what comes until `is_whole` says so or the guest ends the connection.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        wire: &Wire,
        request: &[u8],
        is_whole: impl Fn(&[u8]) -> bool,
    ) -> Vec<u8> {
        let sent = Segment {
            control: ACK | PSH,
            payload: request.into(),
            ..self.next.clone()
        };
        let end = sent.sequence.wrapping_add(request.len() as u32);
        let mut answer = Vec::new();
        wire.ask(&sent.frame(), |frame| {
            let segment = self.segment(frame)?;
            assert_eq!(segment.control & RST, 0, "{:?} is reset", self.next.host);
            if segment.acknowledged == end {
                self.next.sequence = end;
            }
            if segment.sequence == self.next.acknowledged {
                self.take(wire, &segment);
                answer.extend(segment.payload);
            }
            (self.has_ended || is_whole(&answer)).then_some(())
        });
        if self.has_ended {
            self.close(wire);
        }
        answer
    }

    fn take(&mut self, wire: &Wire, segment: &Segment) {
        self.has_ended = segment.control & FIN != 0;
        let len = segment.payload.len() as u32 + u32::from(self.has_ended);
        self.next.acknowledged = self.next.acknowledged.wrapping_add(len);
        if len > 0 {
            wire.send(&self.next.frame());
        }
    }

    /// Ends our half after the guest has ended its own.
    fn close(&mut self, wire: &Wire) {
        self.next.control = ACK | FIN;
        wire.send(&self.next.frame());
        self.next.sequence = self.next.sequence.wrapping_add(1);
    }

    /// PING, and PONG.
    #[track_caller]
    pub(crate) fn ping(&mut self, wire: &Wire) {
        let answer = self.request(wire, b"PING\r\n", |answer| answer.ends_with(b"\r\n"));
        assert_eq!(answer, b"+PONG\r\n", "{:?}", self.next.host);
    }

    /// Answers `frame` if it is a keep-alive probe (RFC 9293 3.8.4: a byte before what comes next); whether
    /// it was.
    pub(crate) fn answer_probe(&self, wire: &Wire, frame: &[u8]) -> bool {
        let is_probe = |segment: Segment| {
            segment.sequence.wrapping_add(1) == self.next.acknowledged && segment.control & RST == 0
        };
        let is_ours = self.segment(frame).is_some_and(is_probe);
        if is_ours {
            wire.send(&self.next.frame());
        }
        is_ours
    }

    /// Waits until the guest ends the connection in good order.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self, wire: &Wire) {
        self.request(wire, b"", |_| false);
    }

    /// The guest's segment in `frame`, if it belongs to this connection.
    fn segment(&self, frame: &[u8]) -> Option<Segment> {
        let segment = Segment::from_guest(frame)?;
        let is_ours = segment.host == self.next.host && segment.guest_port == self.next.guest_port;
        is_ours.then_some(segment)
    }
}
