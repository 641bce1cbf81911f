//! The casebook: where what is seen of the image is told, and the incidents that come of it.
//!
//! Whoever sees something tells it here at once, under a lock and in a few hundred instructions: the supervisor of deaths
//! and of pressure, who uses the disk of its failures, the health checks of what they find, parts that they are up. The diagnosis subsystem, which is woken,
//! draws its conclusions from it. So nothing that was seen is lost when the diagnosis dies, and a part's death can be
//! told that is the diagnosis' own.

use super::scheduler::{Cause, FiberId, Fibers, Locked, Obituary, Verdict, WakeHandle};
use crate::bus::Profile;
use crate::diagnosis::incidents::{IncidentPolicy, Incidents, Shared, write_metrics};
use crate::diagnosis::remediation_recommendations::{Level, RemedyKind};
use crate::diagnosis::root_cause_analysis::{PartId, SymptomKind, SymptomSet, parts};
use crate::diagnosis::watch::Watch;
use crate::metrics::{Encoder, Source};
use crate::platform::time::{Clock, Instant};

/// What is watched for in this image: nothing else can be missing.
const WATCHED: SymptomSet = Watch::WATCHED
    .with(SymptomKind::FreeMemoryLow)
    .with(SymptomKind::PartPanicked)
    .with(SymptomKind::PartAborted)
    .with(SymptomKind::PartRanUndefined)
    .with(SymptomKind::PartOverflowedStack)
    .with(SymptomKind::PartHung)
    .with(SymptomKind::HealthCheckMissed)
    .with(SymptomKind::RestartsRepeated)
    .with(SymptomKind::QuotaReached)
    .with(SymptomKind::MailboxFull)
    .with(SymptomKind::BlockReadFailed)
    .with(SymptomKind::BlockWriteFailed)
    .with(SymptomKind::BlockFlushFailed)
    .with(SymptomKind::BlockChecksumMismatch)
    .with(SymptomKind::BlockLatencyHigh)
    .with(SymptomKind::CheckpointFailed)
    .with(SymptomKind::CheckpointSlotTorn)
    .with(SymptomKind::DiskForeign);

/// The incidents, and who looks after them. Lives for ever.
pub(super) struct Casebook {
    incidents: Locked<Incidents>,
    clock: &'static dyn Clock,
    reader: WakeHandle,
}

impl Casebook {
    /// Of the parts of those profiles; `reader` looks after it.
    pub(super) fn new(
        policy: IncidentPolicy,
        level: Level,
        profiles: &[Profile],
        clock: &'static dyn Clock,
        fibers: Fibers,
        reader: FiberId,
    ) -> Self {
        let rows = profiles
            .iter()
            .map(|profile| (profile.name, profile.dependencies));
        let incidents = Incidents::new(policy, level, WATCHED, parts(rows));
        let forget = |incidents: &mut Incidents| {
            incidents.forget();
            Verdict::Rebuilt
        };
        Self {
            incidents: Locked::new(incidents, forget),
            clock,
            reader: fibers.wake_handle(reader),
        }
    }

    /// Takes in what somebody sees now, and has it looked at. A port's time, which is that of its executor's last turn,
    /// would not do: what was told by one and by another is put in order.
    pub(super) fn tell(&'static self, section: impl FnOnce(&mut Incidents, Instant)) {
        let now = self.clock.now();
        section(&mut self.incidents.lock(), now);
        self.reader.wake();
    }

    /// The part of that name.
    ///
    /// # Panics
    /// If it is none of the profiles'.
    pub(super) fn part(&'static self, name: &str) -> PartId {
        let part = self.incidents.lock().part(name);
        part.expect("every subsystem is a part")
    }

    /// Takes in a death that nobody ordered, after which the part is started again, and how often the part was refused
    /// memory by then.
    pub(super) fn died(&'static self, part: PartId, obituary: &Obituary, refusals: u64) {
        let (symptom, at) = (symptom_of(obituary), obituary.at);
        self.tell(|incidents, now| {
            incidents.refused(part, refusals, at, now);
            incidents.died(symptom, part, at, now);
            incidents.begin(RemedyKind::RestartPart, Some(part), now);
        });
    }
}

impl Shared for &'static Casebook {
    fn with<R>(&self, section: impl FnOnce(&mut Incidents) -> R) -> R {
        section(&mut self.incidents.lock())
    }
}

fn symptom_of(obituary: &Obituary) -> SymptomKind {
    match obituary.cause {
        Cause::Panic | Cause::Returned => SymptomKind::PartPanicked,
        Cause::StackOverflow => SymptomKind::PartOverflowedStack,
        Cause::Hang | Cause::Stopped => SymptomKind::PartHung,
        // Where it jumped to is no code, mapped or not.
        Cause::Exception if obituary.is_abort() && !obituary.is_jump() => SymptomKind::PartAborted,
        Cause::Exception => SymptomKind::PartRanUndefined,
    }
}

/// What a scrape shows of the incidents.
pub(super) struct CasebookMetrics(pub(super) &'static Casebook);

impl Source for CasebookMetrics {
    fn collect(&self, page: &mut Encoder<'_>) {
        write_metrics(&self.0, page);
    }
}
