//! The pages of port 9100, each joined to the part it shows.

use super::this_cpu::ThisCpu;
use crate::bus::registry::Registry;
use crate::diagnosis::{DetectionPolicy, FaultDetection, MemorySample};
use crate::error::Result;
use crate::memory::MemoryManager;
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::net::http::{
    FixedPage, HttpCounters, IndexPage, JsonPage, Link, MetricsPage, ReadyPage, Route,
};
use crate::platform::time::Clock;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

const LINKS: [(&str, &str); 4] = [
    ("/metrics", "All metrics, as Prometheus text or OpenMetrics"),
    ("/healthz", "200 while the image lives"),
    ("/readyz", "200 once clients can connect"),
    (
        "/diagnosis",
        "What the detectors see, with the evidence, as JSON",
    ),
];

/// The routes, and what the data plane shares with them.
pub(super) struct Pages {
    pub(super) routes: Vec<Route>,
    pub(super) counters: Arc<HttpCounters>,
    pub(super) detection: Rc<RefCell<FaultDetection>>,
    pub(super) ready: Rc<Cell<bool>>,
}

/// What the detectors look at, now.
pub(super) fn sample(memory: &MemoryManager<ThisCpu>) -> MemorySample {
    let (hits, misses) = memory.page_cache_requests();
    MemorySample {
        hits,
        misses,
        free_bytes: memory.free_frames() * PAGE_SIZE as u64,
        total_bytes: memory.total_frames() * PAGE_SIZE as u64,
    }
}

impl Pages {
    pub(super) fn new(
        mut registry: Registry,
        memory: &'static MemoryManager<ThisCpu>,
        clock: &'static dyn Clock,
    ) -> Result<Self> {
        let paths = core::iter::once("/").chain(LINKS.map(|(path, _)| path));
        let mut path_list = Vec::new();
        path_list.try_reserve_exact(1 + LINKS.len())?;
        path_list.extend(paths);
        let counters = Arc::new(HttpCounters::new(&path_list)?);
        registry.register("http", counters.clone())?;
        let registry = Arc::new(registry);
        let detection = Rc::new(RefCell::new(FaultDetection::new(DetectionPolicy::DEFAULT)));
        let ready = Rc::new(Cell::new(false));

        let mut links = Vec::new();
        links.try_reserve_exact(LINKS.len())?;
        links.extend(LINKS.map(|(path, about)| Link { path, about }));
        let seen = detection.clone();
        let diagnosis = JsonPage::new(move |_, json| {
            let mut detection = seen.borrow_mut();
            detection.observe(&sample(memory), clock.now());
            detection.report(json);
            Ok(())
        });
        let is_ready = ready.clone();
        let mut routes = Vec::new();
        routes.try_reserve_exact(path_list.len())?;
        routes.push(Route::get(
            "/",
            IndexPage::new(env!("CARGO_PKG_VERSION"), links),
        ));
        routes.push(Route::get("/metrics", MetricsPage::new(registry)));
        routes.push(Route::get("/healthz", FixedPage::HEALTHY));
        routes.push(Route::get(
            "/readyz",
            ReadyPage::new(move || is_ready.get()),
        ));
        routes.push(Route::get("/diagnosis", diagnosis));
        Ok(Self {
            routes,
            counters,
            detection,
            ready,
        })
    }
}
