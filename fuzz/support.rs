//! What the fuzz targets share: the two servers on memory and time of the host's, and a wire in memory.
#![allow(dead_code, reason = "each target uses its own part of this")]

use nos::app::cache_server::CacheApplication;
use nos::app::{Application, Environment, Power};
use nos::error::{Error, Kind, Result, Subsystem};
use nos::memory::frames::{FrameSource, Order, PAGE_SIZE, Pfn};
use nos::net::http::{FixedPage, HttpCounters, HttpServer, Limits, Route};
use nos::net::service::{ConnectionId, Next, Output, Service, Turn};
use nos::platform::network_device::{Checksums, NetworkDevice, Receiver, Transmitter};
use nos::platform::time::{Clock, Instant};
use nos::storage::NoDisk;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Memory that the cache may take: little, so that it runs out.
const MEMORY_BYTES: u64 = 4 << 20;

/// One server at a time takes it.
static FRAMES: HostFrames = HostFrames(AtomicU64::new(MEMORY_BYTES / PAGE_SIZE as u64));

/// Time stands still: a run depends on its input alone.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn boot_unix_nanos(&self) -> u64 {
        1_700_000_000_000_000_000
    }
}

struct StaysOn;

impl Power for StaysOn {
    fn off(&self) {}
}

/// Frames of the host's allocator, so many in all.
struct HostFrames(AtomicU64);

fn layout(order: Order) -> Layout {
    Layout::from_size_align(order.bytes(), order.bytes()).expect("a power of two")
}

// SAFETY: each block is a live allocation of the order's size and alignment until it is given back.
unsafe impl FrameSource for HostFrames {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        let out_of_memory = Kind::OutOfMemory {
            requested_bytes: order.bytes(),
        };
        if self.0.load(Relaxed) < order.frames() {
            return Err(Error::new(Subsystem::Memory, out_of_memory));
        }
        self.0.fetch_sub(order.frames(), Relaxed);
        // SAFETY: the size is not 0.
        Ok(Pfn::containing(
            unsafe { alloc_zeroed(layout(order)) } as usize
        ))
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        self.0.fetch_add(order.frames(), Relaxed);
        // SAFETY: owned blocks give back what `allocate` gave out, with its order.
        unsafe { dealloc(first.address() as *mut u8, layout(order)) };
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn total_frames(&self) -> u64 {
        MEMORY_BYTES / PAGE_SIZE as u64
    }
}

/// A cache server with nothing in it.
pub fn cache_server() -> Box<dyn Service> {
    let (free, total) = (FRAMES.free_frames(), FRAMES.total_frames());
    assert_eq!(free, total, "the server before gave back all that it took");
    let environment = Environment {
        frames: &FRAMES,
        memory_budget_bytes: MEMORY_BYTES,
        clock: &Still,
        seed: 1,
        power: &StaysOn,
        disk: &NoDisk,
        parts: &[],
    };
    let application = Box::new(CacheApplication::default());
    let parts = application.start(environment);
    let mut services = parts.expect("it needs no memory to start").services;
    services.pop().expect("it serves a port")
}

/// An HTTP server with one page.
pub fn http_server() -> HttpServer {
    let page = FixedPage::new("text/plain", b"a page");
    let counters = HttpCounters::new(&["/"]).expect("the host has memory");
    let routes = vec![Route::get("/", page)];
    HttpServer::new(&Still, 9100, Limits::DEFAULT, routes, Arc::new(counters))
        .expect("the counters are for the route")
}

/// Plays a client that sends `input` in pieces, shown as the stack shows them: what was not consumed again, with
/// more behind it. The first byte says how long the pieces are. Answers what the server wrote.
pub fn converse(server: &mut dyn Service, slot: u32, input: &[u8]) -> Vec<u8> {
    let [piece, input @ ..] = input else {
        return Vec::new();
    };
    let piece = match piece {
        0 => usize::MAX,
        &bytes => usize::from(bytes),
    };
    let id = ConnectionId {
        slot,
        generation: 0,
    };
    let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1024);
    let (mut output, mut written) = (Output::new(), Vec::new());
    let mut next = server.open(id, peer, Instant::ZERO, &mut output);
    let (mut from, mut shown) = (0, 0);
    while let Next::Wait { until_bytes } = next {
        let was_full = output.is_full();
        written.extend(output.take());
        output.clear();
        let can_be_called = shown - from >= until_bytes.max(1) && was_full;
        if !can_be_called {
            if shown == input.len() {
                break;
            }
            shown = shown.saturating_add(piece).min(input.len());
            if shown - from < until_bytes {
                continue;
            }
        }
        let progress = server.receive(Turn {
            id,
            now: Instant::ZERO,
            input: &input[from..shown],
            output: &mut output,
        });
        assert!(
            progress.consumed <= shown - from,
            "consumed what is not there"
        );
        from += progress.consumed;
        next = progress.next;
    }
    server.close(id);
    written.extend(output.take());
    written
}

pub type Frames = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// A network device that gives what is queued and drops what is sent.
pub struct Wire {
    receiver: WireReceiver,
    transmitter: WireTransmitter,
    checksums: Checksums,
}

pub struct WireReceiver {
    queue: Frames,
    current: Option<Vec<u8>>,
}

pub struct WireTransmitter;

impl Wire {
    pub fn new(checksums: Checksums) -> (Self, Frames) {
        let queue = Frames::default();
        let receiver = WireReceiver {
            queue: queue.clone(),
            current: None,
        };
        let wire = Self {
            receiver,
            transmitter: WireTransmitter,
            checksums,
        };
        (wire, queue)
    }
}

impl NetworkDevice for Wire {
    type Receiver = WireReceiver;
    type Transmitter = WireTransmitter;

    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn checksums(&self) -> Checksums {
        self.checksums
    }

    fn split(&mut self) -> (&mut WireReceiver, &mut WireTransmitter) {
        (&mut self.receiver, &mut self.transmitter)
    }
}

impl Receiver for WireReceiver {
    fn peek(&mut self) -> Option<&[u8]> {
        if self.current.is_none() {
            // A device gives no frame shorter than its header.
            self.current = self
                .queue
                .borrow_mut()
                .pop_front()
                .filter(|frame| frame.len() >= 14);
        }
        self.current.as_deref()
    }

    fn await_interrupt(&mut self) -> bool {
        self.current.is_none() && self.queue.borrow().is_empty()
    }

    fn release(&mut self) {
        assert!(self.current.take().is_some(), "only a frame that was shown");
    }
}

impl Transmitter for WireTransmitter {
    fn has_room(&mut self) -> bool {
        true
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        fill(&mut vec![0; len])
    }

    fn kick(&mut self) {}
}
