//! Inside QEMU: every CPU of the machine is started, ready, and on stacks of its own.
#![no_std]
#![no_main]

extern crate alloc;

mod expected_exception;
mod support;

use alloc::vec::Vec;
use expected_exception::{expect_exception, write};
use nos::arch::aarch64::cpu_block::{CpuBlock, GUARD_BYTES};
use nos::arch::aarch64::{BootInfo, cpu, secondary, timer};
use nos::error::Kind;
use nos::kernel::secondary_cpus::start_all;
use spin::Once;

/// How long a CPU may take to be ready, in seconds.
const READY_SECONDS: u64 = 10;

static CPUS: Once<Vec<&'static CpuBlock>> = Once::new();

fn cpus() -> &'static [&'static CpuBlock] {
    CPUS.get().expect("the first test starts them")
}

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(
        boot,
        &[
            ("every CPU of the device tree becomes ready", |ground| {
                // SAFETY: this is the only call.
                let blocks =
                    unsafe { start_all(ground, |_| {}, cpu::halt) }.expect("there is memory");
                CPUS.call_once(|| blocks);
                assert_eq!(cpus().len(), ground.machine.cpus.len());
                let deadline = timer::ticks() + READY_SECONDS * timer::frequency();
                for block in cpus() {
                    while block.ready_at().is_none() {
                        assert!(timer::ticks() < deadline, "{block:?} is not ready");
                    }
                }
            }),
            ("CPUs are numbered from the one that booted", |ground| {
                assert_eq!(cpu::current(), 0);
                for (number, block) in cpus().iter().enumerate() {
                    assert_eq!(block.number(), number);
                    let is_known = ground.machine.cpus.contains(&block.affinity());
                    assert!(is_known || number == 0, "{block:?}");
                }
            }),
            ("no CPU shares a stack with another", |_| {
                let mut ranges: Vec<_> = cpus()
                    .iter()
                    .flat_map(|block| block.stacks())
                    .map(|stack| stack.guard().start..stack.range().end)
                    .collect();
                ranges.sort_unstable_by_key(|range| range.start);
                assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "{ranges:x?}");
            }),
            (
                "the page below each stack of each CPU is not mapped",
                |_| {
                    for stack in cpus().iter().flat_map(|block| block.stacks()) {
                        assert_eq!(stack.guard().len(), GUARD_BYTES);
                        for address in [stack.guard().start, stack.guard().end - 8] {
                            let taken = expect_exception(|| write(address));
                            assert!(taken.is_translation_fault(), "{address:#x}: {taken:?}");
                        }
                    }
                },
            ),
            ("a CPU that runs is not started again", |ground| {
                let conduit = ground.conduit.expect("virt has PSCI");
                for &block in &cpus()[1..] {
                    // SAFETY: refused, as the CPU is on.
                    let error = unsafe { secondary::start(block, conduit) }.expect_err("it is on");
                    assert_eq!(error.kind(), Kind::Firmware { code: -4 });
                }
            }),
        ],
    )
}
