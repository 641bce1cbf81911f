//! Reports of deaths: what is known of each, on the serial line at once, in memory that a warm reboot keeps, and for
//! `GET /reports`.
//!
//! The supervisor makes one when it clears a subsystem away, before anything of it is taken back. The last few are kept, and
//! of each subsystem its last one. A crash of the image is told by [`super::crash`]; what the image was at then
//! ([`scene`]) both tell in the same way.

pub(super) mod page;
pub(super) mod scene;
mod text;

use super::cut::Cut;
use super::place::Place;
use super::scheduler::{Cause, Locked, Obituary, Registers};
use crate::arch::aarch64::ImageLayout;
use crate::arch::aarch64::backtrace::DEPTH_MAX;
use crate::arch::aarch64::exceptions::Syndrome;
use crate::bus::registry::Cause as Kind;
use crate::memory::Verdict;
use crate::platform::time::Instant;
use core::fmt::{self, Write};
use heapless::{String, Vec};
use scene::Scene;

/// Reports kept.
pub(super) const REPORTS_MAX: usize = 8;
/// Bytes of a reason: a panic's message and its place, cut to what fits.
const REASON_BYTES: usize = 200;
/// Addresses of a backtrace, with where it was.
const TRACE_MAX: usize = DEPTH_MAX + 1;

/// The death of a subsystem.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Which death of this life it is, from 1.
    pub(super) number: u64,
    /// Who died.
    pub(super) subsystem: &'static str,
    /// Which time it had been started, from 1.
    pub(super) incarnation: u32,
    /// Of what, in a word.
    pub(super) cause: Kind,
    /// Of what, in a line.
    pub(super) reason: String<REASON_BYTES>,
    /// When.
    pub(super) at: Instant,
    /// What the CPU says of the exception, if it was one.
    pub(super) syndrome: Option<Syndrome>,
    /// Its registers, where an exception or the watchdog saved them.
    pub(super) registers: Option<Registers>,
    /// Where it was and who had called it, innermost first.
    pub(super) backtrace: Vec<Place, TRACE_MAX>,
    /// What the image was at.
    pub(super) scene: Scene,
}

impl Report {
    /// What `obituary` tells of the death of `subsystem`, and what the image was at.
    pub(super) fn of(
        subsystem: &'static str,
        cause: Kind,
        obituary: &Obituary,
        scene: Scene,
    ) -> Self {
        let mut reason = String::new();
        // What does not fit is cut.
        let _ = write!(Cut(&mut reason), "{}", Reason(obituary));
        Self {
            number: 0,
            subsystem,
            incarnation: obituary.incarnation,
            cause,
            reason,
            at: obituary.at,
            syndrome: syndrome(obituary),
            registers: obituary.registers.clone(),
            backtrace: Vec::from_iter(places(obituary)),
            scene,
        }
    }
}

fn syndrome(obituary: &Obituary) -> Option<Syndrome> {
    let is_exception = matches!(obituary.cause, Cause::Exception | Cause::StackOverflow);
    let (esr, far) = (obituary.esr, obituary.far);
    (is_exception && esr != 0).then_some(Syndrome { esr, far })
}

/// Why, in one line.
struct Reason<'a>(&'a Obituary);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Obituary {
            cause,
            esr,
            far,
            message,
            location,
            ..
        } = self.0;
        let (esr, far) = (*esr, *far);
        match cause {
            Cause::Panic => write!(f, "panicked at {location}: {message}"),
            Cause::Exception => write!(f, "{}", Syndrome { esr, far }),
            Cause::StackOverflow => write!(f, "its stack overflowed, far {far:#x}"),
            Cause::Hang => f.write_str("it did not come back to its executor in time"),
            Cause::Stopped => f.write_str("it was stopped, to be started again"),
            Cause::Returned => f.write_str("it ended by itself"),
        }
    }
}

/// Where it was and who had called it.
fn places(obituary: &Obituary) -> impl Iterator<Item = Place> + '_ {
    let start = ImageLayout::current().start;
    let offset = move |address: usize| address.wrapping_sub(start);
    let first = obituary.registers.iter();
    let first = first.map(move |registers| Place::interrupted(offset(registers.pc as usize)));
    let returns = obituary.backtrace.iter();
    first.chain(returns.map(move |&address| Place::returned_to(offset(address))))
}

/// The last reports of this life.
pub(super) struct Reports {
    /// The oldest first.
    kept: Vec<Report, REPORTS_MAX>,
    made: u64,
}

/// They as they are shared. Who reads them copies one and lets go; the supervisor alone writes.
pub(super) type SharedReports = &'static Locked<Reports>;

/// A copy of that report, if it is there.
#[inline(never)]
pub(super) fn copy(
    reports: SharedReports,
    which: &dyn Fn(&Reports) -> Option<&Report>,
) -> Option<Report> {
    which(&reports.lock()).cloned()
}

impl Reports {
    /// None yet, behind a lock.
    pub(super) const fn shared() -> Locked<Self> {
        let none = Self {
            kept: Vec::new(),
            made: 0,
        };
        Locked::new(none, |_| Verdict::Intact)
    }

    /// Adds one; the oldest leaves that is not the last of its subsystem.
    pub(super) fn add(&mut self, mut report: Report) {
        self.made += 1;
        report.number = self.made;
        if self.kept.is_full() {
            let is_last = |(at, old): (usize, &Report)| {
                let later = &self.kept[at + 1..];
                report.subsystem != old.subsystem
                    && later.iter().all(|other| other.subsystem != old.subsystem)
            };
            let mut numbered = self.kept.iter().enumerate();
            let leaves = numbered.position(|each| !is_last(each)).unwrap_or(0);
            self.kept.remove(leaves);
        }
        // There is room now.
        let _ = self.kept.push(report);
    }

    /// Those that are kept, the oldest first.
    pub(super) fn kept(&self) -> &[Report] {
        &self.kept
    }

    /// The last one of that subsystem.
    pub(super) fn last_of(&self, subsystem: &str) -> Option<&Report> {
        let mut latest = self.kept.iter().rev();
        latest.find(|report| report.subsystem == subsystem)
    }
}
