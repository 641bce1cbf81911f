//! One subsystem as the supervisor knows it, and what it is to its own fiber.
#![allow(unsafe_code, reason = "fibers are given the address of their ward")]

use crate::bus::registry::{Registry, State};
use crate::bus::subsystem::{Controls, Subsystem, attend};
use crate::bus::{Port, Profile};
use crate::diagnosis::root_cause_analysis::PartId;
use crate::error::{Error, Kind, Result, try_box};
use crate::kernel::casebook::Casebook;
use crate::kernel::faults::Turns;
use crate::kernel::scheduler::FiberId;
use crate::kernel::{crash, ground};
use crate::memory::accounts::Owner;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// True if memory is what is missing.
fn is_too_little(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::OutOfMemory { .. } | Kind::TooLittleMemory { .. }
    )
}

/// What a subsystem does, and what has to be done about it when it died.
pub(in crate::kernel) trait Body: Sync {
    /// Runs one incarnation on the subsystem's fiber; `ward` is told when it is up.
    ///
    /// # Errors
    /// Whatever keeps it from starting: that counts as a death.
    fn run(&'static self, ward: &'static Ward) -> Result<Infallible>;

    /// Quiets what goes on without the dead fiber, before its memory is taken back. On the supervisor's fiber.
    fn quiet(&self) {}

    /// Tells whoever talked to the dead incarnation. On the supervisor's fiber.
    fn mourn(&self) {}
}

/// One subsystem, as the supervisor knows it.
pub(in crate::kernel) struct Ward {
    pub(in crate::kernel) profile: Profile,
    pub(in crate::kernel) fiber: FiberId,
    pub(in crate::kernel) port: Arc<Port>,
    pub(in crate::kernel) owner: Owner,
    /// How it is asked for its health.
    pub(in crate::kernel) controls: Arc<Controls>,
    pub(super) body: &'static dyn Body,
    pub(super) registry: &'static Registry,
    /// Where it is told how it fares, and which part it is there.
    pub(super) casebook: &'static Casebook,
    pub(in crate::kernel) part: PartId,
    /// It is stopped by the diagnosis, to be started again: its death is no news.
    pub(in crate::kernel) is_ordered: AtomicBool,
    pub(super) is_up: AtomicBool,
    /// It was told to stop: its death is not news to the policy.
    pub(super) is_stopped: AtomicBool,
    /// What its turns begin with.
    turns: Turns,
    /// It does not answer the supervisor, on purpose.
    pub(super) is_deaf: AtomicBool,
}

impl Ward {
    /// A subsystem that does not run yet, and where it is told how it fares.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(in crate::kernel) fn new(
        profile: Profile,
        fiber: FiberId,
        port: Arc<Port>,
        controls: Arc<Controls>,
        body: &'static dyn Body,
        (registry, casebook): (&'static Registry, &'static Casebook),
        turns: Turns,
    ) -> Result<&'static Self> {
        Ok(Box::leak(try_box(Self {
            owner: port.owner(),
            part: casebook.part(profile.name),
            casebook,
            is_ordered: AtomicBool::new(false),
            profile,
            fiber,
            port,
            controls,
            body,
            registry,
            is_up: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            turns,
            is_deaf: AtomicBool::new(false),
        })?))
    }

    /// Each turn of a subsystem begins with it: where the image can be made to fail, this may be the place.
    #[inline(always)]
    pub(in crate::kernel) fn begin_turn(&self) {
        self.turns.begin(self);
    }

    /// Answers the supervisor, if it asks: for a subsystem that runs its own loop. True if that is to end.
    #[inline(always)]
    pub(in crate::kernel) fn attend(&self, subsystem: &mut impl Subsystem) -> bool {
        self.controls.questions().depth() > 0
            && !self.is_deaf.load(Relaxed)
            && attend(subsystem, &self.port, &self.controls)
    }

    /// Has it answer nothing that the supervisor asks, until it is started again.
    #[cfg(feature = "fault-injection")]
    pub(in crate::kernel) fn deafen(&self) {
        self.is_deaf.store(true, Relaxed);
    }

    /// Whether this incarnation said that it does its work.
    #[inline]
    pub(in crate::kernel) fn was_up(&self) -> bool {
        self.is_up.load(Relaxed)
    }

    /// Notes that this incarnation does its work from now on. From the subsystem's own fiber.
    pub(in crate::kernel) fn is_up(&self) {
        let was_up = self.is_up.swap(true, Relaxed);
        if was_up {
            return;
        }
        // Whoever watches the registry and has no room for the news finds the state there.
        let _ = self
            .registry
            .set_state(&self.port, self.profile.name, State::Running);
        if let Some(row) = self.registry.find(self.profile.name) {
            row.status().set_healthy(true);
            if self.port.incarnation() > 0 {
                row.status().count_restart(true);
                self.is_well();
            }
        }
    }

    /// Tells that it is up, or has passed a check after one that it failed.
    pub(super) fn is_well(&self) {
        self.casebook
            .tell(|incidents, now| incidents.well(self.part, now));
    }

    /// Where its fiber begins: `argument` is what [`Ward::argument`] answers.
    pub(super) fn enter(argument: usize) {
        // SAFETY: it is the address of a ward, and wards live for ever.
        let ward = unsafe { &*(argument as *const Self) };
        match ward.body.run(ward) {
            Ok(never) => match never {},
            // What the first of all cannot have, none after it can: they have no more memory.
            Err(error) if ward.port.incarnation() == 0 && is_too_little(&error) => {
                ground::stop(error, crash::conduit())
            }
            Err(error) => panic!("{} cannot start: {error}", ward.profile.name),
        }
    }

    /// What its fiber is handed.
    pub(super) fn argument(&'static self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}
