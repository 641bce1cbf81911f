//! Inside QEMU: what is mapped, and with which permissions, shown by faulting on purpose.
#![no_std]
#![no_main]

extern crate alloc;

mod expected_exception;
mod support;

use core::arch::asm;
use expected_exception::{expect_exception, write};
use nos::arch::aarch64::{BootInfo, ImageLayout};
use nos::kernel::ground::Ground;
use nos::memory::frames::{Block, FrameSource, Order};

const DATA_ABORT: u64 = 0x25;
const INSTRUCTION_ABORT: u64 = 0x21;
/// Fault status: permission at some level (the low two bits are the level).
const PERMISSION: u64 = 0b001100;

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(
        boot,
        &[
            (
                "the MMU and both caches are on, and what is writable is never executed",
                |_| {
                    let control: u64;
                    // SAFETY: only reads a register.
                    unsafe { asm!("mrs {}, sctlr_el1", out(reg) control) };
                    for (what, bit) in [
                        ("MMU", 0),
                        ("data cache", 2),
                        ("instruction cache", 12),
                        ("WXN", 19),
                    ] {
                        assert!(control >> bit & 1 == 1, "{what} is off: {control:#x}");
                    }
                },
            ),
            (
                "no page of all that are mapped is both writable and executable",
                |_| {
                    let (mut executable, mut writable) = (0, 0);
                    for_each_page(&mut |address, bytes, descriptor| {
                        let is_writable = descriptor & READ_ONLY == 0;
                        let is_executable = descriptor & PXN == 0;
                        assert!(
                            !(is_writable && is_executable),
                            "{bytes:#x} bytes at {address:#x} are both: {descriptor:#x}"
                        );
                        assert!(
                            descriptor & UXN != 0 && descriptor & EL0 == 0,
                            "{address:#x} is EL0's: {descriptor:#x}"
                        );
                        executable += if is_executable { bytes } else { 0 };
                        writable += if is_writable { bytes } else { 0 };
                    });
                    let layout = ImageLayout::current();
                    assert_eq!(executable, layout.text_end - layout.start);
                    assert!(writable > 64 << 20, "{writable} of 128 MiB are writable");
                },
            ),
            ("address zero is not mapped", |_| {
                let taken = expect_exception(|| read(0));
                assert!(taken.is_translation_fault(), "{taken:?}");
                assert_eq!(taken.address, 0);
            }),
            ("text is read and executed but not written", |_| {
                let address = ImageLayout::current().start;
                read(address);
                let taken = expect_exception(|| write(address));
                assert_eq!((taken.class, taken.status & !3), (DATA_ABORT, PERMISSION));
            }),
            ("constants are neither written nor executed", |_| {
                let address = ImageLayout::current().text_end;
                read(address);
                let taken = expect_exception(|| write(address));
                assert_eq!((taken.class, taken.status & !3), (DATA_ABORT, PERMISSION));
                let taken = expect_exception(|| execute(address));
                assert_eq!(
                    (taken.class, taken.status & !3),
                    (INSTRUCTION_ABORT, PERMISSION)
                );
            }),
            ("data, stack, heap and frames are not executed", |ground| {
                static mut DATA: u64 = 1;
                let local = 1u64;
                let heap = nos_alloc_probe();
                let frame = frame(ground);
                for address in [
                    &raw const DATA as usize,
                    &raw const local as usize,
                    heap,
                    frame,
                ] {
                    let taken = expect_exception(|| execute(address & !3));
                    assert_eq!(
                        (taken.class, taken.status & !3),
                        (INSTRUCTION_ABORT, PERMISSION)
                    );
                }
            }),
            ("the device tree is not written", |ground| {
                let address = ground.machine.boot_arguments.as_ptr() as usize & !7;
                if address != 0 && !ground.machine.boot_arguments.is_empty() {
                    let taken = expect_exception(|| write(address));
                    assert_eq!((taken.class, taken.status & !3), (DATA_ABORT, PERMISSION));
                }
            }),
            ("device registers are not executed", |ground| {
                let console = ground.machine.console.expect("virt has a PL011") as usize;
                let taken = expect_exception(|| execute(console));
                assert_eq!(
                    (taken.class, taken.status & !3),
                    (INSTRUCTION_ABORT, PERMISSION)
                );
            }),
            (
                "what is asked for as zero is zero whatever it held before",
                |ground| {
                    let size: u64;
                    // SAFETY: only reads a register.
                    unsafe { asm!("mrs {}, dczid_el0", out(reg) size) };
                    assert_eq!(size >> 4, 0, "the CPU zeroes blocks by itself: {size:#x}");
                    for order in Order::all() {
                        let mut block = Block::allocate(ground.memory, order).expect("memory");
                        block.fill(0xa5);
                        let dirty = block.as_ptr() as usize;
                        drop(block);
                        let first = ground.memory.allocate_zeroed(order).expect("memory");
                        assert_eq!(first.address(), dirty, "it is the same block");
                        assert_zero(first.address(), order.bytes());
                        // SAFETY: it is zero, and used no more.
                        unsafe { ground.memory.free_zeroed(first, order) }.expect("in hand");
                        let again = ground.memory.allocate_zeroed(order).expect("memory");
                        assert_zero(again.address(), order.bytes());
                        ground.memory.free(again, order).expect("in hand");
                    }
                    for bytes in [200, 4_000, 10_000, 300_000] {
                        let mut objects = [0, 1].map(|_| zeroed_object(bytes));
                        objects.iter_mut().for_each(|object| object.fill(0xa5));
                        drop(objects);
                        assert!(zeroed_object(bytes).iter().all(|&byte| byte == 0));
                    }
                },
            ),
            (
                "all frames of RAM can be handed out, written and given back",
                |ground| {
                    let before = ground.memory.free_frames();
                    let mut blocks = 0;
                    while let Ok(mut block) = Block::allocate(ground.memory, Order::MAX) {
                        block[0] = 1;
                        let last = block.len() - 1;
                        block[last] = 2;
                        core::mem::forget(block);
                        blocks += 1;
                    }
                    assert!(blocks > 0, "{before} frames were free");
                },
            ),
        ],
    )
}

fn assert_zero(address: usize, bytes: usize) {
    // SAFETY: whoever asks holds that memory, aligned to its size.
    let words = unsafe { core::slice::from_raw_parts(address as *const u64, bytes / 8) };
    let dirty = words.iter().position(|&word| word != 0);
    assert_eq!(dirty, None, "of {bytes} bytes at {address:#x}");
}

/// An object that the heap was asked for as zeroes.
fn zeroed_object(bytes: usize) -> alloc::boxed::Box<[u8]> {
    alloc::vec![0; bytes].into_boxed_slice()
}

const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const READ_ONLY: u64 = 1 << 7;
const EL0: u64 = 1 << 6;

/// Calls `see` with the address, the bytes and the descriptor of each page and block in use, by a walk through
/// the tables as the MMU makes it: three levels for 39-bit addresses.
fn for_each_page(see: &mut dyn FnMut(usize, usize, u64)) {
    let root: usize;
    // SAFETY: only reads a register.
    unsafe { asm!("mrs {}, ttbr0_el1", out(reg) root) };
    walk(root & ADDRESS, 1, 0, see);
}

/// The address in a descriptor and in TTBR0_EL1.
const ADDRESS: usize = 0xffff_ffff_f000;

fn walk(table: usize, level: usize, base: usize, see: &mut dyn FnMut(usize, usize, u64)) {
    let bytes = 1 << (39 - 9 * level);
    for entry in 0..512 {
        // SAFETY: the tables lie in memory that is mapped where it is, and nothing changes them any more.
        let descriptor = unsafe { (table as *const u64).add(entry).read_volatile() };
        let address = base + entry * bytes;
        match (descriptor & 3, level) {
            (3, 1 | 2) => walk(descriptor as usize & ADDRESS, level + 1, address, see),
            (3, 3) | (1, 1 | 2) => see(address, bytes, descriptor),
            _ => {}
        }
    }
}

fn nos_alloc_probe() -> usize {
    alloc::boxed::Box::leak(alloc::boxed::Box::new(7u64)) as *const u64 as usize
}

fn frame(ground: &Ground) -> usize {
    let block = Block::allocate(ground.memory, Order::ZERO).expect("frames are free");
    core::mem::ManuallyDrop::new(block).as_ptr() as usize
}

fn read(address: usize) {
    // SAFETY: a load has no effect; if it faults, the handler steps over it.
    unsafe { asm!("ldr {0}, [{1}]", out(reg) _, in(reg) address) };
}

fn execute(address: usize) {
    // SAFETY: aimed at pages that refuse to be fetched; the handler returns to the link register.
    unsafe { asm!("blr {0}", in(reg) address, out("x30") _, clobber_abi("C")) };
}
