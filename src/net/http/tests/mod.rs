//! The server as a peer sees it: bytes in, bytes out, over a stand-in for the stack.

mod admin;
mod deadlines;
mod replies;
mod segments;

use super::*;
use crate::bus::registry::Registry;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::metrics::Value;
use crate::net::service::{ConnectionId, Next, Output, Progress, Service, Turn};
use crate::platform::boot_arguments::bad_value;
use crate::platform::time::{Clock, Duration, Instant};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use std::format;
use std::string::{String, ToString};

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn boot_unix_nanos(&self) -> u64 {
        0
    }
}

static CLOCK: StoppedClock = StoppedClock;

/// Answers with what it was sent.
struct Echo;

impl Handler for Echo {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        if request.body == b"fail" {
            return Err(Error::new(Subsystem::Cache, Kind::Device { what: "test" }));
        }
        if request.body == b"bad" {
            return Err(bad_value("times", "a number"));
        }
        if request.body == b"full" {
            return Err(Error::new(
                Subsystem::Memory,
                Kind::OutOfMemory { requested_bytes: 9 },
            ));
        }
        response.begin("text/plain");
        response.write(request.query.unwrap_or_default().as_bytes());
        response.write(request.body);
        Ok(())
    }
}

const PATHS: [&str; 6] = ["/", "/healthz", "/readyz", "/metrics", "/json", "/echo"];

fn server() -> HttpServer {
    let limits = Limits {
        connections: 4,
        ..Limits::DEFAULT
    };
    let counters = Arc::new(HttpCounters::new(&PATHS).expect("room"));
    let mut registry = Registry::new();
    registry
        .register("http", counters.clone())
        .expect("a new name");
    let links = [Link {
        path: "/a&b",
        about: "<none>",
    }]
    .to_vec();
    let json = JsonPage::new(
        |request: &Request<'_>, json: &mut crate::metrics::Json<'_>| {
            json.object(|json| {
                json.member("now")
                    .number(Value::Nanos(request.now.as_nanos()))
            });
            Ok(())
        },
    );
    let mut routes = Vec::from([
        Route::get("/", IndexPage::new("1.2.3", links)).expect("memory"),
        Route::get("/healthz", FixedPage::HEALTHY).expect("memory"),
        Route::get("/readyz", ReadyPage::new(|| false)).expect("memory"),
        Route::get("/metrics", MetricsPage::new(Arc::new(registry))).expect("memory"),
        Route::get("/json", json).expect("memory"),
        Route::get("/echo", Echo).expect("memory"),
    ]);
    routes[5].methods = Methods::GetAndPost;
    routes[5].access = Access::Open;
    HttpServer::new(&CLOCK, 9100, limits, routes, counters).expect("counters for each route")
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn id(slot: u32) -> ConnectionId {
    ConnectionId {
        slot,
        generation: 0,
    }
}

/// One connection as the stack drives it.
struct Peer {
    id: ConnectionId,
    input: Vec<u8>,
    replies: String,
    is_closed: bool,
}

impl Peer {
    fn connect(server: &mut HttpServer, slot: u32, now: Instant) -> Self {
        let mut output = Output::new();
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let next = server.open(id(slot), peer, now, &mut output);
        let replies = String::from_utf8(output.take()).expect("text");
        Self {
            id: id(slot),
            input: Vec::new(),
            replies,
            is_closed: next == Next::Close,
        }
    }

    /// Feeds one segment and calls as often as there is something to send.
    fn feed(&mut self, server: &mut HttpServer, segment: &[u8], now: Instant) {
        self.input.extend_from_slice(segment);
        while !self.is_closed {
            let mut output = Output::new();
            let turn = Turn {
                id: self.id,
                now,
                input: &self.input,
                output: &mut output,
            };
            let Progress { consumed, next } = server.receive(turn);
            self.input.drain(..consumed);
            self.replies
                .push_str(core::str::from_utf8(output.as_slice()).expect("text"));
            self.is_closed = next != Next::MORE && !matches!(next, Next::Wait { .. });
            if output.is_empty() {
                break;
            }
        }
    }
}

/// The replies to `segments` on one connection, and whether it was closed.
fn exchange<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> (String, bool) {
    let mut server = server();
    let mut peer = Peer::connect(&mut server, 0, at(1));
    for segment in segments {
        peer.feed(&mut server, segment, at(1));
    }
    (peer.replies, peer.is_closed)
}

/// The status of the one reply to `request`, and whether the connection was closed.
fn status(request: &str) -> (String, bool) {
    let (reply, is_closed) = exchange([request.as_bytes()]);
    let status = reply.get(9..12).unwrap_or_default().to_string();
    (status, is_closed)
}

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
