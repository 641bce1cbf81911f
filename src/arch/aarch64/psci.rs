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

type Call = fn() -> core::result::Result<(), psci::error::Error>;

fn refused(error: psci::error::Error) -> Error {
    let code = i64::from(error);
    Error::new(Subsystem::Arch, Kind::Firmware { code })
}

impl Conduit {
    /// Turns the machine off. Returns only if firmware refuses.
    pub fn system_off(self) -> Error {
        self.last(psci::system_off::<Hvc>, psci::system_off::<Smc>)
    }

    /// Resets the machine. Returns only if firmware refuses.
    pub fn system_reset(self) -> Error {
        self.last(psci::system_reset::<Hvc>, psci::system_reset::<Smc>)
    }

    /// Makes a call that does not come back; if it does, why.
    fn last(self, by_hvc: Call, by_smc: Call) -> Error {
        let outcome = match self {
            Self::Hvc => by_hvc(),
            Self::Smc => by_smc(),
        };
        let silent = Error::new(Subsystem::Arch, Kind::Firmware { code: 0 });
        outcome.err().map_or(silent, refused)
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
