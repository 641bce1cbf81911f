//! What each CPU knows of itself: its number, its stacks and what runs on it, found by TPIDR_EL1.
//!
//! The boot CPU's block is a static that the entry code names; the others' are made by whoever starts them
//! ([`super::secondary`]). A block is never freed. The exception vectors and the entry of secondary CPUs
//! read it by fixed offsets.

use super::fiber::Context;
use super::{cpu, timer};
use core::arch::asm;
use core::mem::offset_of;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{self, Relaxed},
};

/// Bytes of the unmapped page below each stack.
pub const GUARD_BYTES: usize = 4096;

unsafe extern "C" {
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __fault_stack_bottom: u8;
    static __fault_stack_top: u8;
}

/// A stack, from its lowest byte to one past its highest; the page below it is not mapped.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stack {
    bottom: *const u8,
    top: *const u8,
}

/// One CPU's block.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct CpuBlock {
    stack: Stack,
    fault_stack: Stack,
    /// TTBR0_EL1: only a secondary CPU's entry code reads it.
    root: u64,
    /// Preemption guards held by what runs here. Only this CPU uses it, as all up to `attachment`.
    pub(super) guards: AtomicU32,
    /// Something of higher rank became ready while guards were held.
    pub(super) switch_pending: AtomicBool,
    /// The account that memory is charged to: that of the fiber that runs; 0 is the kernel's.
    owner: AtomicU8,
    /// The fiber that runs; null if none does.
    fiber: AtomicPtr<Context>,
    /// What the scheduler keeps of this CPU; null before there is one.
    attachment: AtomicPtr<()>,
    /// Where a secondary CPU goes once it is set up.
    main: fn() -> !,
    number: usize,
    affinity: u64,
    /// Ticks when it was ready; 0 before.
    ready_at: AtomicU64,
}

/// Offsets that assembly uses.
pub(super) const STACK_TOP: usize = offset_of!(CpuBlock, stack) + offset_of!(Stack, top);
pub(super) const FAULT_STACK_BOTTOM: usize =
    offset_of!(CpuBlock, fault_stack) + offset_of!(Stack, bottom);
pub(super) const FAULT_STACK_TOP: usize =
    offset_of!(CpuBlock, fault_stack) + offset_of!(Stack, top);
pub(super) const ROOT: usize = offset_of!(CpuBlock, root);

// SAFETY: the pointers are addresses to compare with; nothing is reached through them.
unsafe impl Sync for Stack {}
// SAFETY: as above.
unsafe impl Send for Stack {}

/// The boot CPU's: it is ready as soon as anybody can ask.
pub(super) static BOOT_CPU: CpuBlock = CpuBlock {
    stack: Stack {
        bottom: &raw const __stack_bottom,
        top: &raw const __stack_top,
    },
    fault_stack: Stack {
        bottom: &raw const __fault_stack_bottom,
        top: &raw const __fault_stack_top,
    },
    root: 0,
    guards: AtomicU32::new(0),
    switch_pending: AtomicBool::new(false),
    owner: AtomicU8::new(0),
    fiber: AtomicPtr::new(ptr::null_mut()),
    attachment: AtomicPtr::new(ptr::null_mut()),
    main: cpu::halt,
    number: 0,
    affinity: 0,
    ready_at: AtomicU64::new(1),
};

impl Stack {
    /// The stack in `range`.
    pub fn new(range: Range<usize>) -> Self {
        Self {
            bottom: ptr::without_provenance(range.start),
            top: ptr::without_provenance(range.end),
        }
    }

    /// Its bytes.
    pub fn range(&self) -> Range<usize> {
        self.bottom.addr()..self.top.addr()
    }

    /// Bytes left on it below the caller's frame.
    #[inline(always)]
    pub fn left(&self) -> usize {
        let sp: usize;
        // SAFETY: only reads a register.
        unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
        sp.saturating_sub(self.bottom.addr())
    }

    /// The unmapped page below it.
    pub fn guard(&self) -> Range<usize> {
        self.bottom.addr() - GUARD_BYTES..self.bottom.addr()
    }
}

impl CpuBlock {
    /// The block of a CPU that is to be started and to go to `main`: its number from 1 on, its affinity,
    /// its stacks, the translation tables it is to use.
    pub fn new(
        number: usize,
        affinity: u64,
        [stack, fault_stack]: [Stack; 2],
        root: u64,
        main: fn() -> !,
    ) -> Self {
        Self {
            stack,
            fault_stack,
            root,
            guards: AtomicU32::new(0),
            switch_pending: AtomicBool::new(false),
            owner: AtomicU8::new(0),
            fiber: AtomicPtr::new(ptr::null_mut()),
            attachment: AtomicPtr::new(ptr::null_mut()),
            main,
            number,
            affinity,
            ready_at: AtomicU64::new(0),
        }
    }

    /// That of the CPU this runs on.
    #[inline]
    pub fn current() -> &'static Self {
        let block: *const Self;
        // SAFETY: only reads a register. Pure: what runs stays on its CPU, so it may be read once for several uses.
        unsafe {
            asm!("mrs {}, tpidr_el1", out(reg) block, options(pure, nomem, nostack, preserves_flags))
        };
        // SAFETY: the entry code of each CPU puts the address of its block there before any Rust runs, and
        // blocks are never freed.
        unsafe { &*block }
    }

    /// The CPU's number: 0 for the boot CPU.
    #[inline]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its affinity; not known of the boot CPU.
    pub fn affinity(&self) -> u64 {
        self.affinity
    }

    /// The stack of ordinary code and that of exceptions.
    pub fn stacks(&self) -> [Stack; 2] {
        [self.stack, self.fault_stack]
    }

    /// Where it goes once it is set up.
    pub(super) fn main(&self) -> fn() -> ! {
        self.main
    }

    /// The account that memory is charged to: 0, the kernel's, where no fiber runs.
    #[inline]
    pub fn owner(&self) -> u8 {
        // Relaxed: only the CPU itself writes it, when it switches from one fiber to another.
        self.owner.load(Relaxed)
    }

    /// The fiber that runs on this CPU, asked by that CPU.
    #[inline]
    pub fn fiber(&self) -> Option<&'static Context> {
        // SAFETY: null or what `set_fiber` was given, which lives for ever.
        unsafe { self.fiber.load(Relaxed).as_ref() }
    }

    /// Notes which fiber runs now, or none, and the account that memory is charged to.
    #[inline]
    pub fn set_fiber(&self, fiber: Option<&'static Context>, owner: u8) {
        let fiber = fiber.map_or(ptr::null_mut(), |fiber| ptr::from_ref(fiber).cast_mut());
        self.fiber.store(fiber, Relaxed);
        self.owner.store(owner, Relaxed);
    }

    /// What the scheduler keeps of this CPU; null before there is one.
    #[inline]
    pub fn attachment(&self) -> *const () {
        // Acquire: pairs with the Release in `attach`.
        self.attachment.load(Ordering::Acquire)
    }

    /// Sets what the scheduler keeps of this CPU, before the CPU asks for it.
    pub fn attach(&self, attachment: *const ()) {
        // Release: pairs with the Acquire in `attachment`.
        self.attachment
            .store(attachment.cast_mut(), Ordering::Release);
    }

    /// True if `address` lies in the unmapped page below a stack that this CPU uses.
    pub fn is_guard(&self, address: usize) -> bool {
        self.stacks_in_use()
            .any(|stack| stack.guard().contains(&address))
    }

    /// Its own stacks and that of the fiber that runs.
    pub fn stacks_in_use(&self) -> impl Iterator<Item = Stack> {
        let of_fiber = self.fiber().map(Context::stack);
        self.stacks().into_iter().chain(of_fiber)
    }

    /// Ticks of the counter when the CPU was ready for work; none if it never was.
    pub fn ready_at(&self) -> Option<u64> {
        // Acquire: pairs with the Release in `set_ready`.
        Some(self.ready_at.load(Ordering::Acquire)).filter(|&ticks| ticks != 0)
    }

    /// Notes that the CPU is ready for work.
    pub(super) fn set_ready(&self) {
        // Release: pairs with the Acquire in `ready_at`.
        self.ready_at
            .store(timer::ticks().max(1), Ordering::Release);
    }
}
