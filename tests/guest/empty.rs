//! Inside QEMU: a binary without tests. `tests/harness.rs` runs it and wants it reported as a failure.
#![no_std]
#![no_main]

mod support;

use nos::arch::aarch64::BootInfo;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(boot, &[])
}
