//! How the image dies: the reason, registers and a backtrace on the console, then what was asked for.
//!
//! A panic and an unexpected exception end here, unless a fiber that somebody supervises dies of it alone
//! ([`super::scheduler::death`]). So does the last resort of those who supervise, the warm reboot. What is printed
//! is also handed to the [`Keeper`], where there is one, so that the next life can tell why the last one
//! ended. A second failure while the first is being reported prints one line and ends at once, and a third prints nothing,
//! so a crash can never turn into a silent hang.

use super::place::Place;
use super::scheduler::death::{bury_after_exception, die_after_panic};
use crate::arch::aarch64::backtrace::{Backtrace, DEPTH_MAX};
use crate::arch::aarch64::cpu_block::CpuBlock;
use crate::arch::aarch64::exceptions::{self, Frame, Report, Vector};
use crate::arch::aarch64::psci::Conduit;
use crate::arch::aarch64::{ImageLayout, cpu, semihosting, timer};
use crate::platform::boot_arguments::bad_value;
use crate::platform::console::print_dying;
use crate::platform::panic_device::PanicDevice;
use core::fmt::{self, Write};
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
static PANIC_DEVICE: Once<&'static dyn PanicDevice> = Once::new();
static KEEPER: Once<&'static dyn Keeper> = Once::new();
static WITNESS: Once<&'static dyn Witness> = Once::new();
static DEATHS: AtomicU32 = AtomicU32::new(0);

/// How a report is told, piece by piece: the pieces make up lines.
pub type Tell<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

/// Knows what the image is at. It is asked by a dying image: it takes no lock and no memory.
pub trait Witness: Sync {
    /// Tells it, seen from the subsystem that runs.
    fn tell(&self, running: &str, tell: Tell<'_>);
}

/// Keeps the report of a crash where the next life finds it. It is called by a dying image: it takes no lock and
/// no memory.
pub trait Keeper: Sync {
    /// What the last life left.
    fn last_life(&self) -> LastLife;
    /// The last report that the last life kept of the death of a subsystem, and which life that was.
    fn last_death(&self) -> Option<(u32, &'static str)>;
    /// Keeps the report of a subsystem's death, which `report` tells, in place of the one before. By the supervisor alone.
    fn keep_death(&self, report: &mut dyn FnMut(Tell<'_>));
    /// Adds to the report. The first line is the reason; what does not fit is cut.
    fn note(&self, text: fmt::Arguments<'_>);
    /// The report is whole, and has to be where a reset leaves it.
    fn seal(&self);
}

/// What is known of the end of the life before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLife {
    /// Nothing: there was none, it ended in good order, or it was ended from outside.
    None,
    /// It left something, but not as it wrote it.
    Damaged,
    /// It said why.
    Ended {
        /// Which life it was: 1 is the first since the machine was turned on.
        life: u32,
        /// The report; its first line is the reason.
        text: &'static str,
    },
}

/// How long the owner of the panic device is given to end the machine, in parts of a second.
const OWNER_PART_OF_SECOND: u64 = 5;

/// Sets what follows a report. `conduit` is how to reach the power controls, if there is a way;
/// `panic_device` is told of a crash, if there is one.
pub fn set_ending(
    ending: Ending,
    conduit: Option<Conduit>,
    panic_device: Option<&'static dyn PanicDevice>,
) {
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

/// Hands over who keeps reports. The first one stays.
pub fn set_keeper(keeper: &'static dyn Keeper) {
    KEEPER.call_once(|| keeper);
}

/// Hands over who knows what the image is at. The first one stays.
pub fn set_witness(witness: &'static dyn Witness) {
    WITNESS.call_once(|| witness);
}

/// The last report of the last life of a subsystem's death, and which life that was.
pub fn last_death() -> Option<(u32, &'static str)> {
    KEEPER.get().and_then(|keeper| keeper.last_death())
}

/// Keeps the report of a subsystem's death for the next life. By the supervisor alone.
pub(super) fn keep_death(report: &mut dyn FnMut(Tell<'_>)) {
    if let Some(keeper) = KEEPER.get() {
        keeper.keep_death(report);
    }
}

/// How the last life ended, in its own words.
pub fn last_text() -> Option<&'static str> {
    match last_life() {
        LastLife::Ended { text, .. } => Some(text),
        LastLife::None | LastLife::Damaged => None,
    }
}

/// What is known of the end of the last life.
pub fn last_life() -> LastLife {
    KEEPER
        .get()
        .map_or(LastLife::None, |keeper| keeper.last_life())
}

/// Logs how the last life ended, if it left word.
pub(super) fn tell_last_life() {
    match last_life() {
        LastLife::Ended { life, text } => {
            let reason = text.lines().next().unwrap_or_default();
            log::warn!("life {life} of this machine, the last one, ended: {reason}");
        }
        LastLife::Damaged => {
            log::warn!("the crash area of the last life is damaged: why it ended is not known");
        }
        LastLife::None => {}
    }
}

/// Tells what the image was at.
fn tell_scene() {
    let running = super::scheduler::running();
    tell(format_args!("running: {running}\n"));
    if let Some(witness) = WITNESS.get() {
        witness.tell(running, &mut tell);
    }
}

/// Prints a part of the report, and keeps it.
fn tell(text: fmt::Arguments<'_>) {
    print_dying(text);
    if let Some(keeper) = KEEPER.get() {
        keeper.note(text);
    }
}

/// Installs the report for unexpected exceptions.
pub fn install() {
    exceptions::set_fault_handler(die_of_exception);
}

/// How to reach the power controls, if there is a way.
pub fn conduit() -> Option<Conduit> {
    match CONDUIT.load(Relaxed) {
        1 => Some(Conduit::Hvc),
        2 => Some(Conduit::Smc),
        _ => None,
    }
}

/// Starts the machine again, and has the next life tell `reason`: its first line in the log, all of it where the
/// report is asked for. Where the machine cannot be reset, its CPUs sleep for good.
pub fn warm_reboot(reason: fmt::Arguments<'_>) -> ! {
    cpu::mask_interrupts();
    if death() == 1 {
        print_dying(format_args!("\nnos: "));
        tell(format_args!("warm reboot: {reason}\n"));
    } else {
        // What is being reported already is the reason that is kept.
        print_dying(format_args!("\nnos: warm reboot while dying: {reason}\n"));
    }
    ENDING.store(Ending::Reset as u8, Relaxed);
    end()
}

/// Ends the image as it was told to.
pub fn end() -> ! {
    if let Some(keeper) = KEEPER.get() {
        keeper.seal();
    }
    end_now()
}

/// Ends the image though its report cannot be kept, or the end cannot be told.
fn end_now() -> ! {
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

/// Counts a death; answers which one it is.
fn death() -> u32 {
    // Relaxed: only this count matters.
    DEATHS.fetch_add(1, Relaxed) + 1
}

fn tell_backtrace(first: Option<u64>, frames: Backtrace) {
    let layout = ImageLayout::current();
    let base = layout.start;
    let show = |place: Place| place.tell(&mut tell);
    tell(format_args!("backtrace, innermost first:\n"));
    let text = base..layout.text_end;
    if let Some(address) = first
        .map(|address| address as usize)
        .filter(|address| text.contains(address))
    {
        show(Place::interrupted(address - base));
    }
    let returns = frames.take(DEPTH_MAX);
    returns.for_each(|address| show(Place::returned_to(address - base)));
}

fn die_of_exception(frame: &mut Frame, vector: Vector, esr: u64, far: u64) {
    if bury_after_exception(frame, vector, esr, far) {
        return;
    }
    match death() {
        1 => {}
        2 => {
            print_dying(format_args!(
                "nos: another exception while dying, esr {esr:#x} far {far:#x}\n"
            ));
            end();
        }
        _ => end_now(),
    }
    let report = Report {
        vector,
        esr,
        far,
        frame,
    };
    print_dying(format_args!("\nnos: "));
    tell(format_args!("crashed: {report}\n"));
    if CpuBlock::current().is_guard(far as usize) {
        tell(format_args!(
            "a stack overflowed: {far:#x} is in the page below it\n"
        ));
    }
    tell_backtrace(Some(frame.elr), Backtrace::from_frame(frame.x[29]));
    tell_scene();
    end();
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die_after_panic(info);
    match death() {
        1 => {}
        2 => {
            print_dying(format_args!(
                "nos: another panic while dying: {}\n",
                info.message()
            ));
            end();
        }
        _ => end_now(),
    }
    print_dying(format_args!("\nnos: "));
    tell(format_args!("crashed: {}\n", OneLine(info)));
    tell_backtrace(None, Backtrace::here());
    tell_scene();
    end()
}

/// A panic's place and message in one line, whatever the message holds: it is the reason that is kept.
struct OneLine<'a>(&'a PanicInfo<'a>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if let Some(location) = self.0.location() {
            write!(f, " at {location}")?;
        }
        f.write_str(": ")?;
        write!(Joined(f), "{}", self.0.message())
    }
}

/// Writes spaces for line ends.
struct Joined<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Joined<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut lines = text.split('\n');
        self.0.write_str(lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| write!(self.0, " {line}"))
    }
}
