//! The pages of port 9100, each joined to the part it shows.

use super::this_cpu::ThisCpu;
use crate::app::Page;
use crate::bus::registry::Registry;
use crate::diagnosis::{DetectionPolicy, FaultDetection, MemorySample};
use crate::error::Result;
use crate::memory::MemoryManager;
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::memory::heap::KernelHeap;
use crate::metrics::Json;
use crate::net::http::{
    FixedPage, HttpCounters, IndexPage, JsonPage, Link, MetricsPage, ReadyPage, Request, Route,
};
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

const LINKS: [(&str, &str); 6] = [
    ("/metrics", "All metrics, as Prometheus text or OpenMetrics"),
    (
        "/metrics/compat",
        "Some of them under the names of the Redis and node exporters",
    ),
    ("/healthz", "200 while the image lives"),
    ("/readyz", "200 once clients can connect"),
    (
        "/memory",
        "The page allocator, its caches and the heap, as JSON",
    ),
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
    /// The image's pages, then the application's.
    ///
    /// # Errors
    /// `Duplicate` if two pages want one path; `OutOfMemory`.
    pub(super) fn new(
        mut registry: Registry,
        memory: &'static MemoryManager<ThisCpu>,
        heap: &'static KernelHeap<ThisCpu>,
        of_application: Vec<Page>,
    ) -> Result<Self> {
        let own = LINKS.map(|(path, about)| Link { path, about });
        let others = of_application.iter().map(|page| Link {
            path: page.route.path,
            about: page.about,
        });
        let mut links = Vec::new();
        links.try_reserve_exact(own.len() + others.len())?;
        links.extend(own.into_iter().chain(others));

        let mut paths = Vec::new();
        paths.try_reserve_exact(1 + links.len())?;
        paths.push("/");
        paths.extend(links.iter().map(|link| link.path));
        let counters = Arc::new(HttpCounters::new(&paths)?);
        registry.register("http", counters.clone())?;

        let detection = Rc::new(RefCell::new(FaultDetection::new(DetectionPolicy::DEFAULT)));
        let seen = detection.clone();
        let diagnosis = JsonPage::new(move |request: &Request<'_>, json: &mut Json<'_>| {
            let mut detection = seen.borrow_mut();
            detection.observe(&sample(memory), request.now);
            detection.report(json);
            Ok(())
        });
        let status = JsonPage::new(move |_: &Request<'_>, json: &mut Json<'_>| {
            memory.write_status(heap, json);
            Ok(())
        });
        let ready = Rc::new(Cell::new(false));
        let is_ready = ready.clone();
        let readiness = ReadyPage::new(move || is_ready.get());
        let index = IndexPage::new(env!("CARGO_PKG_VERSION"), links);

        let mut routes = Vec::new();
        routes.try_reserve_exact(paths.len())?;
        routes.push(Route::get("/", index));
        // In the order of LINKS.
        let registry = Arc::new(registry);
        routes.push(Route::get("/metrics", MetricsPage::new(registry.clone())));
        routes.push(Route::get("/metrics/compat", MetricsPage::compat(registry)));
        routes.push(Route::get("/healthz", FixedPage::HEALTHY));
        routes.push(Route::get("/readyz", readiness));
        routes.push(Route::get("/memory", status));
        routes.push(Route::get("/diagnosis", diagnosis));
        routes.extend(of_application.into_iter().map(|page| page.route));
        Ok(Self {
            routes,
            counters,
            detection,
            ready,
        })
    }
}
