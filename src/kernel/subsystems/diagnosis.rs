//! The diagnosis subsystem: it looks at the image when the data plane says that work was done, and at what others told
//! the casebook; an idle image sleeps. While an incident is open it looks each second, until all is quiet. As it ranks
//! last, it also compacts memory while the data plane is quiet.

use super::News;
use crate::bus::subsystem::launch;
use crate::bus::{Envelope, Executor, Mailbox, NEVER, Profile, Reason, Subsystem};
use crate::diagnosis::incidents::{Incidents, Shared, attend};
use crate::diagnosis::root_cause_analysis::{PARTS_MAX, SymptomKind};
use crate::diagnosis::watch::Watch;
use crate::diagnosis::{FaultDetection, MemorySample};
use crate::error::{Result, try_box};
use crate::kernel::casebook::Casebook;
use crate::kernel::chronicle::Chronicle;
use crate::kernel::hands::Hands;
use crate::kernel::scheduler::{FiberId, Fibers, Locked};
use crate::kernel::supervision::{Body, Ward};
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::compaction::{Background, CompactionPolicy, Foreground};
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::memory::{MemoryManager, Pressure};
use crate::platform::time::{Clock, Duration, Instant};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Its tasks: the one that hands it messages, and one to spare.
const TASKS: usize = 2;
/// Time between two looks while an incident is open, though no work is done.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Messages to a part that found its mailbox full between two looks, from which on that is a symptom, if it took none: as
/// many as its mailboxes hold. Who takes some is only slower than those that send, which send again.
const FULL_MIN: u64 = 64;

/// What it is.
pub(in crate::kernel) const PROFILE: Profile = Profile {
    name: super::DIAGNOSIS.name,
    version: env!("CARGO_PKG_VERSION"),
    dependencies: &[super::DATA_PLANE.name],
    capabilities: &["diagnosis"],
    topics: &[],
};

/// What every incarnation is made from.
pub(in crate::kernel) struct DiagnosisBody {
    pub(in crate::kernel) fibers: Fibers,
    pub(in crate::kernel) clock: &'static dyn Clock,
    pub(in crate::kernel) memory: &'static MemoryManager<ThisCpu>,
    pub(in crate::kernel) detection: &'static Locked<FaultDetection>,
    pub(in crate::kernel) casebook: &'static Casebook,
    pub(in crate::kernel) chronicle: Option<&'static Chronicle>,
    pub(in crate::kernel) hands: &'static Hands,
    /// Memory that all but the dataset may have together.
    pub(in crate::kernel) others_bytes: u64,
    pub(in crate::kernel) mailbox: Arc<Mailbox<News>>,
    /// What compaction makes way for.
    pub(in crate::kernel) data_plane: FiberId,
    /// Work was done since it looked last.
    pub(in crate::kernel) has_worked: AtomicBool,
}

impl Foreground for DiagnosisBody {
    fn turns(&self) -> u64 {
        self.fibers.turns(self.data_plane)
    }
}

/// One incarnation, as the bus knows it.
struct Diagnosis(&'static DiagnosisBody);

/// What one incarnation has seen.
struct Physician {
    body: &'static DiagnosisBody,
    watch: Box<Watch>,
    looked_at: Instant,
    /// By part: messages that found its mailboxes full, and those that it took.
    queued: [(u64, u64); PARTS_MAX],
}

/// What the detectors look at, now.
pub(in crate::kernel) fn sample(memory: &MemoryManager<ThisCpu>) -> MemorySample {
    let (hits, misses) = memory.page_cache_requests();
    MemorySample {
        hits,
        misses,
        free_bytes: memory.free_frames() * PAGE_SIZE as u64,
        total_bytes: memory.total_frames() * PAGE_SIZE as u64,
    }
}

impl Subsystem for Diagnosis {
    type Message = News;

    fn profile(&self) -> Profile {
        PROFILE
    }

    fn handle(&mut self, _: Envelope<News>) -> Result<()> {
        self.0.has_worked.store(true, Relaxed);
        Ok(())
    }
}

impl Physician {
    fn new(body: &'static DiagnosisBody) -> Result<Self> {
        Ok(Self {
            body,
            watch: try_box(Watch::new(body.others_bytes))?,
            looked_at: Instant::ZERO,
            queued: [(0, 0); PARTS_MAX],
        })
    }

    /// Does what there is to do; returns when there is more, if that is known.
    fn work(&mut self, now: Instant) -> Option<Instant> {
        let body = self.body;
        let is_open = body.casebook.with(|incidents| incidents.is_open());
        let is_due = now >= self.looked_at + LOOK_INTERVAL;
        if body.has_worked.swap(false, Relaxed) || is_open && is_due {
            self.look(now);
        }
        if !body.casebook.with(|incidents| incidents.is_open()) {
            return None;
        }
        let number = body.casebook.with(|incidents| incidents.opened_total());
        attend(&body.casebook, &mut body.hands.reach(), now);
        let is_over =
            |incidents: &mut Incidents| !incidents.is_open() || incidents.opened_total() > number;
        if body.casebook.with(is_over)
            && let Some(chronicle) = body.chronicle
        {
            chronicle.closed(&body.casebook, number, now);
        }
        let due = body
            .casebook
            .with(|incidents| (incidents.is_open(), incidents.due()));
        let next_look = self.looked_at + LOOK_INTERVAL;
        due.0
            .then(|| due.1.map_or(next_look, |due| due.min(next_look)))
    }

    fn look(&mut self, now: Instant) {
        let before = core::mem::replace(&mut self.looked_at, now);
        let body = self.body;
        let sample = sample(body.memory);
        {
            let mut detection = body.detection.lock();
            if detection.due(now) {
                detection.observe(&sample, now);
            }
        }
        let found = self.watch.look(&body.hands.vitals(), now);
        body.casebook.with(|incidents| {
            if let Some(found) = &found {
                found.tell(incidents);
            }
            // The supervisor tells when it begins and ends.
            if incidents.is_open() && body.memory.pressure() != Pressure::None {
                incidents.raise(SymptomKind::FreeMemoryLow, None, before, now);
            }
        });
        for ward in body.hands.wards() {
            self.look_at(ward, now);
        }
    }

    /// Looks at what is known of one part.
    fn look_at(&mut self, ward: &Ward, now: Instant) {
        let body = self.body;
        let refusals = body.memory.usage(ward.owner).refusals;
        let row = body.hands.registry.find(ward.profile.name);
        let queues = row.into_iter().flat_map(|row| row.queues());
        let kept = queues.filter(|queue| !queue.is_lossy());
        let (full, taken) = kept.fold((0, 0), |(full, taken), queue| {
            let tally = queue.tally();
            (full + tally.dropped(Reason::Full), taken + tally.delivered)
        });
        let part = ward.part;
        let known = &mut self.queued[usize::from(part.0)];
        let (known_full, known_taken) = core::mem::replace(known, (full, taken));
        // It took some before an incarnation's first look, which is no judgement of that time.
        let is_stalled = taken == known_taken && full.saturating_sub(known_full) >= FULL_MIN;
        let tell = |incidents: &mut Incidents| {
            incidents.refused(part, refusals, now, now);
            if is_stalled {
                incidents.event(SymptomKind::MailboxFull, Some(part), now, now);
            }
        };
        body.casebook.with(tell);
    }
}

impl Body for DiagnosisBody {
    fn run(&'static self, ward: &'static Ward) -> Result<Infallible> {
        let mut executor = Executor::new(ward.port.clone(), TASKS)?;
        let (mailbox, controls) = (self.mailbox.clone(), ward.controls.clone());
        launch(Diagnosis(self), &mut executor, mailbox, controls)?;
        let mut compaction = Background::new(self.memory, self, CompactionPolicy::DEFAULT);
        let mut physician = Physician::new(self)?;
        ward.is_up();
        loop {
            ward.begin_turn();
            let deadline = executor.run(self.clock);
            let compacts_at = compaction.poll(self.clock.now()).unwrap_or(NEVER);
            let deadline = deadline.min(compacts_at);
            let next = physician.work(self.clock.now());
            let deadline = Some(deadline).filter(|&deadline| deadline != NEVER);
            self.fibers.park(deadline.into_iter().chain(next).min());
        }
    }
}
