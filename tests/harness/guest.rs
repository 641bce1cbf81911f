//! A guest of a dozen instructions, for `tests/harness.rs`: prints `TEXT`, then ends as `END` says.
//!
//! It stands on its own (rustc alone builds it) so that the runner is tested apart from the kernel it will run.
#![no_std]
#![no_main]

core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "   ldr x1, =text",
    "   ldr x2, =0x09000000", // virt's PL011: its data register
    "1: ldrb w3, [x1], #1",
    "   cbz w3, 2f",
    "   str w3, [x2]",
    "   b 1b",
    "2:",
    concat!("   b ", env!("END")),
    "exit:", // semihosting SYS_EXIT_EXTENDED
    "   mov w0, #0x20",
    "   ldr x1, =block",
    "   hlt #0xf000",
    "power_off:", // PSCI SYSTEM_OFF
    "   ldr w0, =0x84000008",
    "   hvc #0",
    "hang:",
    "   wfi",
    "   b hang",
    ".balign 8",
    concat!("block: .quad 0x20026, ", env!("CODE")),
    concat!("text: .asciz \"", env!("TEXT"), "\""),
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
