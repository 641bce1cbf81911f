//! The stack switch: a fiber's saved context, how it begins, and how one fiber gives the CPU to another.
//!
//! A switch is a call like any other: the compiler keeps nothing over it but what AAPCS64 says a callee saves
//! (x19 to x30, the stack pointer, d8 to d15), and that is all that is stored, on the stack of the fiber that
//! gives the CPU away. A fiber that an interrupt preempts has its whole frame moved to its own stack first
//! ([`super::exceptions::Frame::divert`]), so to the switch it is like any other.
//!
//! Every switch runs with interrupts masked; whoever is resumed unmasks them.
//!
//! Source: AAPCS64, 6.1.

use super::cpu_block::Stack;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that a switch leaves on the stack.
const SAVED_BYTES: usize = 160;
/// Offset of x19 among them: where [`Context::prepare`] puts what the fiber calls first.
const X19: usize = 16;
/// Offset of x30.
const X30: usize = 8;

/// A fiber's stack, and while it does not run its stack pointer.
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    sp: AtomicUsize,
    stack: Stack,
}

const _: () = assert!(offset_of!(Context, sp) == 0, "the switch reads it there");

unsafe extern "C" {
    fn switch_stacks(from: &Context, to: &Context);
    fn fiber_begin();
    fn run_on_stack(top: usize, function: extern "C" fn() -> !) -> !;
}

impl Context {
    /// A context on `stack`, which cannot be switched to before it is prepared.
    pub const fn new(stack: Stack) -> Self {
        Self {
            sp: AtomicUsize::new(0),
            stack,
        }
    }

    /// Its stack.
    pub fn stack(&self) -> Stack {
        self.stack
    }

    /// Lets the next switch to it call `function` on an empty stack, with interrupts unmasked. What was on the
    /// stack is forgotten.
    ///
    /// # Safety
    /// The stack must be mapped and used by nothing else; nothing that lies on it may be used again.
    pub unsafe fn prepare(&self, function: extern "C" fn() -> !) {
        let sp = self.stack.range().end - SAVED_BYTES;
        let saved = sp as *mut usize;
        let set = |offset: usize, value: usize| {
            // SAFETY: inside the topmost bytes of the stack, which our caller promises is ours.
            unsafe { saved.byte_add(offset).write(value) };
        };
        (0..SAVED_BYTES)
            .step_by(size_of::<usize>())
            .for_each(|offset| set(offset, 0));
        set(X19, function as *const () as usize);
        set(X30, fiber_begin as *const () as usize);
        self.sp.store(sp, Relaxed);
    }
}

/// Gives the CPU from the running `from` to `to`; returns when `from` is switched to again.
///
/// # Safety
/// Interrupts are masked. `from` is what runs (or something that never runs again), and `to` was prepared or
/// switched away from, on this CPU, and does not run.
#[inline]
pub unsafe fn switch(from: &'static Context, to: &'static Context) {
    // SAFETY: our caller promises that `to` has a saved stack pointer that is valid; the assembly below keeps
    // what a callee must.
    unsafe { switch_stacks(from, to) };
}

/// Forgets the stack this runs on and calls `function` on `stack`, from its top.
///
/// # Safety
/// Interrupts are masked. Nothing on either stack may be used again.
pub unsafe fn run_on(stack: Stack, function: extern "C" fn() -> !) -> ! {
    // SAFETY: our caller promises that the stack is free to be used from its top.
    unsafe { run_on_stack(stack.range().end, function) }
}

global_asm!(
    r#"
    .pushsection .text.fiber, "ax"
    .balign 64
    .global switch_stacks
switch_stacks:
    stp     x29, x30, [sp, #-{saved}]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    mov     x2, sp
    str     x2, [x0]
    ldr     x2, [x1]
    mov     sp, x2
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    ldp     x29, x30, [sp], #{saved}
    ret

    .global fiber_begin
fiber_begin:
    mov     x29, xzr                    // a backtrace ends here
    mov     x30, xzr
    msr     daifclr, #2
    blr     x19
    brk     #0                          // it does not return

    .global run_on_stack
run_on_stack:
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    br      x1
    .popsection
"#,
    saved = const SAVED_BYTES,
);
