//! The preemption guard: while one is held, the CPU runs nothing else but interrupt handlers.
//!
//! Critical sections hold a guard and do not mask interrupts: handlers take no locks, so they may come at any
//! time, the watchdog's tick with them. What became ready meanwhile runs when the last guard is dropped.
//! The count lies in the CPU's block and is touched by that CPU alone; a handler leaves it as it found it, so
//! plain loads and stores are enough. A fiber holds no guard when another one runs: guards never mix.

use super::cpu;
use super::cpu_block::CpuBlock;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed, compiler_fence};
use core::sync::atomic::{Ordering::Acquire, Ordering::Release, Ordering::SeqCst};

/// Keeps other fibers from the CPU until it is dropped. Guards nest.
#[derive(Debug)]
pub struct PreemptionGuard {
    /// Stays on its CPU.
    here: PhantomData<*mut ()>,
}

// The last drop of a guard comes from anywhere: what makes up for a switch has to be global.
static SWITCH: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

impl PreemptionGuard {
    /// Holds the CPU.
    #[inline]
    pub fn new() -> Self {
        enter();
        Self { here: PhantomData }
    }
}

impl Default for PreemptionGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptionGuard {
    #[inline]
    fn drop(&mut self) {
        leave();
    }
}

/// Begins a section as [`PreemptionGuard::new`] does, for callers that cannot keep a guard; answers how many sections
/// it lies in.
#[inline]
pub fn enter() -> u32 {
    let guards = &CpuBlock::current().guards;
    let before = guards.load(Relaxed);
    guards.store(before + 1, Relaxed);
    // What follows stays behind the count; an interrupt on this CPU sees them in program order.
    compiler_fence(Acquire);
    before
}

/// Ends a section that [`enter`] began; the last one makes the switch that is pending.
#[inline]
pub fn leave() {
    leave_to(CpuBlock::current().guards.load(Relaxed) - 1);
}

/// As [`leave`], told what [`enter`] answered: whatever came in between has left the count as it found it.
#[inline]
pub fn leave_to(before: u32) {
    compiler_fence(Release);
    let block = CpuBlock::current();
    block.guards.store(before, Relaxed);
    // An interrupt after the store switches by itself; one before it has left its wish.
    compiler_fence(SeqCst);
    if before == 0 && block.switch_pending.load(Relaxed) {
        make_pending_switch();
    }
}

/// Sections begun and not ended on this CPU.
#[inline]
pub fn depth() -> u32 {
    CpuBlock::current().guards.load(Relaxed)
}

/// Forgets the sections of a fiber that died, and the switch it kept from happening.
pub fn forget() {
    let block = CpuBlock::current();
    block.guards.store(0, Relaxed);
    block.switch_pending.store(false, Relaxed);
}

/// Asks for a switch when the last guard is dropped.
#[inline]
pub fn request_switch() {
    CpuBlock::current().switch_pending.store(true, Relaxed);
}

/// True if a switch, or the end of what runs, waits for the last guard to be dropped.
#[inline]
pub fn is_switch_pending() -> bool {
    CpuBlock::current().switch_pending.load(Relaxed)
}

/// Installs what makes a pending switch; it is called with interrupts unmasked and no guard held.
pub fn set_switch(switch: fn()) {
    // Release: pairs with the Acquire in `make_pending_switch`.
    SWITCH.store(switch as *mut (), Release);
}

#[cold]
fn make_pending_switch() {
    if cpu::are_interrupts_masked() {
        // Whoever masked them looks for work when it unmasks: the scheduler, or the next interrupt.
        return;
    }
    CpuBlock::current().switch_pending.store(false, Relaxed);
    // Acquire: pairs with the Release in `set_switch`.
    let switch = SWITCH.load(Acquire);
    if !switch.is_null() {
        // SAFETY: the only non-null value ever stored is a `fn()`.
        let switch: fn() = unsafe { core::mem::transmute(switch) };
        switch();
    }
}
