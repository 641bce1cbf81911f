//! The diagnosis subsystem: it looks at the image when the data plane says that work was done, and an idle image
//! sleeps. As it ranks last, it also compacts memory while the data plane is quiet.

use super::News;
use crate::bus::subsystem::launch;
use crate::bus::{Envelope, Executor, Mailbox, NEVER, Profile, Subsystem};
use crate::diagnosis::{FaultDetection, MemorySample};
use crate::error::Result;
use crate::kernel::scheduler::{FiberId, Fibers, Locked};
use crate::kernel::supervision::{Body, Ward};
use crate::kernel::this_cpu::ThisCpu;
use crate::memory::MemoryManager;
use crate::memory::compaction::{Background, CompactionPolicy, Foreground};
use crate::memory::frames::{FrameSource, PAGE_SIZE};
use crate::platform::time::Clock;
use alloc::sync::Arc;
use core::convert::Infallible;

/// Its tasks: the one that hands it messages, and one to spare.
const TASKS: usize = 2;

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
    pub(in crate::kernel) mailbox: Arc<Mailbox<News>>,
    /// What compaction makes way for.
    pub(in crate::kernel) data_plane: FiberId,
}

impl Foreground for DiagnosisBody {
    fn turns(&self) -> u64 {
        self.fibers.turns(self.data_plane)
    }
}

/// One incarnation.
struct Diagnosis(&'static DiagnosisBody);

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
        let now = self.0.clock.now();
        let sample = sample(self.0.memory);
        let mut detection = self.0.detection.lock();
        if detection.due(now) {
            detection.observe(&sample, now);
        }
        Ok(())
    }
}

impl Body for DiagnosisBody {
    fn run(&'static self, ward: &'static Ward) -> Result<Infallible> {
        let mut executor = Executor::new(ward.port.clone(), TASKS)?;
        let (mailbox, controls) = (self.mailbox.clone(), ward.controls.clone());
        launch(Diagnosis(self), &mut executor, mailbox, controls)?;
        let mut compaction = Background::new(self.memory, self, CompactionPolicy::DEFAULT);
        ward.is_up();
        loop {
            ward.begin_turn();
            let deadline = executor.run(self.clock);
            let compacts_at = compaction.poll(self.clock.now()).unwrap_or(NEVER);
            let deadline = deadline.min(compacts_at);
            self.fibers
                .park(Some(deadline).filter(|&deadline| deadline != NEVER));
        }
    }
}
