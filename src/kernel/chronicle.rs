//! The chronicle: what the image remembers of its lives, on its disk: how often it was booted, which subsystems died and of
//! what, which incidents there were and what they came from, and what was started again.
//!
//! It is kept as a note beside the checkpoints ([`Notebook`]), written by whoever owns the disk when there is news: after a
//! boot, a report, the end of an incident. Each item is a JSON object on a line of its own, as the pages show it under `earlier`;
//! the oldest give way. What this life has to tell is told when it is written, but for incidents, which are told as they
//! end: to diagnose them again would hold up the data plane.
//!
//! ```json
//! {"boot":2,"number":1,"subsystem":"http","incarnation":0,"cause":"panic","seconds":12.5,"reason":"panicked at …"}
//! {"boot":2,"id":1,"cause":"task_panic","part":"http","opened_seconds":12.5,"closed_seconds":22.6,"symptoms":["part_panicked"]}
//! {"boot":2,"name":"http","restarts":{"recovered":1,"failed":0},"last_fault":"panic"}
//! ```
//! Always true: it is made where there is a disk, and nowhere else; it tells nothing before the disk has told what earlier lives
//! noted, and nothing at all if the disk cannot.

use super::reports::SharedReports;
use super::scheduler::{Locked, Verdict, WakeHandle};
use crate::bus::registry::Registry;
use crate::diagnosis::incidents::{Shared, digest};
use crate::error::{Grow, Result, try_boxed_slice};
use crate::metrics::{Json, Value};
use crate::platform::time::Instant;
use crate::storage::checkpoint::{NOTE_BYTES_MAX, Notebook};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Bytes of each kind: some twenty items.
const LOG_BYTES: usize = 4 << 10;
const NUMBER_BYTES: usize = size_of::<u64>();

const _: () = assert!(NUMBER_BYTES + KINDS * (NUMBER_BYTES + LOG_BYTES) <= NOTE_BYTES_MAX);

/// What an item is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The death of a subsystem.
    Report,
    /// An incident.
    Incident,
    /// A subsystem that was started again.
    Subsystem,
}

const KINDS: usize = 3;

/// Items of one kind, a line each, the oldest first.
struct Log {
    bytes: Box<[u8]>,
    len: usize,
    /// Those of earlier lives.
    earlier: usize,
}

impl Log {
    fn new() -> Result<Self> {
        Ok(Self {
            bytes: try_boxed_slice(LOG_BYTES, |_| 0)?,
            len: 0,
            earlier: 0,
        })
    }

    /// Adds lines; the oldest leave.
    fn add(&mut self, lines: &[u8]) {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            if line.len() > self.bytes.len() {
                continue;
            }
            while self.len + line.len() > self.bytes.len() {
                self.drop_first();
            }
            self.bytes[self.len..][..line.len()].copy_from_slice(line);
            self.len += line.len();
        }
    }

    fn drop_first(&mut self) {
        let all = &self.bytes[..self.len];
        let end = all.iter().position(|&byte| byte == b'\n');
        let end = end.map_or(self.len, |at| at + 1);
        self.bytes.copy_within(end..self.len, 0);
        self.len -= end;
        self.earlier = self.earlier.saturating_sub(end);
    }
}

/// The logs of a note and the number of the life that made it; `None` if it is none.
fn parse(note: &[u8]) -> Option<(u64, [&[u8]; KINDS])> {
    let (boot, mut rest) = take_number(note)?;
    let mut logs: [&[u8]; KINDS] = [&[]; KINDS];
    for log in &mut logs {
        let (len, behind) = take_number(rest)?;
        (*log, rest) = behind.split_at_checked(usize::try_from(len).ok()?)?;
        if log.len() > LOG_BYTES || core::str::from_utf8(log).is_err() {
            return None;
        }
    }
    rest.is_empty().then_some((boot, logs))
}

fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// What is remembered. Lives for ever.
pub(super) struct Chronicle {
    logs: Locked<[Log; KINDS]>,
    /// Which life this is, from 1; 0 while that is not known.
    boot: AtomicU64,
    has_news: AtomicBool,
    /// Who owns the disk.
    writer: WakeHandle,
    registry: &'static Arc<Registry>,
    reports: SharedReports,
}

impl Chronicle {
    /// Of those subsystems and their reports; `writer` owns the disk.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(
        registry: &'static Arc<Registry>,
        reports: SharedReports,
        writer: WakeHandle,
    ) -> Result<Self> {
        let logs = [Log::new()?, Log::new()?, Log::new()?];
        Ok(Self {
            // Whoever died with it may have left half a change.
            logs: Locked::new(logs, |logs| {
                for log in logs {
                    (log.len, log.earlier) = (0, 0);
                }
                Verdict::Rebuilt
            }),
            boot: AtomicU64::new(0),
            has_news: AtomicBool::new(false),
            writer,
            registry,
            reports,
        })
    }

    /// Something is to be noted.
    pub(super) fn has_changed(&self) {
        self.has_news.store(true, Relaxed);
        self.writer.wake();
    }

    /// Takes in that an incident is over.
    pub(super) fn closed(&'static self, incidents: &impl Shared, number: u64, now: Instant) {
        let boot = self.boot.load(Relaxed);
        let mut line = Vec::new();
        let mut json = Json::new(&mut line);
        json.object(|json| {
            json.member("boot").number(Value::Whole(boot));
            digest(incidents, number, now, json);
        });
        if boot > 0 && json.finish().is_ok() {
            self.logs.lock()[Item::Incident as usize].add(&line);
            self.has_changed();
        }
    }

    /// Writes which life this is and what earlier ones left of that kind, the last first, as members.
    pub(super) fn write(&'static self, item: Item, json: &mut Json<'_>) {
        let boot = self.boot.load(Relaxed);
        if boot == 0 {
            return;
        }
        let mut earlier = Vec::new();
        if earlier.try_reserve_exact(LOG_BYTES).is_ok() {
            let logs = self.logs.lock();
            let log = &logs[item as usize];
            earlier.append_reserved(&log.bytes[..log.earlier]);
        }
        json.member("boot").number(Value::Whole(boot));
        json.member("earlier").array(|json| {
            let lines = core::str::from_utf8(&earlier).unwrap_or_default().lines();
            lines.rev().for_each(|line| json.written(line));
        });
    }

    /// What this life has to tell of deaths, a line each.
    fn deaths(&'static self, boot: u64) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        for report in self.reports.lock().kept() {
            let mut json = Json::new(&mut lines);
            json.object(|json| {
                json.member("boot").number(Value::Whole(boot));
                json.member("number").number(Value::Whole(report.number));
                json.member("subsystem").text(report.subsystem);
                let incarnation = Value::Whole(report.incarnation.into());
                json.member("incarnation").number(incarnation);
                json.member("cause").text(report.cause.label());
                let at = Value::Nanos(report.at.as_nanos());
                json.member("seconds").number(at);
                json.member("reason").text(&report.reason);
            });
            json.finish()?;
        }
        Ok(lines)
    }

    /// What it has to tell of subsystems that died, a line each.
    fn subsystems(&self, boot: u64) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        for row in self.registry.rows() {
            let status = row.status();
            let Some(fault) = status.fault() else {
                continue;
            };
            let mut json = Json::new(&mut lines);
            json.object(|json| {
                json.member("boot").number(Value::Whole(boot));
                json.member("name").text(row.profile().name);
                json.member("restarts").object(|json| {
                    let (recovered, failed) = status.restarts();
                    json.member("recovered").number(Value::Whole(recovered));
                    json.member("failed").number(Value::Whole(failed));
                });
                json.member("last_fault").text(fault.cause.label());
            });
            json.finish()?;
        }
        Ok(lines)
    }
}

impl Notebook for Chronicle {
    fn recall(&'static self, note: Option<&[u8]>) {
        if self.boot.load(Relaxed) > 0 {
            return;
        }
        let earlier = note.and_then(parse);
        if note.is_some() && earlier.is_none() {
            log::error!("what earlier lives noted on the disk cannot be read");
        }
        let mut boot = 0;
        if let Some((last, earlier)) = earlier {
            boot = last;
            for (log, lines) in self.logs.lock().iter_mut().zip(earlier) {
                log.add(lines);
                log.earlier = log.len;
            }
        }
        self.boot.store(boot + 1, Relaxed);
        self.has_news.store(true, Relaxed);
    }

    fn has_news(&'static self) -> bool {
        self.has_news.load(Relaxed)
    }

    fn write(&'static self, out: &mut [u8]) -> usize {
        // Before what is told is looked at: what comes meanwhile is news again.
        self.has_news.store(false, Relaxed);
        let boot = self.boot.load(Relaxed);
        let (deaths, subsystems) = (self.deaths(boot), self.subsystems(boot));
        let mut logs = self.logs.lock();
        for (item, lines) in [(Item::Report, deaths), (Item::Subsystem, subsystems)] {
            // Without memory for it what was told last stays.
            if let Ok(lines) = lines {
                let log = &mut logs[item as usize];
                log.len = log.earlier;
                log.add(&lines);
            }
        }
        let (number, mut rest) = out.split_at_mut(NUMBER_BYTES);
        number.copy_from_slice(&boot.to_le_bytes());
        let mut written = NUMBER_BYTES;
        for log in logs.iter() {
            let (number, behind) = rest.split_at_mut(NUMBER_BYTES);
            number.copy_from_slice(&(log.len as u64).to_le_bytes());
            let (lines, behind) = behind.split_at_mut(log.len);
            lines.copy_from_slice(&log.bytes[..log.len]);
            written += NUMBER_BYTES + log.len;
            rest = behind;
        }
        written
    }
}
