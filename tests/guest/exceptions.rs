//! Inside QEMU: exceptions are reported with what they were, and the timer interrupts and wakes.
#![no_std]
#![no_main]

extern crate alloc;

mod expected_exception;
mod support;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
use expected_exception::expect_exception;
use nos::arch::aarch64::cpu_block::CpuBlock;
use nos::arch::aarch64::exceptions::{self, Frame, Report, Vector};
use nos::arch::aarch64::{BootInfo, cpu, timer};
use nos::platform::interrupts::{self, Binding, Source};
use nos::platform::time::{Clock, Duration};
use spin::Mutex;

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
            ("a write to nowhere is told as a translation fault", |_| {
                let taken = expect_exception(|| expected_exception::write(0x10));
                assert!(taken.is_translation_fault(), "{taken:?}");
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
                "a report tells what happened, where and by what access",
                |_| {
                    let text = reported(|| expected_exception::write(0x10));
                    for told in [
                        "Synchronous exception: data abort, translation fault at level",
                        "by a write at 0x10, esr 0x9",
                        "x30 ",
                        "pc  ",
                        "spsr ",
                    ] {
                        assert!(text.contains(told), "no {told:?} in {text}");
                    }
                    // SAFETY: the handler steps over the instruction.
                    let text = reported(|| unsafe { asm!("udf #0") });
                    assert!(text.contains("undefined instruction, esr"), "{text}");
                    // SAFETY: as above.
                    let text = reported(|| unsafe { asm!("svc #3") });
                    assert!(text.contains("SVC, esr"), "{text}");
                },
            ),
            (
                "an exhausted exception stack is reported, not a hang",
                |_| {
                    exceptions::set_fault_handler(exhaust);
                    // SAFETY: `exhaust` lets the code behind go on.
                    unsafe { asm!("udf #0") };
                    nos::kernel::crash::install();
                    let address = EXHAUSTED_AT.load(Relaxed) as usize;
                    let [_, fault_stack] = CpuBlock::current().stacks();
                    assert!(fault_stack.guard().contains(&address), "{address:#x}");
                },
            ),
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
                        handler: Box::new(handler),
                    };
                    // SAFETY: the machine's controller, mapped by `bring_up`, set up once.
                    unsafe { interrupts::set_up(gic, ground.machine.cpus.len(), [binding]) }
                        .expect("the GIC takes the timer");

                    let deadline = ground.clock.now() + Duration::from_millis(5);
                    timer::arm(ground.clock.ticks_at(deadline));
                    cpu::mask_interrupts();
                    while TICKS.load(Relaxed) == 0 {
                        cpu::wait_for_interrupt();
                        interrupts::serve();
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
                    assert_eq!(interrupts::taken(0, Source::Timer), 2);
                },
            ),
            ("a deadline that has passed interrupts at once", |ground| {
                timer::arm(0);
                cpu::wait_for_interrupt();
                interrupts::serve();
                assert_eq!(TICKS.load(Relaxed), 3);
                assert!(ground.clock.now().as_nanos() > 0);
            }),
        ],
    )
}

static REPORT: Mutex<String> = Mutex::new(String::new());

/// The report of the exception that `cause` raises; the instruction is stepped over.
fn reported(cause: impl FnOnce()) -> String {
    exceptions::set_fault_handler(|frame, vector, esr, far| {
        let report = Report {
            vector,
            esr,
            far,
            frame,
        };
        *REPORT.lock() = format!("{report}");
        // An SVC returns behind itself already.
        frame.elr += if esr >> 26 == 0x15 { 0 } else { 4 };
    });
    cause();
    nos::kernel::crash::install();
    core::mem::take(&mut *REPORT.lock())
}

static EXHAUSTED_AT: AtomicU64 = AtomicU64::new(0);
static FIRST_FRAME: AtomicPtr<Frame> = AtomicPtr::new(core::ptr::null_mut());

/// Calls itself until the exception stack is used up; in the exception of that, goes on behind the first.
fn exhaust(frame: &mut Frame, vector: Vector, _: u64, far: u64) {
    if vector == Vector::Nested {
        EXHAUSTED_AT.store(far, Relaxed);
        // SAFETY: the copy that the first call leaked.
        unsafe { core::ptr::copy_nonoverlapping(FIRST_FRAME.load(Relaxed), frame, 1) };
        frame.elr += 4;
        return;
    }
    let copy = Box::leak(Box::new(MaybeUninit::<Frame>::uninit())).as_mut_ptr();
    // SAFETY: a frame is plain words, and the copy is of its size.
    unsafe { core::ptr::copy_nonoverlapping(frame, copy, 1) };
    FIRST_FRAME.store(copy, Relaxed);
    core::hint::black_box(endless(0));
}

fn endless(depth: u64) -> u64 {
    if core::hint::black_box(depth) == u64::MAX {
        return 0;
    }
    endless(depth + 1) + core::hint::black_box(depth)
}
