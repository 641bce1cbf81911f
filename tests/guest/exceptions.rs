//! Inside QEMU: exceptions are reported with what they were, and the timer interrupts and wakes.
#![no_std]
#![no_main]

extern crate alloc;

mod expected_exception;
mod support;

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use expected_exception::expect_exception;
use nos::arch::aarch64::{BootInfo, cpu, exceptions, timer};
use nos::platform::interrupts::{self, Binding, Source};
use nos::platform::time::{Clock, Duration};

static TICKS: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(
        boot,
        &[
            ("an undefined instruction is told as one", |_| {
                // SAFETY: the handler steps over the instruction.
                let taken = expect_exception(|| unsafe { asm!("udf #0") });
                assert_eq!(taken.class, 0);
            }),
            ("a breakpoint is told as one", |_| {
                // SAFETY: as above.
                let taken = expect_exception(|| unsafe { asm!("brk #1") });
                assert_eq!(taken.class, 0x3c);
            }),
            ("floating-point registers survive an exception", |_| {
                let (low, high): (u64, u64);
                // SAFETY: v17 is declared clobbered; the handler steps over the BRK.
                unsafe {
                    exceptions::set_fault_handler(|frame, _, _, _| frame.elr += 4);
                    asm!(
                        "movi v17.16b, #0xa5",
                        "brk #2",
                        "mov {0}, v17.d[0]",
                        "mov {1}, v17.d[1]",
                        out(reg) low, out(reg) high, out("v17") _,
                    );
                }
                nos::kernel::crash::install();
                assert_eq!((low, high), (0xa5a5_a5a5_a5a5_a5a5, 0xa5a5_a5a5_a5a5_a5a5));
            }),
            (
                "the timer interrupts at its deadline, masked or not",
                |ground| {
                    let gic = ground.machine.gic.as_ref().expect("virt has a GIC");
                    let interrupt = ground.machine.timer_interrupt.expect("virt has a timer");
                    let handler = || {
                        timer::disarm();
                        TICKS.fetch_add(1, Relaxed);
                    };
                    let binding = Binding {
                        interrupt,
                        source: Source::Timer,
                        handler: alloc::boxed::Box::new(handler),
                    };
                    // SAFETY: the machine's controller, mapped by `bring_up`, set up once.
                    unsafe { interrupts::set_up(gic, ground.machine.cpus.len(), [binding]) }
                        .expect("the GIC takes the timer");

                    let deadline = ground.clock.now() + Duration::from_millis(5);
                    timer::arm(ground.clock.ticks_at(deadline));
                    cpu::mask_interrupts();
                    while TICKS.load(Relaxed) == 0 {
                        interrupts::sleep();
                    }
                    assert!(ground.clock.now() >= deadline, "woke early");

                    timer::arm(
                        ground
                            .clock
                            .ticks_at(ground.clock.now() + Duration::from_millis(1)),
                    );
                    cpu::unmask_interrupts();
                    while TICKS.load(Relaxed) == 1 {
                        core::hint::spin_loop();
                    }
                    cpu::mask_interrupts();
                    assert_eq!(TICKS.load(Relaxed), 2);
                    assert_eq!(interrupts::TIMER_TAKEN.load(Relaxed), 2);
                },
            ),
            ("a deadline that has passed interrupts at once", |ground| {
                timer::arm(0);
                interrupts::sleep();
                assert_eq!(TICKS.load(Relaxed), 3);
                assert!(ground.clock.now().as_nanos() > 0);
            }),
        ],
    )
}
