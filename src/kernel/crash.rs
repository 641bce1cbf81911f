//! How the image dies: the reason, registers and a backtrace on the console, then what was asked for.
//!
//! A panic and an unexpected exception end here, unless a fiber that somebody supervises dies of it alone
//! ([`super::scheduler::death`]). A second failure while the first is being reported
//! prints one line and ends at once, so a crash can never turn into a silent hang.

use super::scheduler::death::{bury_after_exception, die_after_panic};
use crate::arch::aarch64::backtrace::{Backtrace, DEPTH_MAX};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::exceptions::{self, Frame, Report, Vector};
use crate::arch::aarch64::psci::Conduit;
use crate::arch::aarch64::{ImageLayout, cpu, semihosting, timer};
use crate::platform::boot_arguments::bad_value;
use crate::platform::console::print_dying;
use crate::platform::panic_device::PanicDevice;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use spin::Once;

/// What follows the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// The CPU sleeps for good; the console keeps the report.
    Halt = 0,
    /// The panic device is told, whose owner ends the machine; without one it is turned off (PSCI
    /// SYSTEM_OFF).
    Exit = 1,
    /// The machine starts again (PSCI SYSTEM_RESET).
    Reset = 2,
    /// A test binary ends with a failing exit status (semihosting).
    TestFailure = 3,
}

// A panic comes from anywhere and has no arguments: how to end has to be global.
static ENDING: AtomicU8 = AtomicU8::new(Ending::Halt as u8);
static CONDUIT: AtomicU8 = AtomicU8::new(0);
static PANIC_DEVICE: Once<PanicDevice> = Once::new();
static DEATHS: AtomicU32 = AtomicU32::new(0);

/// How long the owner of the panic device is given to end the machine, in parts of a second.
const OWNER_PART_OF_SECOND: u64 = 5;

/// Sets what follows a report. `conduit` is how to reach the power controls, if there is a way;
/// `panic_device` is told of a crash, if there is one.
pub fn set_ending(ending: Ending, conduit: Option<Conduit>, panic_device: Option<PanicDevice>) {
    if let Some(device) = panic_device {
        PANIC_DEVICE.call_once(|| device);
    }
    let conduit = match conduit {
        None => 0,
        Some(Conduit::Hvc) => 1,
        Some(Conduit::Smc) => 2,
    };
    CONDUIT.store(conduit, Relaxed);
    ENDING.store(ending as u8, Relaxed);
}

impl Ending {
    /// The ending that `nos.on-panic=` names.
    ///
    /// # Errors
    /// `BadValue` if the word names none.
    pub fn from_word(word: &str) -> crate::error::Result<Self> {
        match word {
            "halt" => Ok(Self::Halt),
            "exit" => Ok(Self::Exit),
            "reset" => Ok(Self::Reset),
            _ => Err(bad_value("on-panic", "exit, reset or halt")),
        }
    }
}

/// Installs the report for unexpected exceptions.
pub fn install() {
    exceptions::set_fault_handler(die_of_exception);
}

fn conduit() -> Option<Conduit> {
    match CONDUIT.load(Relaxed) {
        1 => Some(Conduit::Hvc),
        2 => Some(Conduit::Smc),
        _ => None,
    }
}

/// Ends the image as it was told to.
pub fn end() -> ! {
    // Tried once: a way that faults (semihosting that is not there) must not be tried for ever.
    match ENDING.swap(Ending::Halt as u8, Relaxed) {
        3 => semihosting::exit(1),
        ending => {
            if ending == Ending::Exit as u8 {
                report_to_owner();
            }
            if let Some(conduit) = conduit() {
                if ending == Ending::Exit as u8 {
                    conduit.system_off();
                } else if ending == Ending::Reset as u8 {
                    conduit.system_reset();
                }
            }
            cpu::halt()
        }
    }
}

/// Tells the panic device, and waits: to turn the machine off at once would hide from its owner why.
fn report_to_owner() {
    if let Some(device) = PANIC_DEVICE.get() {
        device.report();
        let deadline = timer::ticks() + timer::frequency() / OWNER_PART_OF_SECOND;
        while timer::ticks() < deadline {}
    }
}

/// Ends the image in good order: the machine is turned off, or sleeps where it cannot be.
pub fn power_off(conduit: Option<Conduit>) -> ! {
    if let Some(conduit) = conduit {
        conduit.system_off();
    }
    cpu::halt()
}

fn first_death() -> bool {
    // Relaxed: only this count matters.
    DEATHS.fetch_add(1, Relaxed) == 0
}

fn print_backtrace(first: Option<u64>, frames: Backtrace) {
    let layout = ImageLayout::current();
    let base = layout.start;
    let show = |address: usize| {
        // As the image's symbol table has it.
        let linked = address.wrapping_sub(base).wrapping_add(layout.linked_at);
        print_dying(format_args!(
            "  {address:#018x}  image+{:#x}  linked {linked:#x}\n",
            address - base
        ));
    };
    print_dying(format_args!("backtrace, innermost first:\n"));
    let text = base..layout.text_end;
    if let Some(address) = first
        .map(|address| address as usize)
        .filter(|address| text.contains(address))
    {
        show(address);
    }
    frames.take(DEPTH_MAX).for_each(show);
}

fn die_of_exception(frame: &mut Frame, vector: Vector, esr: u64, far: u64) {
    if bury_after_exception(frame, vector, esr, far) {
        return;
    }
    if !first_death() {
        print_dying(format_args!(
            "nos: another exception while dying, esr {esr:#x} far {far:#x}\n"
        ));
        end();
    }
    let report = Report {
        vector,
        esr,
        far,
        frame,
    };
    print_dying(format_args!("\nnos: crashed: {report}\n"));
    if CpuBlock::current().is_guard(far as usize) {
        print_dying(format_args!(
            "a stack overflowed: {far:#x} is in the page below it\n"
        ));
    }
    print_backtrace(Some(frame.elr), Backtrace::from_frame(frame.x[29]));
    end();
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die_after_panic(info);
    if !first_death() {
        print_dying(format_args!(
            "nos: another panic while dying: {}\n",
            info.message()
        ));
        end();
    }
    print_dying(format_args!("\nnos: crashed: {info}\n"));
    print_backtrace(None, Backtrace::here());
    end()
}
