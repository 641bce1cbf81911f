//! The pages of port 9100, each joined to the part it shows.

use super::casebook::Casebook;
use super::chronicle::{Chronicle, Item};
use super::faults::{self, Faults};
use super::hands::Hands;
use super::reports::{SharedReports, page};
use super::resolver::Resolver;
use super::scheduler::{Fibers, Locked};
use super::subsystems::diagnosis::sample;
use super::supervision::Ward;
use super::supervision::status::{self, Faults as LastFaults};
use super::this_cpu::ThisCpu;
use crate::app::Page;
use crate::bus::registry::Registry;
use crate::diagnosis::FaultDetection;
use crate::diagnosis::incidents::{order, report};
use crate::diagnosis::remediation_recommendations::Actuator;
use crate::diagnosis::symbol_cache::SymbolCacheCounters;
use crate::error::{Error, Grow, HttpFault, Kind, Result, Subsystem, try_box};
use crate::memory::MemoryManager;
use crate::memory::heap::KernelHeap;
use crate::metrics::{Json, Value};
use crate::net::http::{
    FixedPage, HttpCounters, IndexPage, JsonPage, Link, Methods, MetricsPage, ReadyPage, Request,
    Route,
};
use crate::platform::time::Clock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use spin::Once;

const LINKS: [(&str, &str); 8 + faults::LINKS.len()] = with_faults([
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
        "/subsystems",
        "What the image consists of, how it stands, and what died last, as JSON",
    ),
    (
        "/reports",
        "What died in this life and how the last one ended, as JSON",
    ),
    (
        "/diagnosis",
        "What the detectors see, incidents, their causes and what is done about them, as JSON",
    ),
]);

/// The pages that each image has, and that of the faults where there is one.
const fn with_faults<const N: usize, const ALL: usize>(
    pages: [(&'static str, &'static str); N],
) -> [(&'static str, &'static str); ALL] {
    let mut all = [("", ""); ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = if at < N {
            pages[at]
        } else {
            faults::LINKS[at - N]
        };
        at += 1;
    }
    all
}

/// Where a remedy is applied to the incident of that number: POST, with the remedy's name or nothing.
const APPLY: &str = "/diagnosis/{id}/apply";

/// Makes the routes, anew for each incarnation of the HTTP subsystem.
pub(super) struct PageMaker {
    pub(super) registry: Arc<Registry>,
    pub(super) memory: &'static MemoryManager<ThisCpu>,
    pub(super) heap: &'static KernelHeap<ThisCpu>,
    pub(super) fibers: Fibers,
    pub(super) detection: &'static Locked<FaultDetection>,
    pub(super) casebook: &'static Casebook,
    pub(super) hands: &'static Hands,
    pub(super) is_ready: &'static AtomicBool,
    pub(super) wards: &'static Once<Vec<&'static Ward>>,
    pub(super) counters: Arc<HttpCounters>,
    pub(super) reports: SharedReports,
    /// Where there is a disk.
    pub(super) chronicle: Option<&'static Chronicle>,
    pub(super) symbol_cache: Arc<SymbolCacheCounters>,
    pub(super) clock: &'static dyn Clock,
    pub(super) faults: Faults,
}

/// The paths of all pages, `of_application` last: what the HTTP counters are made for.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn paths(of_application: &[Page]) -> Result<Vec<&'static str>> {
    let mut paths = Vec::new();
    paths.try_reserve_exact(2 + LINKS.len() + of_application.len())?;
    paths.push_reserved("/");
    paths.extend_reserved(LINKS.iter().map(|&(path, _)| path));
    paths.push_reserved(APPLY);
    paths.extend_reserved(of_application.iter().map(|page| page.route.path));
    Ok(paths)
}

impl PageMaker {
    /// `POST /diagnosis/ID/apply`: answers what will be done; the diagnosis does it.
    fn apply_route(&'static self) -> Result<Route> {
        let bad = |what| Error::new(Subsystem::Http, Kind::Http(HttpFault::BadRequest(what)));
        let page = JsonPage::new(move |request: &Request<'_>, json: &mut Json<'_>| {
            let number = request.path.split('/').nth(2).and_then(whole_number);
            let number = number.ok_or(bad("the id is no whole number"))?;
            let remedy = core::str::from_utf8(request.body.trim_ascii());
            let remedy = remedy.map_err(|_| bad("the remedy's name is no text"))?;
            let remedy = Some(remedy).filter(|name| !name.is_empty());
            let reach = self.hands.reach();
            let facts = |part| reach.facts(part);
            let ordered = order(&self.casebook, number, remedy, &facts, request.now)?;
            self.casebook.tell(|_, _| {});
            json.object(|json| {
                json.member("incident").number(Value::Whole(number));
                json.member("remedy").text(ordered.remedy.row().name);
                json.member("cause").text(ordered.cause);
            });
            Ok(())
        });
        Route::admin(APPLY, Methods::Post, page)
    }

    /// What earlier lives left of that kind, as members.
    fn write_earlier(&'static self, item: Item, json: &mut Json<'_>) {
        if let Some(chronicle) = self.chronicle {
            chronicle.write(item, json);
        }
    }

    /// The image's pages, then the application's.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn routes(&'static self, of_application: Vec<Page>) -> Result<Vec<Route>> {
        let own = LINKS.map(|(path, about)| Link { path, about });
        let others = of_application.iter().map(|page| Link {
            path: page.route.path,
            about: page.about,
        });
        let mut links = Vec::new();
        links.try_reserve_exact(own.len() + others.len())?;
        links.extend_reserved(own.into_iter().chain(others));

        let diagnosis = JsonPage::new(move |request: &Request<'_>, json: &mut Json<'_>| {
            let sample = sample(self.memory);
            let mut detection = self.detection.lock();
            detection.observe(&sample, request.now);
            let seen = detection.clone();
            drop(detection);
            let reach = self.hands.reach();
            seen.report(json, |json| {
                let facts = |part| reach.facts(part);
                report(
                    &self.casebook,
                    &facts,
                    request.now,
                    json.member("incidents"),
                );
                self.write_earlier(Item::Incident, json);
            });
            Ok(())
        });
        let memory = JsonPage::new(move |_: &Request<'_>, json: &mut Json<'_>| {
            self.memory.write_status(self.heap, json);
            Ok(())
        });
        let resolver = Resolver::new(self.symbol_cache.clone(), self.reports, self.clock.now());
        // It lies on this incarnation's heap and goes with it.
        let resolver: &RefCell<_> = Box::leak(try_box(RefCell::new(resolver))?);
        let subsystems = JsonPage::new(move |request: &Request<'_>, json: &mut Json<'_>| {
            let wards = self.wards.get().map_or(&[][..], Vec::as_slice);
            let mut faults = LastFaults {
                reports: self.reports,
                resolver: &mut resolver.borrow_mut(),
                now: request.now,
            };
            let (registry, fibers) = (&self.registry, self.fibers);
            let earlier = |json: &mut Json<'_>| self.write_earlier(Item::Subsystem, json);
            let of_all = (registry.as_ref(), fibers, self.memory);
            status::write(wards, of_all, &mut faults, &earlier, json);
            Ok(())
        });
        let reports = JsonPage::new(move |request: &Request<'_>, json: &mut Json<'_>| {
            let resolver = &mut resolver.borrow_mut();
            let earlier = |json: &mut Json<'_>| self.write_earlier(Item::Report, json);
            page::write(self.reports, resolver, request.now, &earlier, json);
            Ok(())
        });
        let readiness = ReadyPage::new(move || self.is_ready.load(Relaxed));
        let index = IndexPage::new(env!("CARGO_PKG_VERSION"), links);

        let mut routes = Vec::new();
        routes.try_reserve_exact(2 + LINKS.len() + of_application.len())?;
        routes.push_reserved(Route::get("/", index)?);
        // In the order of LINKS.
        let registry = self.registry.clone();
        routes.push_reserved(Route::get("/metrics", MetricsPage::new(registry.clone()))?);
        routes.push_reserved(Route::get(
            "/metrics/compat",
            MetricsPage::compat(registry),
        )?);
        routes.push_reserved(Route::get("/healthz", FixedPage::HEALTHY)?);
        routes.push_reserved(Route::get("/readyz", readiness)?);
        routes.push_reserved(Route::get("/memory", memory)?);
        routes.push_reserved(Route::get("/subsystems", subsystems)?);
        routes.push_reserved(Route::get("/reports", reports)?);
        routes.push_reserved(Route::get("/diagnosis", diagnosis)?);
        routes.extend_reserved(self.fault_route()?);
        routes.push_reserved(self.apply_route()?);
        routes.extend_reserved(of_application.into_iter().map(|page| page.route));
        Ok(routes)
    }
}

/// A number of decimal digits alone: `+1` is none.
fn whole_number(text: &str) -> Option<u64> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal)
}
