//! Exception vectors: interrupts and everything else go to the handlers installed for them.
//!
//! Ordinary code runs on SP_EL0; every exception switches to SP_EL1, a stack of its own, so that an
//! overflown stack can still be reported. All registers, floating point included, are saved: the
//! compiler uses NEON anywhere. An exception inside a handler (current EL with SP_ELx) is fatal, and reported
//! even where the exception stack itself ran out.
//!
//! Source: Arm ARM D1.10 (vectors), D24.2.40 (ESR_ELx).

use super::cpu;
use super::cpu_block::{FAULT_STACK_BOTTOM, FAULT_STACK_TOP, Stack};
use aarch64_cpu::registers::{ESR_EL1, FAR_EL1, Readable};
use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Everything an exception interrupted, as the vectors store it.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer of the interrupted code.
    pub sp: u64,
    /// Where it was.
    pub elr: u64,
    /// Its processor state.
    pub spsr: u64,
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
    /// q0 to q31.
    pub q: [u128; 32],
}

/// SPSR_EL1: IRQ masked.
const INTERRUPTS_MASKED: u64 = 1 << 7;
/// SPSR_EL1: the condition flags.
const CONDITIONS: u64 = 0b1111 << 28;

const _: () = assert!(
    core::mem::size_of::<Frame>() == 800,
    "the vectors below lay it out"
);

unsafe extern "C" {
    fn resume_diverted();
}

impl Frame {
    /// True if the interrupted code had interrupts masked.
    pub fn had_interrupts_masked(&self) -> bool {
        self.spsr & INTERRUPTS_MASKED != 0
    }

    /// Has the CPU call `function`, with interrupts masked and on the interrupted code's own stack, before it
    /// goes on where it was. Answers false, and changes nothing, if the stack has no room for this frame and
    /// `spare_bytes` more.
    #[must_use]
    pub fn divert(&mut self, stack: Stack, spare_bytes: usize, function: extern "C" fn()) -> bool {
        let sp = self.sp as usize;
        let needed = size_of::<Self>() + spare_bytes;
        let has_room = stack.range().contains(&(sp - 1)) && sp - stack.range().start >= needed;
        if !has_room || !sp.is_multiple_of(16) {
            return false;
        }
        let below = sp - size_of::<Self>();
        // SAFETY: the frame's place lies below the interrupted code's stack pointer and above the lowest byte
        // of its stack, as just checked: memory that only that code uses, and that it does not use now.
        unsafe { core::ptr::copy_nonoverlapping(self, below as *mut Self, 1) };
        self.sp = below as u64;
        self.x[19] = function as *const () as u64;
        self.go_to(resume_diverted as *const () as u64);
        true
    }

    /// Has the CPU abandon what was interrupted and call `function` on `stack` instead, with interrupts masked.
    pub fn abandon_for(&mut self, stack: Stack, function: extern "C" fn() -> !) {
        self.sp = stack.range().end as u64;
        (self.x[29], self.x[30]) = (0, 0);
        self.go_to(function as *const () as u64);
    }

    fn go_to(&mut self, address: u64) {
        self.elr = address;
        self.spsr = self.spsr & !CONDITIONS | INTERRUPTS_MASKED;
    }
}

/// Which of the vectors was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vector {
    /// A synchronous exception: abort, undefined instruction, SVC, …
    Synchronous,
    /// A system error.
    SystemError,
    /// An FIQ, which nothing here uses.
    Fiq,
    /// Any exception while another one was being handled.
    Nested,
    /// An exception from a lower level, which nothing here runs.
    LowerLevel,
}

/// An unexpected exception, ready to be printed.
#[derive(Debug)]
pub struct Report<'a> {
    /// Which vector.
    pub vector: Vector,
    /// The exception syndrome.
    pub esr: u64,
    /// The faulting address, where the syndrome has one.
    pub far: u64,
    /// The registers.
    pub frame: &'a Frame,
}

/// Handles an interrupt: acknowledges, serves and ends it. It may change what the frame resumes.
pub type InterruptHandler = fn(&mut Frame);
/// Ends the image, or this test, after an unexpected exception.
pub type FaultHandler = fn(&mut Frame, Vector, u64, u64);

// The vectors enter without arguments: where they go has to be global.
static INTERRUPT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static FAULT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Installs what serves interrupts. Until then an interrupt is a fault.
pub fn set_interrupt_handler(handler: InterruptHandler) {
    // Release: pairs with the Acquire in `interrupt_entry`.
    INTERRUPT.store(handler as *mut (), Ordering::Release);
}

/// Installs what an unexpected exception ends in. It may return to resume at the frame's `elr`.
pub fn set_fault_handler(handler: FaultHandler) {
    // Release: pairs with the Acquire in `fault_entry`.
    FAULT.store(handler as *mut (), Ordering::Release);
}

extern "C" fn interrupt_entry(frame: &mut Frame) {
    // Acquire: pairs with the Release in `set_interrupt_handler`.
    let handler = INTERRUPT.load(Ordering::Acquire);
    if handler.is_null() {
        fault_entry(frame, 1);
        return;
    }
    // SAFETY: the only non-null value ever stored is an `InterruptHandler`.
    let handler: InterruptHandler = unsafe { core::mem::transmute(handler) };
    handler(frame);
}

extern "C" fn fault_entry(frame: &mut Frame, vector: u64) {
    let vector = match vector {
        0 => Vector::Synchronous,
        2 => Vector::Fiq,
        3 => Vector::SystemError,
        4 => Vector::Nested,
        _ => Vector::LowerLevel,
    };
    let (esr, far) = (ESR_EL1.get(), FAR_EL1.get());
    // Acquire: pairs with the Release in `set_fault_handler`.
    let handler = FAULT.load(Ordering::Acquire);
    if handler.is_null() {
        cpu::halt();
    }
    // SAFETY: the only non-null value ever stored is a `FaultHandler`.
    let handler: FaultHandler = unsafe { core::mem::transmute(handler) };
    handler(frame, vector, esr, far);
}

/// What the CPU says of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syndrome {
    /// The exception syndrome.
    pub esr: u64,
    /// The faulting address, where the syndrome has one.
    pub far: u64,
}

/// The exception class that a syndrome tells, in words.
fn class_of(esr: u64) -> &'static str {
    match (esr >> 26) & 0x3f {
        0x00 => "undefined instruction",
        0x01 => "trapped WFI or WFE",
        0x07 => "trapped floating point",
        0x0d => "branch target",
        0x0e => "illegal execution state",
        0x15 => "SVC",
        0x16 => "HVC",
        0x17 => "SMC",
        0x18 => "trapped system register",
        0x19 => "trapped SVE",
        0x1c => "pointer authentication",
        0x20 | 0x21 => "instruction abort",
        0x22 => "misaligned PC",
        0x24 | 0x25 => "data abort",
        0x26 => "misaligned SP",
        0x2c => "floating point",
        0x2f => "system error",
        0x30..=0x35 => "debug",
        0x3c => "BRK",
        _ => "unknown class",
    }
}

impl Syndrome {
    /// For an abort, what kind and at which level; otherwise nothing.
    pub fn fault(&self) -> Option<(&'static str, u8)> {
        if !matches!((self.esr >> 26) & 0x3f, 0x20 | 0x21 | 0x24 | 0x25) {
            return None;
        }
        let kind = match (self.esr & 0x3f) >> 2 {
            0b0000 => "address size",
            0b0001 => "translation",
            0b0010 => "access flag",
            0b0011 => "permission",
            0b0100 => "external",
            0b1000 if self.esr & 0x3f == 0x21 => "alignment",
            _ => "other",
        };
        Some((kind, (self.esr & 3) as u8))
    }

    /// True if the abort was by a write.
    pub fn is_write(&self) -> bool {
        matches!((self.esr >> 26) & 0x3f, 0x24 | 0x25) && self.esr & (1 << 6) != 0
    }
}

/// In words and as it is, in one line.
impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(class_of(self.esr))?;
        if let Some((kind, level)) = self.fault() {
            let access = match self.esr >> 26 & 0x3f {
                0x20 | 0x21 => "an instruction fetch",
                _ if self.is_write() => "a write",
                _ => "a read",
            };
            write!(
                f,
                ", {kind} fault at level {level} by {access} at {:#x}",
                self.far
            )?;
        }
        write!(f, ", esr {:#x}", self.esr)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (esr, far) = (self.esr, self.far);
        writeln!(f, "{:?} exception: {}", self.vector, Syndrome { esr, far })?;
        for (i, value) in self.frame.x.iter().enumerate() {
            let end = if i % 4 == 3 { "\n" } else { "  " };
            write!(f, "  x{i:<2} {value:016x}{end}")?;
        }
        write!(
            f,
            "  sp  {:016x}\n  pc  {:016x}    spsr {:016x}",
            self.frame.sp, self.frame.elr, self.frame.spsr
        )
    }
}

global_asm!(
    r#"
    // Finishes what the vector began: x0 and x1 are saved, x1 holds the vector's number.
    .macro  save
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x19, [sp, #16 * 9]
    stp     x20, x21, [sp, #16 * 10]
    stp     x22, x23, [sp, #16 * 11]
    stp     x24, x25, [sp, #16 * 12]
    stp     x26, x27, [sp, #16 * 13]
    stp     x28, x29, [sp, #16 * 14]
    mrs     x2, sp_el0
    stp     x30, x2, [sp, #16 * 15]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp, #16 * 16]
    mrs     x2, fpcr
    mrs     x3, fpsr
    stp     x2, x3, [sp, #16 * 17]
    stp     q0, q1, [sp, #16 * 18]
    stp     q2, q3, [sp, #16 * 20]
    stp     q4, q5, [sp, #16 * 22]
    stp     q6, q7, [sp, #16 * 24]
    stp     q8, q9, [sp, #16 * 26]
    stp     q10, q11, [sp, #16 * 28]
    stp     q12, q13, [sp, #16 * 30]
    stp     q14, q15, [sp, #16 * 32]
    stp     q16, q17, [sp, #16 * 34]
    stp     q18, q19, [sp, #16 * 36]
    stp     q20, q21, [sp, #16 * 38]
    stp     q22, q23, [sp, #16 * 40]
    stp     q24, q25, [sp, #16 * 42]
    stp     q26, q27, [sp, #16 * 44]
    stp     q28, q29, [sp, #16 * 46]
    stp     q30, q31, [sp, #16 * 48]
    mov     x0, sp
    .endm

    // What is undone of `save` first: all but general registers and the stack pointer.
    .macro  restore_state
    ldp     x1, x2, [sp, #16 * 16]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldp     x1, x2, [sp, #16 * 17]
    msr     fpcr, x1
    msr     fpsr, x2
    ldp     q0, q1, [sp, #16 * 18]
    ldp     q2, q3, [sp, #16 * 20]
    ldp     q4, q5, [sp, #16 * 22]
    ldp     q6, q7, [sp, #16 * 24]
    ldp     q8, q9, [sp, #16 * 26]
    ldp     q10, q11, [sp, #16 * 28]
    ldp     q12, q13, [sp, #16 * 30]
    ldp     q14, q15, [sp, #16 * 32]
    ldp     q16, q17, [sp, #16 * 34]
    ldp     q18, q19, [sp, #16 * 36]
    ldp     q20, q21, [sp, #16 * 38]
    ldp     q22, q23, [sp, #16 * 40]
    ldp     q24, q25, [sp, #16 * 42]
    ldp     q26, q27, [sp, #16 * 44]
    ldp     q28, q29, [sp, #16 * 46]
    ldp     q30, q31, [sp, #16 * 48]
    .endm

    // The rest of it: all but x30 and the stack pointer of the interrupted code.
    .macro  restore_registers
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x18, x19, [sp, #16 * 9]
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x28, x29, [sp, #16 * 14]
    ldp     x0, x1, [sp]
    add     sp, sp, #800
    .endm

    // A vector has room for 32 instructions: it takes its number along and jumps to the full save.
    .macro  vector, target, number
    .balign 0x80
    sub     sp, sp, #800
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       \target
    .endm

    // Inside a handler, the stack may be what ran out: then this starts again at its top, over the dead
    // handler's frames. TPIDR_EL0, which nothing else uses, keeps x0.
    .macro  nested_vector
    .balign 0x80
    msr     tpidr_el0, x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{fault_stack_bottom}]
    sub     sp, sp, #800
    cmp     sp, x0
    b.hs    1f
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{fault_stack_top}]
    sub     sp, x0, #800
1:  mrs     x0, tpidr_el0
    stp     x0, x1, [sp]
    mov     x1, #4
    b       take_fault
    .endm

    .pushsection .text.vectors, "ax"
    .balign 0x800
    .global vectors
vectors:
    vector  take_fault, 0               // current EL, SP_EL0: where ordinary code runs
    vector  take_interrupt, 1
    vector  take_fault, 2
    vector  take_fault, 3
    nested_vector                       // current EL, SP_EL1: inside a handler
    nested_vector
    nested_vector
    nested_vector
    vector  take_fault, 5               // lower EL: nothing runs there
    vector  take_fault, 5
    vector  take_fault, 5
    vector  take_fault, 5
    vector  take_fault, 5
    vector  take_fault, 5
    vector  take_fault, 5
    vector  take_fault, 5

take_interrupt:
    save
    bl      {interrupt_entry}
    b       resume

take_fault:
    save
    bl      {fault_entry}

resume:
    restore_state
    ldp     x30, x0, [sp, #16 * 15]
    msr     sp_el0, x0
    restore_registers
    eret

    // Where a frame goes that `Frame::divert` moved to the stack of what it interrupted: x19 is to be called
    // there, then the frame is resumed, with interrupts masked all the while.
    .global resume_diverted
resume_diverted:
    blr     x19
    restore_state
    ldr     x30, [sp, #16 * 15]
    restore_registers                   // leaves SP where it was: the frame lay right below
    eret
    .popsection
"#,
    fault_stack_bottom = const FAULT_STACK_BOTTOM,
    fault_stack_top = const FAULT_STACK_TOP,
    interrupt_entry = sym interrupt_entry,
    fault_entry = sym fault_entry,
);
