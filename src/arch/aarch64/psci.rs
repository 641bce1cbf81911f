//! Power: PSCI calls by the conduit the device tree names.
//!
//! Source: Arm DEN 0022 (PSCI 1.1).

use crate::error::{Error, Kind, Result, Subsystem};
use smccc::psci;
use smccc::{Hvc, Smc};

/// How firmware is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// By HVC.
    Hvc,
    /// By SMC.
    Smc,
}

fn refused(error: psci::error::Error) -> Error {
    let code = i64::from(error);
    Error::new(Subsystem::Arch, Kind::Firmware { code })
}

impl Conduit {
    /// Turns the machine off. Returns only if firmware refuses.
    pub fn system_off(self) -> Error {
        let outcome = match self {
            Self::Hvc => psci::system_off::<Hvc>(),
            Self::Smc => psci::system_off::<Smc>(),
        };
        outcome.err().map_or(
            Error::new(Subsystem::Arch, Kind::Firmware { code: 0 }),
            refused,
        )
    }

    /// Resets the machine. Returns only if firmware refuses.
    pub fn system_reset(self) -> Error {
        let outcome = match self {
            Self::Hvc => psci::system_reset::<Hvc>(),
            Self::Smc => psci::system_reset::<Smc>(),
        };
        outcome.err().map_or(
            Error::new(Subsystem::Arch, Kind::Firmware { code: 0 }),
            refused,
        )
    }

    /// Starts the CPU with that affinity at `entry` (MMU off) with `context` in x0.
    ///
    /// # Errors
    /// `Firmware` with PSCI's code: −2 unknown CPU, −4 already on.
    ///
    /// # Safety
    /// `entry` must be code that can start a CPU from reset state.
    pub unsafe fn cpu_on(self, affinity: u64, entry: u64, context: u64) -> Result<()> {
        match self {
            Self::Hvc => psci::cpu_on::<Hvc>(affinity, entry, context),
            Self::Smc => psci::cpu_on::<Smc>(affinity, entry, context),
        }
        .map_err(refused)
    }
}
