//! Who shows places on pages: by the symbol cache.
//!
//! It belongs to an incarnation of the HTTP subsystem and is charged to it. Each begins with the places of the reports of
//! this life and of the last one: what died there may do so again, and its report is what is asked for.

use super::cut::Cut;
use super::place::Place;
use super::reports::{SharedReports, copy};
use crate::diagnosis::lines::Frame;
use crate::diagnosis::symbol_cache::{SymbolCache, SymbolCacheCounters};
use crate::diagnosis::symbols::Function;
use crate::error::Grow;
use crate::kernel::crash;
use crate::metrics::{Json, Value};
use crate::platform::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{Display, Write};
use heapless::String;

/// Bytes of a function's or a file's name: the longest of the image are cut.
const NAME_BYTES: usize = 160;

/// What a place is.
#[derive(Debug)]
struct Resolved {
    function: Option<Function<'static>>,
    /// The innermost first.
    frames: Vec<Frame<'static>>,
}

/// Resolves places, and remembers what they are.
pub(in crate::kernel) struct Resolver {
    cache: SymbolCache<Resolved>,
}

impl Resolver {
    /// One that knows the places of all reports there are.
    pub(in crate::kernel) fn new(
        counters: Arc<SymbolCacheCounters>,
        reports: SharedReports,
        now: Instant,
    ) -> Self {
        let mut cache = SymbolCache::new(counters, now);
        let told = [
            crash::last_text(),
            crash::last_death().map(|(_, text)| text),
        ];
        let told = told.into_iter().flatten().flat_map(places_of);
        cache.warm(told.filter_map(Place::at_work), resolve);
        let mut at = 0;
        while let Some(report) = copy(reports, &|reports| reports.kept().get(at)) {
            let places = report.backtrace.iter();
            cache.warm(places.filter_map(|place| place.at_work()), resolve);
            at += 1;
        }
        Self { cache }
    }

    /// Writes the function that a place is in and how far into it, as `name+0x1c`; nothing if it has no name.
    pub(in crate::kernel) fn write_function(
        &mut self,
        place: Place,
        now: Instant,
        json: &mut Json<'_>,
    ) {
        let write = |resolved: Option<&Resolved>| {
            let mut text = String::<NAME_BYTES>::new();
            if let Some(function) = resolved.and_then(|resolved| resolved.function) {
                let within = place.offset - function.start as usize;
                // What does not fit is cut.
                let _ = write!(Cut(&mut text), "{function}+{within:#x}");
            }
            json.text(&text);
        };
        self.look(place, now, write);
    }

    /// Writes the frames at a place, the innermost first.
    pub(in crate::kernel) fn write_frames(
        &mut self,
        place: Place,
        now: Instant,
        json: &mut Json<'_>,
    ) {
        let write = |resolved: Option<&Resolved>| {
            json.array(|json| {
                for frame in resolved.iter().flat_map(|resolved| &resolved.frames) {
                    json.object(|json| {
                        text(json, "function", &frame.function);
                        text(json, "file", &frame.file);
                        json.member("line").number(Value::Whole(frame.line.into()));
                    });
                }
            });
        };
        self.look(place, now, write);
    }

    fn look(&mut self, place: Place, now: Instant, show: impl FnOnce(Option<&Resolved>)) {
        match place.at_work() {
            Some(at) => self.cache.look(at, now, resolve, show),
            None => show(None),
        }
    }
}

fn text(json: &mut Json<'_>, name: &str, value: &impl Display) {
    let mut text = String::<NAME_BYTES>::new();
    // What does not fit is cut.
    let _ = write!(Cut(&mut text), "{value}");
    json.member(name).text(&text);
}

fn resolve(at: u32) -> Option<Resolved> {
    let place = Place::interrupted(at as usize);
    let mut frames = Vec::new();
    // Without memory for one it is not shown.
    place.each_frame(&mut |frame| {
        let _ = frames.try_push(frame);
    });
    let function = place.find();
    (function.is_some() || !frames.is_empty()).then_some(Resolved { function, frames })
}

/// The places in the text of a report, as [`Place::tell`] writes them.
fn places_of(report: &str) -> impl Iterator<Item = Place> + '_ {
    let lines = report.split("  image+0x").skip(1);
    lines.filter_map(|line| {
        let digits = line.split(|c: char| !c.is_ascii_hexdigit()).next()?;
        let offset = usize::from_str_radix(digits, 16).ok()?;
        Some(Place::returned_to(offset))
    })
}
