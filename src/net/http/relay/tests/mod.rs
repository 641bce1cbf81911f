//! Both halves over a toy network, with every part run when the seed says.

mod death;
mod flow;
mod toy;

use super::testing::TestFrames;
use super::*;
use crate::bus::{Bell, Exchange, Mute, Owner, Port};
use crate::net::http::{
    FixedPage, Handler, HttpCounters, HttpServer, Limits, Methods, Request, Response, Route,
};
use crate::platform::time::{Clock, Duration, Instant};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::boxed::Box;
use std::vec::Vec;
use toy::Network;

/// More than both sides together may have under way.
const PAGE_BYTES: usize = 200_000;

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

/// Answers with what it was sent, or with a long page.
struct Echo;

impl Handler for Echo {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        response.begin("text/plain");
        response.write(request.query.unwrap_or_default().as_bytes());
        response.write(request.body);
        if request.query == Some("page") {
            let page: Vec<u8> = (0..PAGE_BYTES).map(|i| (i / 7) as u8).collect();
            response.write(&page);
        }
        Ok(())
    }
}

fn server() -> HttpServer {
    let counters = Arc::new(HttpCounters::new(&["/healthz", "/echo"]).expect("room"));
    let mut routes = Vec::from([
        Route::get("/healthz", FixedPage::HEALTHY).expect("memory"),
        Route::get("/echo", Echo).expect("memory"),
    ]);
    routes[1].methods = Methods::GetAndPost;
    routes[1].access = crate::net::http::Access::Open;
    HttpServer::new(&CLOCK, 9100, Limits::DEFAULT, routes, counters).expect("their counters")
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_ONCE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const GET_PAGE_ONCE: &[u8] = b"GET /echo?page HTTP/1.0\r\n\r\n";
const GET_PAGE: &[u8] = b"GET /echo?page HTTP/1.1\r\nHost: a\r\n\r\n";

/// Counts how often it rang.
#[derive(Default)]
struct Rings(AtomicUsize);

impl Rings {
    /// How often it rang since the last time.
    fn take(&self) -> usize {
        self.0.swap(0, Relaxed)
    }
}

impl Bell for Rings {
    fn ring(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The two subsystems and what joins them.
struct World {
    network: Network<Relay>,
    /// None while HTTP is down.
    host: Option<Host<HttpServer>>,
    wires: Wires,
    http: Arc<Port>,
    data_plane: Arc<Port>,
    frames: &'static TestFrames,
    /// How often the network's side was rung for.
    rings: Arc<Rings>,
    now: Instant,
    runs: usize,
}

impl World {
    fn new() -> Self {
        let exchange = Arc::new(Exchange::new());
        let owner = Owner::from_low_bits;
        let rings = Arc::new(Rings::default());
        let data_plane = exchange.add("data plane", owner(1), rings.clone());
        let http = exchange.add("http", owner(2), Arc::new(Mute));
        let (data_plane, http) = (data_plane.expect("new"), http.expect("new"));
        let wires = Wires::new(&exchange, &data_plane, &http).expect("room");
        let frames: &'static TestFrames = Box::leak(Box::default());
        let relay = Relay::new(&wires, frames.parcels(1), 9100);
        Self {
            network: Network::new(relay),
            host: Some(Host::new(&wires, frames.parcels(2), server())),
            wires,
            http,
            data_plane,
            frames,
            rings,
            now: at(1),
            runs: 0,
        }
    }

    fn run_host(&mut self) {
        if let Some(host) = &mut self.host {
            host.run(self.now);
            self.runs += 1;
        }
    }

    /// Runs both sides until nothing happens any more at this moment, but for what is tried again.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.network.poll(self.now);
            self.run_host();
        }
    }

    fn sleep(&mut self, length: Duration) {
        self.now = self.now + length;
        self.settle();
    }

    fn kill_http(&mut self) {
        self.host = None;
        self.http.end_incarnation();
    }

    fn start_http(&mut self) {
        self.host = Some(Host::new(&self.wires, self.frames.parcels(2), server()));
    }

    fn restart_network(&mut self) {
        self.data_plane.end_incarnation();
        let relay = Relay::new(&self.wires, self.frames.parcels(1), 9100);
        self.network = Network::new(relay);
    }

    fn count(&self, event: RelayEvent) -> u64 {
        self.wires.counters().get(event)
    }
}

/// What the server itself, without any messages, answers to `requests`, and whether it closes after that.
fn direct(requests: &[u8]) -> (Vec<u8>, bool) {
    let mut network = Network::new(server());
    let client = network.connect(requests, at(1));
    loop {
        let before = network.clients[client].received.len();
        network.deliver(client, usize::MAX);
        network.poll(at(1));
        network.read(client, usize::MAX);
        let it = &network.clients[client];
        let is_stuck = it.received.len() == before;
        if it.end.is_some() || is_stuck && it.is_quiet() {
            break;
        }
    }
    network.read(client, usize::MAX);
    let client = &network.clients[client];
    (client.received.clone(), client.is_closed())
}
