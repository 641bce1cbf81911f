//! Which subsystem runs on which CPU: a default, and what `nos.place=` says.

use super::{ALL, DATA_PLANE};
use crate::error::Result;
use crate::platform::boot_arguments::bad_value;

/// The CPU of each subsystem that the operator placed.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kernel) struct Placement([Option<u8>; ALL.len()]);

impl Placement {
    /// Reads `NAME:CPU,…`.
    ///
    /// # Errors
    /// `BadValue` if a name or a number is not one.
    pub(in crate::kernel) fn parse(key: &str, value: &str) -> Result<Self> {
        let bad = || bad_value(key, "NAME:CPU,... with names as /subsystems shows them");
        let mut placement = Self::default();
        for part in value.split(',') {
            let (name, cpu) = part.split_once(':').ok_or_else(bad)?;
            let at = ALL.iter().position(|entry| entry.name == name);
            placement.0[at.ok_or_else(bad)?] = Some(cpu.parse().map_err(|_| bad())?);
        }
        Ok(placement)
    }

    /// The CPU of the subsystem of that name on a machine with so many: where the operator wants it, if there is such
    /// a CPU; else the data plane alone on CPU 0 and the others on CPU 1, or all on the only one.
    pub(in crate::kernel) fn cpu_of(&self, name: &str, cpus: usize) -> usize {
        let default = if name == DATA_PLANE.name || cpus < 2 {
            0
        } else {
            1
        };
        let at = ALL.iter().position(|entry| entry.name == name);
        match at.and_then(|at| self.0[at]).map(usize::from) {
            Some(cpu) if cpu < cpus => cpu,
            Some(cpu) => {
                log::error!(
                    "nos.place: there is no CPU {cpu} for {name}: it runs on CPU {default}"
                );
                default
            }
            None => default,
        }
    }
}
