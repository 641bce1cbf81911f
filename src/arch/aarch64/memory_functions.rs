//! `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp`: what the compiler calls for whole values and slices.
//!
//! They stand in place of the compiler's own (weak symbols, loops of words). Small sizes take two loads and
//! two stores that overlap in the middle, so that no size has a loop of bytes; larger ones go 64 bytes a
//! round. Every load of a small copy precedes its first store, and the long loops load both ends first, so
//! copying is right for overlapping ranges too: `memcpy` and `memmove` are one function. Large zeroing uses
//! `DC ZVA` where the CPU allows it, with the block size the CPU says.
//!
//! Limits: only with the MMU on, on normal memory (they access unaligned). The entry code calls none.
//! Flags, x3 to x8 and v0 to v7, v16 are clobbered, as any call may.

use core::arch::global_asm;

global_asm!(
    r#"
    .macro  function name
    .pushsection .text.\name, "ax"
    .balign 32
    .global \name
    .type   \name, %function
    .endm

// memmove(x0 destination, x1 source, x2 bytes) -> x0.
    function memmove
    .global memcpy
    .type   memcpy, %function
memcpy:
memmove:
    add     x4, x1, x2                  // ends
    add     x5, x0, x2
    cmp     x2, #16
    b.lo    20f
    cmp     x2, #32
    b.hi    10f
    ldr     q0, [x1]                    // 16 to 32
    ldr     q1, [x4, #-16]
    str     q0, [x0]
    str     q1, [x5, #-16]
    ret
10: cmp     x2, #64
    b.hi    11f
    ldp     q0, q1, [x1]                // 33 to 64
    ldp     q2, q3, [x4, #-32]
    stp     q0, q1, [x0]
    stp     q2, q3, [x5, #-32]
    ret
11: ldp     q4, q5, [x4, #-64]
    ldp     q6, q7, [x4, #-32]
    ldp     q0, q1, [x1]
    cmp     x2, #128
    b.hi    30f
    ldp     q2, q3, [x1, #32]           // 65 to 128
    stp     q4, q5, [x5, #-64]
    stp     q6, q7, [x5, #-32]
    stp     q0, q1, [x0]
    stp     q2, q3, [x0, #32]
    ret

20: tbz     x2, #3, 21f
    ldr     x6, [x1]                    // 8 to 15
    ldr     x7, [x4, #-8]
    str     x6, [x0]
    str     x7, [x5, #-8]
    ret
21: tbz     x2, #2, 22f
    ldr     w6, [x1]                    // 4 to 7
    ldr     w7, [x4, #-4]
    str     w6, [x0]
    str     w7, [x5, #-4]
    ret
22: cbz     x2, 23f
    lsr     x3, x2, #1                  // 1 to 3: first, middle and last may be one
    ldrb    w6, [x1]
    ldrb    w7, [x1, x3]
    ldrb    w8, [x4, #-1]
    strb    w6, [x0]
    strb    w7, [x0, x3]
    strb    w8, [x5, #-1]
23: ret

// More than 128 bytes; q4 to q7 hold the last 64.
30: sub     x6, x0, x1
    cmp     x6, x2
    b.lo    40f                         // the destination begins inside the source
    // Upwards: 16 bytes up to an aligned destination, then 64 a round, then the last 64. A block is
    // loaded before anything is stored where it lies.
    mov     v16.16b, v0.16b
    and     x6, x0, #15
    mov     x7, #16
    sub     x7, x7, x6                  // 1 to 16 bytes to the border
    add     x3, x0, x7
    add     x1, x1, x7
    sub     x2, x2, x7
    ldp     q0, q1, [x1], #64
    ldp     q2, q3, [x1, #-32]
    str     q16, [x0]
    subs    x2, x2, #128                // what lies behind this block, less the last 64
    b.ls    32f
31: stp     q0, q1, [x3], #64
    stp     q2, q3, [x3, #-32]
    ldp     q0, q1, [x1], #64
    ldp     q2, q3, [x1, #-32]
    subs    x2, x2, #64
    b.hi    31b
32: stp     q0, q1, [x3]
    stp     q2, q3, [x3, #32]
    stp     q4, q5, [x5, #-64]
    stp     q6, q7, [x5, #-32]
    ret

    // Downwards, the same mirrored: the first 64 bytes are loaded first and stored last.
40: mov     v16.16b, v7.16b
    mov     v4.16b, v0.16b
    mov     v5.16b, v1.16b
    ldp     q6, q7, [x1, #32]
    and     x6, x5, #15                 // 0 to 15 bytes to the border
    sub     x3, x5, x6
    sub     x4, x4, x6
    sub     x2, x2, x6
    ldp     q0, q1, [x4, #-64]!
    ldp     q2, q3, [x4, #32]
    str     q16, [x5, #-16]
    subs    x2, x2, #128
    b.ls    42f
41: stp     q0, q1, [x3, #-64]!
    stp     q2, q3, [x3, #32]
    ldp     q0, q1, [x4, #-64]!
    ldp     q2, q3, [x4, #32]
    subs    x2, x2, #64
    b.hi    41b
42: stp     q0, q1, [x3, #-64]
    stp     q2, q3, [x3, #-32]
    stp     q4, q5, [x0]
    stp     q6, q7, [x0, #32]
    ret
    .popsection

// memset(x0 destination, w1 byte, x2 bytes) -> x0.
    function memset
memset:
    dup     v0.16b, w1
    add     x5, x0, x2
    cmp     x2, #16
    b.lo    20f
    cmp     x2, #64
    b.hi    11f
    str     q0, [x0]                    // 16 to 64
    str     q0, [x5, #-16]
    cmp     x2, #32
    b.ls    10f
    str     q0, [x0, #16]
    str     q0, [x5, #-32]
10: ret
11: stp     q0, q0, [x0]
    stp     q0, q0, [x0, #32]
    stp     q0, q0, [x5, #-64]
    stp     q0, q0, [x5, #-32]
    cmp     x2, #128
    b.hi    30f
    ret

20: tbz     x2, #3, 21f
    str     d0, [x0]                    // 8 to 15
    str     d0, [x5, #-8]
    ret
21: tbz     x2, #2, 22f
    str     s0, [x0]                    // 4 to 7
    str     s0, [x5, #-4]
    ret
22: cbz     x2, 23f
    lsr     x3, x2, #1                  // 1 to 3
    strb    w1, [x0]
    strb    w1, [x0, x3]
    strb    w1, [x5, #-1]
23: ret

// More than 128 bytes; the first and the last 64 are written.
30: add     x3, x0, #64
    and     x3, x3, #~15
    tst     w1, #0xff
    b.ne    31f
    cmp     x2, #512
    b.hs    40f
31: sub     x4, x5, #64                 // up to here by rounds of 64, beyond it is written
    cmp     x3, x4
    b.hs    33f
32: stp     q0, q0, [x3], #64
    stp     q0, q0, [x3, #-32]
    cmp     x3, x4
    b.lo    32b
33: ret

// Zeroing in the CPU's own blocks.
40: mrs     x6, dczid_el0
    tbnz    x6, #4, 31b                 // prohibited
    and     x6, x6, #0xf
    mov     x7, #4
    lsl     x7, x7, x6                  // bytes of a block, a power of two
    cmp     x2, x7, lsl #1
    b.lo    31b                         // no whole block may lie inside
    sub     x8, x7, #1
    add     x6, x3, x8
    bic     x6, x6, x8                  // the first block
41: cmp     x3, x6
    b.hs    42f
    stp     q0, q0, [x3], #32           // up to it, at most 16 bytes too far: never beyond its end
    b       41b
42: sub     x4, x5, x7                  // the last place where a block fits
    mov     x3, x6
    add     x6, x7, x7, lsl #1
    sub     x6, x4, x6                  // the last place where four fit
    cmp     x3, x6
    b.hi    44f
43: dc      zva, x3
    add     x3, x3, x7
    dc      zva, x3
    add     x3, x3, x7
    dc      zva, x3
    add     x3, x3, x7
    dc      zva, x3
    add     x3, x3, x7
    cmp     x3, x6
    b.ls    43b
44: cmp     x3, x4
    b.hi    31b
    dc      zva, x3
    add     x3, x3, x7
    b       44b
    .popsection

// memcmp(x0, x1, x2 bytes) -> w0: below, equal to or above 0, by the first byte that differs.
    function memcmp
    .global bcmp
    .type   bcmp, %function
bcmp:
memcmp:
    subs    x2, x2, #16
    b.lo    20f
10: ldp     x3, x5, [x0], #16
    ldp     x4, x6, [x1], #16
    cmp     x3, x4
    ccmp    x5, x6, #0, eq
    b.ne    13f
    subs    x2, x2, #16
    b.hs    10b
    cmn     x2, #16
    b.eq    12f                         // nothing is left
    add     x0, x0, x2                  // the last 16 bytes, some of them a second time
    add     x1, x1, x2
    ldp     x3, x5, [x0]
    ldp     x4, x6, [x1]
    cmp     x3, x4
    ccmp    x5, x6, #0, eq
    b.ne    13f
12: mov     w0, #0
    ret
13: cmp     x3, x4
    csel    x3, x3, x5, ne
    csel    x4, x4, x6, ne
14: rev     x3, x3                      // the first byte weighs most
    rev     x4, x4
    cmp     x3, x4
    mov     w0, #1
    cneg    w0, w0, lo
    ret

20: add     x2, x2, #16                 // below 16
    tbz     x2, #3, 21f
    ldr     x3, [x0]                    // 8 to 15
    ldr     x4, [x1]
    cmp     x3, x4
    b.ne    14b
    sub     x2, x2, #8
    ldr     x3, [x0, x2]
    ldr     x4, [x1, x2]
    cmp     x3, x4
    b.ne    14b
    mov     w0, #0
    ret
21: tbz     x2, #2, 22f
    ldr     w3, [x0]                    // 4 to 7
    ldr     w4, [x1]
    cmp     w3, w4
    b.ne    14b
    sub     x2, x2, #4
    ldr     w3, [x0, x2]
    ldr     w4, [x1, x2]
    cmp     w3, w4
    b.ne    14b
    mov     w0, #0
    ret
22: cbz     x2, 12b
23: ldrb    w3, [x0], #1                // 1 to 3
    ldrb    w4, [x1], #1
    subs    w5, w3, w4
    b.ne    24f
    subs    x2, x2, #1
    b.ne    23b
24: mov     w0, w5
    ret
    .popsection
    .purgem function
"#
);
