//! The hands of the diagnosis: what it can do to the image, and what holds of the image when it wants to.
//!
//! | action | what is done |
//! | --- | --- |
//! | restart a subsystem | its fiber is stopped; the supervisor clears it away and starts it again |
//! | drain caches | the page caches of all CPUs give back what they hold |
//! | compact | movable frames are moved, where there are any |
//! | shed load | the data plane evicts as far as the policy lets it, and gives up sockets that it keeps to use again |
//! | warm reboot | the machine starts again and says why |
//!
//! What is not here cannot be done yet: it is recommended to nobody.

use super::crash;
use super::scheduler::Fibers;
use super::subsystems::News;
use super::supervision::Ward;
use super::this_cpu::ThisCpu;
use crate::bus::registry::Registry;
use crate::bus::{Port, Topic};
use crate::diagnosis::remediation_recommendations::{
    Action, Actuator, Facts, Precondition, RemedyKind,
};
use crate::diagnosis::root_cause_analysis::PartId;
use crate::error::{Error, Kind, Result, Subsystem};
use crate::memory::MemoryManager;
use crate::memory::compaction::CompactionPolicy;
use crate::metrics::Vitals;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use spin::Once;

/// The least that is shed at once: a few large requests. More is shed if more is missing.
const SHED_BYTES_MIN: u64 = 1 << 20;

/// What the diagnosis reaches for. Lives for ever.
pub(super) struct Hands {
    pub(super) fibers: Fibers,
    pub(super) memory: &'static MemoryManager<ThisCpu>,
    pub(super) registry: &'static Registry,
    pub(super) wards: &'static Once<Vec<&'static Ward>>,
    /// Where the data plane hears, and the port that tells it.
    pub(super) topic: Arc<Topic<News>>,
    pub(super) port: Arc<Port>,
    /// How much the data plane is to give back beside what is missing.
    pub(super) shed_bytes: &'static AtomicU64,
}

impl Hands {
    /// What detectors look at, now.
    pub(super) fn vitals(&self) -> Vitals {
        let mut vitals = Vitals::default();
        for source in self.registry.sources() {
            source.vitals(&mut vitals);
        }
        vitals
    }

    /// The hands as the image is now.
    pub(super) fn reach(&'static self) -> Reach {
        Reach {
            hands: self,
            vitals: self.vitals(),
        }
    }

    /// The subsystems, once they are started.
    pub(super) fn wards(&self) -> &'static [&'static Ward] {
        self.wards.get().map_or(&[], Vec::as_slice)
    }

    fn restart(&self, part: Option<PartId>) -> Result<()> {
        let ward = self.wards().iter().find(|ward| Some(ward.part) == part);
        let ward = ward.ok_or(missing("part of that name"))?;
        ward.is_ordered.store(true, Relaxed);
        self.fibers.stop(ward.fiber);
        Ok(())
    }

    fn shed(&self) -> Result<()> {
        let missing_bytes = self.memory.missing_bytes();
        self.shed_bytes
            .fetch_max(missing_bytes.max(SHED_BYTES_MIN), Relaxed);
        match self.topic.publish_now(&self.port, News::Shed).queued {
            0 => Err(missing("data plane that hears it")),
            _ => Ok(()),
        }
    }

    fn compact(&self) -> Result<()> {
        let done = self.memory.compact(CompactionPolicy::DEFAULT, 1, &|| false);
        match done.pageblocks {
            0 => Err(missing("pageblock that could be freed")),
            _ => Ok(()),
        }
    }
}

fn missing(what: &'static str) -> Error {
    Error::new(Subsystem::Diagnosis, Kind::Missing { what })
}

/// The hands at one moment.
pub(super) struct Reach {
    hands: &'static Hands,
    vitals: Vitals,
}

impl Actuator for Reach {
    fn facts(&self, part: Option<PartId>) -> Facts {
        let vitals = &self.vitals;
        let mut facts = [
            Action::ResizeCaches,
            Action::QuarantineFrame,
            Action::QuarantineBlock,
            Action::SwitchPrefetchStrategy,
            Action::SwitchEvictionStrategy,
            Action::DisableModule,
            Action::ResetDevice,
            Action::RestoreCheckpoint,
        ]
        .into_iter()
        .fold(Facts::NONE, Facts::without);
        for (holds, precondition) in [
            (part.is_some(), Precondition::PartIsSupervised),
            (vitals.page_cache_pages > 0, Precondition::CachesHoldPages),
            (vitals.may_evict, Precondition::EvictionIsAllowed),
        ] {
            if holds {
                facts = facts.with(precondition);
            }
        }
        if !self.hands.memory.has_movers() {
            facts = facts.without(Action::Compact);
        }
        facts
    }

    fn perform(&mut self, remedy: RemedyKind, part: Option<PartId>) -> Result<()> {
        match remedy {
            RemedyKind::RestartPart => self.hands.restart(part),
            RemedyKind::DrainCaches => {
                self.hands.memory.drain_all();
                Ok(())
            }
            RemedyKind::Compact => self.hands.compact(),
            RemedyKind::ShedLoad => self.hands.shed(),
            RemedyKind::WarmReboot => {
                crash::warm_reboot(format_args!("the diagnosis found no milder remedy"))
            }
            _ => Err(missing("part that can do it")),
        }
    }
}
