//! The first instructions: from the loader's hand-over to Rust.
//!
//! Entered with the MMU off, at EL2 or EL1, at any 2 MiB-aligned address, with the device tree in x0
//! (arm64 Linux `Image` protocol) or with x0 = 0 (ELF; the tree then lies at the start of the image's
//! 1 GiB, where QEMU's virt has its RAM). Drops to EL1, maps the image, the tree and the emergency
//! console with temporary tables, turns MMU and caches on, and only then relocates the image and clears
//! bss: with the MMU off it writes nothing but those tables, and no atomic runs before caches are on.
//!
//! Source: Documentation/arch/arm64/booting.rst of Linux; Arm ARM D8 for the tables.

use super::cpu_block::BOOT_CPU;
use core::arch::global_asm;

/// Where the built-in emergency console is: the PL011 of QEMU's virt. The boot tables map its 2 MiB.
pub const EMERGENCY_CONSOLE: usize = 0x0900_0000;

/// SCTLR_EL1 once the MMU is on: RES1, M, C, I, SA, SA0; no alignment checks.
pub(super) const SYSTEM_CONTROL: u32 = 0x30d0_181d;
/// SCTLR_EL1.WXN, for the final tables: the boot tables map the image writable and executable.
pub(super) const WRITABLE_NEVER_EXECUTED: u32 = 1 << 19;

/// What the entry code tells the kernel.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BootInfo {
    /// Physical address of the device tree as handed over; not looked at yet.
    pub device_tree: usize,
    /// Ticks of the virtual counter at entry.
    pub entry_ticks: u64,
}

/// Borders of the image in memory, page-aligned, as the linker script laid them.
#[derive(Clone, Copy, Debug)]
pub struct ImageLayout {
    /// Where the linker put the first byte: the addresses in the symbol table count from there.
    pub linked_at: usize,
    /// First byte; text begins here.
    pub start: usize,
    /// Text ends, constants begin.
    pub text_end: usize,
    /// Constants end, data begins.
    pub constants_end: usize,
    /// One past the last byte, stacks included.
    pub end: usize,
    /// The unmapped page below the main stack.
    pub stack_guard: usize,
    /// The unmapped page below the exception stack.
    pub fault_stack_guard: usize,
}

unsafe extern "C" {
    /// LINK_BASE of the linker script, written by the entry code.
    static link_base: usize;
    static __image_start: u8;
    static __text_end: u8;
    #[cfg(feature = "symbols")]
    static __identity_end: u8;
    static __symbols_start: u8;
    static __symbols_end: u8;
    static __constants_end: u8;
    static __image_end: u8;
    static __stack_guard: u8;
    static __fault_stack_guard: u8;
}

impl ImageLayout {
    /// The layout of the running image.
    pub fn current() -> Self {
        let at = |symbol: *const u8| symbol as usize;
        Self {
            // SAFETY: a constant of the entry code's, in its text.
            linked_at: unsafe { link_base },
            start: at(&raw const __image_start),
            text_end: at(&raw const __text_end),
            constants_end: at(&raw const __constants_end),
            end: at(&raw const __image_end),
            stack_guard: at(&raw const __stack_guard),
            fault_stack_guard: at(&raw const __fault_stack_guard),
        }
    }

    /// What the linker knows the image by (a hash of all of it): the end of its note.
    #[cfg(feature = "symbols")]
    pub fn identity() -> [u8; 8] {
        // SAFETY: the linker script puts the mark behind a note of more bytes than that (it asserts so), among the image's
        // constants.
        unsafe { (&raw const __identity_end).sub(8).cast::<[u8; 8]>().read() }
    }

    /// The room that the linker left for the names of functions.
    #[cfg(feature = "symbols")]
    pub fn symbols() -> &'static [u8] {
        let (start, end) = (&raw const __symbols_start, &raw const __symbols_end);
        // SAFETY: the linker script puts both around bytes of the image's constants, which are mapped, never
        // written, and stay as long as the image.
        unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
    }
}

global_asm!(
    r#"
    .equ TABLE_BYTES, 4096
    .equ TABLES, 7                      // a root and up to six second-level tables
    .equ NORMAL, 0xf01                  // block, AF, inner shareable, not global, attribute 0
    .equ DEVICE, 0xc05                  // block, AF, not global, attribute 1 (and XN below)

    .pushsection .boot_tables, "aw", @nobits
    .balign 4096
boot_tables:
    .space TABLE_BYTES * TABLES
    .popsection

    .pushsection .head, "ax"
    .global _start
_start:
    b       primary_entry               // code0
    nop                                 // code1
    .quad   0                           // text_offset
    .quad   __image_bytes               // image_size
    .quad   0b1010                      // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0
    .popsection

    .pushsection .text.boot, "ax"
primary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    adrp    x20, __image_start          // where we run
    cbnz    x19, 1f
    and     x19, x20, #~0x3fffffff      // ELF: the tree lies at the start of RAM
1:  bl      drop_to_el1
    mrs     x18, cntvct_el0             // with the offset that EL1 sees from now on
    // The target uses FP registers everywhere: no trap.
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    isb

    // Temporary tables. x21 root, x22 next free table, x23 end of the tables.
    adrp    x21, boot_tables
    add     x22, x21, #TABLE_BYTES
    mov     x0, #(TABLE_BYTES * TABLES)
    add     x23, x21, x0
    mov     x0, x21
2:  stp     xzr, xzr, [x0], #16
    cmp     x0, x23
    b.lo    2b
    // The emergency console.
    mov     x0, #{console}
    mov     x6, #DEVICE
    movk    x6, #0x60, lsl #48          // PXN and UXN
    bl      map_block
    // The device tree: at most 2 MiB, anywhere.
    mov     x6, #NORMAL
    mov     x0, x19
    bl      map_block
    add     x0, x19, #0x200000
    bl      map_block
    // The image.
    mov     x24, x20
    adrp    x25, __image_end
3:  mov     x0, x24
    bl      map_block
    add     x24, x24, #0x200000
    cmp     x24, x25
    b.lo    3b
    // What was written with the MMU off must not be hidden by stale lines.
    dmb     sy
    mrs     x1, ctr_el0
    ubfx    x1, x1, #16, #4
    mov     x2, #4
    lsl     x2, x2, x1                  // bytes of the shortest line
    mov     x0, x21
4:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x23
    b.lo    4b
    dsb     sy

    mov     x0, x21
    ldr     x1, ={system_control}
    bl      enable_mmu

    // Relocate: RELR, relative to where the image was linked.
    ldr     x1, link_base
    subs    x2, x20, x1                 // x2: distance
    b.eq    8f
    adrp    x0, __relr_start
    add     x0, x0, :lo12:__relr_start
    adrp    x1, __relr_end
    add     x1, x1, :lo12:__relr_end
5:  cmp     x0, x1
    b.hs    8f
    ldr     x3, [x0], #8
    tbnz    x3, #0, 6f
    add     x4, x3, x2                  // an address: relocate it, the bitmap follows it
    ldr     x5, [x4]
    add     x5, x5, x2
    str     x5, [x4], #8
    b       5b
6:  mov     x6, x4                      // a bitmap over the next 63 words
    add     x4, x4, #(63 * 8)
7:  lsr     x3, x3, #1
    cbz     x3, 5b
    tbz     x3, #0, 9f
    ldr     x5, [x6]
    add     x5, x5, x2
    str     x5, [x6]
9:  add     x6, x6, #8
    b       7b

    // Clear bss.
8:  adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
10: cmp     x0, x1
    b.hs    11f
    stp     xzr, xzr, [x0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    add     x0, x0, #64
    b       10b

    // Stacks: exceptions on SP_EL1, everything else on SP_EL0.
11: adrp    x0, __fault_stack_top
    add     x0, x0, :lo12:__fault_stack_top
    msr     spsel, #1
    mov     sp, x0
    msr     spsel, #0
    adrp    x0, __stack_top
    add     x0, x0, :lo12:__stack_top
    mov     sp, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    adrp    x0, {boot_cpu}
    add     x0, x0, :lo12:{boot_cpu}
    msr     tpidr_el1, x0
    isb
    mov     x29, xzr
    mov     x30, xzr
    stp     x19, x18, [sp, #-16]!       // BootInfo
    mov     x0, sp
    bl      nos_main
    b       .

    .balign 8
    .global link_base
link_base:
    .quad   LINK_BASE
    .ltorg

// Maps the 2 MiB block that holds x0 with attributes x6. Clobbers x1-x4.
map_block:
    lsr     x1, x0, #30
    cmp     x1, #(TABLE_BYTES / 8)
    b.hs    2f                          // beyond what the root reaches: as below
    ldr     x2, [x21, x1, lsl #3]
    cbnz    x2, 1f
    cmp     x22, x23
    b.hs    2f                          // no table left: the access will fault and be reported
    orr     x2, x22, #3
    str     x2, [x21, x1, lsl #3]
    add     x22, x22, #TABLE_BYTES
1:  and     x2, x2, #~0xfff
    ubfx    x3, x0, #21, #9
    and     x4, x0, #~0x1fffff
    orr     x4, x4, x6
    str     x4, [x2, x3, lsl #3]
2:  ret

// Turns MMU and caches on with the root table in x0 and SCTLR_EL1 from x1. Clobbers x2, x3.
    .global enable_mmu
enable_mmu:
    ldr     x2, =0x4404ff               // attributes: 0 normal write-back, 1 device nGnRE, 2 non-cached
    msr     mair_el1, x2
    // 39-bit addresses, 4 KiB granule, write-back inner-shareable walks, no TTBR1 walks.
    ldr     x2, =0x803519
    mrs     x3, id_aa64mmfr0_el1
    and     x3, x3, #0xf
    cmp     x3, #5
    b.ls    1f
    mov     x3, #5                      // 48 bits: what a 4 KiB granule takes without LPA2
1:  orr     x2, x2, x3, lsl #32
    msr     tcr_el1, x2
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x1
    isb
    ret
    .ltorg

// At EL2: sets up EL1 as a guest would find it and goes there. At EL1: returns. Clobbers x0, x1.
    .global drop_to_el1
drop_to_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    1f
    ldr     x0, =0x30d00800             // MMU and caches off, RES1
    msr     sctlr_el1, x0
    isb
    ret
1:  mov     x0, #(1 << 31)              // EL1 is AArch64; nothing is trapped
    msr     hcr_el2, x0
    isb
    mrs     x0, cnthctl_el2
    orr     x0, x0, #3                  // EL1 may use the physical counter and timer
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff                 // no FP traps
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, id_aa64dfr0_el1
    ubfx    x0, x0, #8, #4              // PMU version
    cbz     x0, 2f
    cmp     x0, #0xf
    b.eq    2f
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5             // all counters to EL1
    msr     mdcr_el2, x0
2:  mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4             // GIC system registers
    cbz     x0, 3f
    mrs     x0, S3_4_C12_C9_5           // ICC_SRE_EL2
    orr     x0, x0, #1                  // SRE
    orr     x0, x0, #8                  // Enable: EL1 may use them
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
3:  ldr     x0, =0x30d00800
    msr     sctlr_el1, x0
    mov     x0, #0x3c5                  // EL1h, DAIF masked
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret
    .ltorg
    .popsection
"#,
    console = const EMERGENCY_CONSOLE,
    boot_cpu = sym BOOT_CPU,
    system_control = const SYSTEM_CONTROL,
);
