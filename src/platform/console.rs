//! The serial console and the `log` facade over it.
//!
//! Lines carry seconds since reset and the level. Until the device tree names a PL011, and when it names
//! none, the built-in emergency address is used (virt's PL011, mapped by the entry code). Writing waits
//! for the UART; nothing is buffered, so a line is out before the image can die. No secret is ever
//! logged: parts log lengths and names, not contents.
#![allow(
    unsafe_code,
    reason = "device registers at an address from the device tree"
)]

use crate::arch::aarch64::preemption::PreemptionGuard;
use crate::arch::aarch64::{cpu, timer};
use crate::error::{Error, Kind, Result, ShortText, Subsystem};
use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use log::{LevelFilter, Metadata, Record};
use spin::Mutex;

/// Attempts of a dying image to get the console from whoever holds it, before it is taken.
const PANIC_LOCK_ATTEMPTS: u32 = 100_000;

/// A console on a PL011.
pub struct Console {
    uart: Uart<'static>,
}

// The `log` crate and the panic handler reach the console from anywhere: it has to be global.
static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);
static LOGGER: Logger = Logger;
/// The number of the CPU that prints, and one more; 0 for none.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

struct Logger;

impl Console {
    /// Uses the PL011 at `address`, as the loader left it set up.
    ///
    /// # Safety
    /// `address` must be that of a PL011's registers, mapped as device memory, used by nothing else.
    pub unsafe fn new(address: usize) -> Self {
        let registers =
            NonNull::new(address as *mut PL011Registers).expect("a device is not at address 0");
        // SAFETY: our caller promises that these are a PL011's registers and ours alone.
        let uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
        Self { uart }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

impl Console {
    fn put(&mut self, byte: u8) {
        while self.uart.is_tx_fifo_full() {}
        self.uart.write_word(byte);
    }
}

/// Makes `console` the one that logs and panics go to.
pub fn install(console: Console) {
    let _guard = PreemptionGuard::new();
    *CONSOLE.lock() = Some(console);
    // A second installation finds the logger set already: it is the same one.
    let _ = log::set_logger(&LOGGER);
}

/// Sets from which level on lines are shown.
///
/// # Errors
/// `BadValue` naming the key if the word is no level.
pub fn set_level(word: &str) -> Result<()> {
    let level = word.parse::<LevelFilter>().map_err(|_| {
        let expected = "off, error, warn, info, debug or trace";
        Error::new(
            Subsystem::Platform,
            Kind::BadValue {
                key: ShortText::new("log"),
                expected,
            },
        )
    })?;
    log::set_max_level(level);
    Ok(())
}

/// Writes straight to the console, without time and level.
pub fn print(arguments: fmt::Arguments<'_>) {
    let _guard = PreemptionGuard::new();
    let mut console = CONSOLE.lock();
    HOLDER.store(cpu::current() + 1, Relaxed);
    if let Some(console) = console.as_mut() {
        // The console never refuses text.
        let _ = console.write_fmt(arguments);
    }
    HOLDER.store(0, Relaxed);
}

/// Takes the console from the fiber that died on this CPU, if it held it. There is nothing to verify: a line
/// that was cut is the worst that can come of it.
pub fn release_of_the_dead() {
    if HOLDER.load(Relaxed) == cpu::current() + 1 {
        HOLDER.store(0, Relaxed);
        // SAFETY: what held the lock on this CPU is dead and never comes back to it.
        unsafe { CONSOLE.force_unlock() };
    }
}

/// Writes from a dying image: the console is taken from a holder that does not let go.
pub fn print_dying(arguments: fmt::Arguments<'_>) {
    cpu::mask_interrupts();
    for _ in 0..PANIC_LOCK_ATTEMPTS {
        if let Some(mut console) = CONSOLE.try_lock() {
            if let Some(console) = console.as_mut() {
                let _ = console.write_fmt(arguments);
            }
            return;
        }
    }
    // SAFETY: the holder is the code that died, or another CPU that will be stopped: a garbled line is
    // the worst that can come of it.
    unsafe { CONSOLE.force_unlock() };
    if let Some(console) = CONSOLE.lock().as_mut() {
        let _ = console.write_fmt(arguments);
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let micros = u128::from(timer::ticks()) * 1_000_000 / u128::from(timer::frequency());
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        print(format_args!(
            "[{seconds:5}.{micros:06}] {:5} {}\n",
            record.level(),
            record.args()
        ));
    }

    fn flush(&self) {}
}
