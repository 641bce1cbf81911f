//! Faulting on purpose: runs what must raise an exception, and tells which it raised.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use core::cell::Cell;
use nos::arch::aarch64::exceptions::{self, Frame, Vector};
use nos::kernel::crash;

/// What an expected exception was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The exception class (ESR_EL1.EC).
    pub(crate) class: u64,
    /// The fault status code of an abort.
    pub(crate) status: u64,
    /// The faulting address.
    pub(crate) address: u64,
    /// The link register of the interrupted code.
    pub(crate) link: u64,
}

impl Taken {
    /// True if a data access met no mapping.
    pub(crate) fn is_translation_fault(&self) -> bool {
        self.class == 0x25 && self.status & !3 == 0b000100
    }
}

struct TakenCell(Cell<Option<Taken>>);
// SAFETY: tests run on one CPU, and the handler runs only while `expect_exception` waits for it.
unsafe impl Sync for TakenCell {}
static TAKEN: TakenCell = TakenCell(Cell::new(None));

fn note(frame: &mut Frame, _: Vector, esr: u64, far: u64) {
    let class = esr >> 26 & 0x3f;
    TAKEN.0.set(Some(Taken {
        class,
        status: esr & 0x3f,
        address: far,
        link: frame.x[30],
    }));
    // An instruction abort goes back to the caller of what could not be fetched; everything else is
    // stepped over.
    frame.elr = if class == 0x21 {
        frame.x[30]
    } else {
        frame.elr + 4
    };
}

/// Runs `cause`, which must raise exactly one exception, and tells which.
pub(crate) fn expect_exception(cause: impl FnOnce()) -> Taken {
    TAKEN.0.set(None);
    exceptions::set_fault_handler(note);
    cause();
    crash::install();
    TAKEN.0.get().expect("an exception was taken")
}

/// Writes a word to where it may be refused.
pub(crate) fn write(address: usize) {
    // SAFETY: aimed at pages that refuse it; the handler steps over the store.
    unsafe { core::arch::asm!("str xzr, [{0}]", in(reg) address) };
}
