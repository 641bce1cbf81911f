//! Health: each subsystem is asked how it finds itself, now and then.
//!
//! The registry's row says what the last check found (`nos_subsystem_up`). One that fails check after check is stopped:
//! a death like any other, after which the policy says who is started again.

use super::Ward;
use crate::bus::Port;
use crate::bus::subsystem::{Control, Health, Report};
use crate::diagnosis::root_cause_analysis::SymptomKind;
use crate::error::Kind;
use crate::kernel::scheduler::Fibers;
use crate::platform::time::Duration;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Time for an answer, as a part of that between two checks. One that hangs is the watchdog's, which is sooner unless
/// `nos.hang-ms=` says otherwise.
const PATIENCE_DIVISOR: u64 = 2;
/// Checks in a row that may fail.
const FAILURES_MAX: u32 = 3;

/// Asks all patients in turn, again after each `interval`, for ever. On the supervisor's executor.
pub(super) async fn watch(
    mut patients: Vec<Patient>,
    fibers: Fibers,
    port: Arc<Port>,
    interval: Duration,
) {
    let patience = Duration::from_nanos(interval.as_nanos() / PATIENCE_DIVISOR);
    loop {
        port.sleep_until(port.now() + interval).await;
        for patient in &mut patients {
            patient.check(&port, fibers, patience).await;
        }
    }
}

/// A ward that is asked.
pub(super) struct Patient {
    ward: &'static Ward,
    failures: u32,
    /// The last check failed.
    is_unwell: bool,
}

impl Patient {
    /// One that has not failed yet.
    pub(super) fn new(ward: &'static Ward) -> Self {
        Self {
            ward,
            failures: 0,
            is_unwell: false,
        }
    }

    async fn check(&mut self, port: &Port, fibers: Fibers, patience: Duration) {
        let ward = self.ward;
        if !ward.was_up() {
            self.failures = 0;
            return;
        }
        let ran = fibers.ran_ticks(ward.fiber);
        let asked_at = port.now();
        let deadline = asked_at + patience;
        let request = ward.controls.request(port, Control::Health, deadline);
        let health = match request.await {
            Ok(Report::Health(health)) => health,
            Ok(_) => Health::Failed("it answers another question"),
            Err(error) => match error.kind() {
                // One that got no CPU in all that time is not unwell: those that rank above it are busy.
                Kind::TimedOut { .. } if fibers.ran_ticks(ward.fiber) == ran => return,
                Kind::TimedOut { .. } => Health::Failed("it does not answer"),
                // It died meanwhile, or there is no room: neither says how it is.
                _ => return,
            },
        };
        let name = ward.profile.name;
        if let Some(row) = ward.registry.find(name) {
            row.status().set_healthy(health.passed());
        }
        let Health::Failed(why) = health else {
            self.failures = 0;
            if core::mem::take(&mut self.is_unwell) {
                ward.is_well();
            }
            return;
        };
        self.failures += 1;
        self.is_unwell = true;
        let missed = SymptomKind::HealthCheckMissed;
        ward.casebook.tell(|incidents, now| {
            incidents.raise(missed, Some(ward.part), asked_at, now);
        });
        log::error!("{name}: health check failed: {why}");
        if self.failures == FAILURES_MAX {
            self.failures = 0;
            fibers.stop(ward.fiber);
        }
    }
}
