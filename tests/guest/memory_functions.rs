//! Inside QEMU: the image's memcpy, memmove, memset, memcmp and bcmp against loops of single bytes, for
//! every small size, both sides' alignments, overlaps in both directions, and seeded random cases.
#![no_std]
#![no_main]

mod support;

use core::ffi::c_int;
use nos::arch::aarch64::BootInfo;

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: c_int, bytes: usize) -> *mut u8;
    fn memcmp(a: *const u8, b: *const u8, bytes: usize) -> c_int;
    fn bcmp(a: *const u8, b: *const u8, bytes: usize) -> c_int;
}

/// Where every random run starts.
const SEED: u64 = 0x6e6f_735f_6d65_6d31;
const ARENA_BYTES: usize = 24 * 1024;
/// Sizes and distances of random cases stay so far from the arena's ends that a stray byte is seen.
const MARGIN: usize = 4096;

type Arena = [u8; ARENA_BYTES];
// What the functions work on, and what a loop of bytes makes of the same.
static mut ARENA: Arena = [0; ARENA_BYTES];
static mut MODEL: Arena = [0; ARENA_BYTES];

#[unsafe(no_mangle)]
extern "C" fn nos_main(boot: &BootInfo) -> ! {
    support::run(
        boot,
        &[
            ("copies of every small size and alignment are exact", |_| {
                let mut bench = Bench::new();
                for bytes in 0..300 {
                    for to in 0..17 {
                        bench.copy(memcpy, 8192 + to, 4096 + (to * 7 + bytes) % 16, bytes);
                    }
                }
            }),
            ("moves over every small distance are exact", |_| {
                let mut bench = Bench::new();
                for bytes in [
                    0, 1, 3, 7, 15, 16, 33, 64, 65, 128, 129, 200, 257, 640, 1000,
                ] {
                    for distance in 0..140 {
                        bench.copy(memmove, 8192 + distance, 8192, bytes);
                        bench.copy(memmove, 8192, 8192 + distance, bytes);
                    }
                }
            }),
            ("random copies and moves are exact", |_| {
                let mut bench = Bench::new();
                for _ in 0..4_000 {
                    let bytes = bench.size();
                    let (to, from) = (bench.place(), bench.place());
                    bench.copy(memmove, to, from, bytes);
                    let is_apart = to.abs_diff(from) >= bytes;
                    if is_apart {
                        bench.copy(memcpy, to, from, bytes);
                    }
                }
            }),
            (
                "filling is exact for every small size and alignment",
                |_| {
                    let mut bench = Bench::new();
                    for bytes in 0..700 {
                        for to in [0, 1, 5, 8, 15] {
                            bench.fill(8192 + to, (bytes % 3) as u8 * 0x7f, bytes);
                        }
                    }
                },
            ),
            ("random filling and zeroing are exact", |_| {
                let mut bench = Bench::new();
                for round in 0..4_000 {
                    let (to, bytes) = (bench.place(), bench.size());
                    let byte = if round % 2 == 0 {
                        0
                    } else {
                        bench.next() as u8
                    };
                    bench.fill(to, byte, bytes);
                }
            }),
            ("comparison tells the first byte that differs", |_| {
                let mut bench = Bench::new();
                for bytes in 0..200 {
                    for place in [0, 1, 9] {
                        bench.compare(4096 + place, 8192 + (place * 3 + bytes) % 16, bytes);
                    }
                }
            }),
        ],
    )
}

/// The two arenas and the random numbers of one test.
struct Bench {
    arena: &'static mut Arena,
    model: &'static mut Arena,
    state: u64,
}

impl Bench {
    fn new() -> Self {
        // SAFETY: tests run one after the other on one CPU, each with one bench that it drops.
        let (arena, model) = unsafe { ((&raw mut ARENA).as_mut(), (&raw mut MODEL).as_mut()) };
        let (arena, model) = arena.zip(model).expect("a static has an address");
        let mut bench = Self {
            arena,
            model,
            state: SEED,
        };
        for i in 0..ARENA_BYTES {
            let byte = bench.next() as u8;
            bench.arena[i] = byte;
            bench.model[i] = byte;
        }
        bench
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }

    fn place(&mut self) -> usize {
        MARGIN + self.next() as usize % (ARENA_BYTES - 3 * MARGIN)
    }

    /// Mostly small, up to `MARGIN`.
    fn size(&mut self) -> usize {
        let bits = self.next() % 13;
        self.next() as usize % ((1 << bits) + 1)
    }

    fn copy(
        &mut self,
        function: unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8,
        to: usize,
        from: usize,
        bytes: usize,
    ) {
        let start = self.arena.as_mut_ptr();
        // SAFETY: both ranges lie in the arena (`place`, `size`); callers of memcpy keep them apart.
        unsafe {
            let returned = function(start.add(to), start.add(from), bytes);
            assert_eq!(returned, start.add(to));
        }
        let model = self.model.as_mut_ptr();
        for i in 0..bytes {
            let i = if to > from { bytes - 1 - i } else { i };
            // SAFETY: as above. Volatile, so that the compiler does not make a call of the loop.
            unsafe {
                model
                    .add(to + i)
                    .write_volatile(model.add(from + i).read_volatile())
            };
        }
        self.check(to, bytes, from);
    }

    fn fill(&mut self, to: usize, byte: u8, bytes: usize) {
        let start = self.arena.as_mut_ptr();
        // SAFETY: the range lies in the arena.
        unsafe {
            // Only the low byte of the argument counts.
            let returned = memset(start.add(to), c_int::from(byte) | 0x700, bytes);
            assert_eq!(returned, start.add(to));
        }
        for i in to..to + bytes {
            // SAFETY: as above; volatile as in `copy`.
            unsafe { self.model.as_mut_ptr().add(i).write_volatile(byte) };
        }
        self.check(to, bytes, usize::from(byte));
    }

    /// Compares equal ranges, then ranges that differ at each place, and a second time further on.
    fn compare(&mut self, a: usize, b: usize, bytes: usize) {
        let start = self.arena.as_mut_ptr();
        // SAFETY: both ranges, up to 200 bytes from 4096 and 8192, lie in the arena.
        let both = || unsafe {
            (
                memcmp(start.add(a), start.add(b), bytes),
                bcmp(start.add(a), start.add(b), bytes),
            )
        };
        for i in 0..bytes {
            // SAFETY: as above.
            unsafe {
                start
                    .add(b + i)
                    .write_volatile(start.add(a + i).read_volatile())
            };
        }
        assert_eq!(both(), (0, 0), "{bytes} equal bytes");
        for i in (0..bytes).rev() {
            let (below, above) = (0x10 + (i % 64) as u8, 0x90);
            for (x, y) in [(below, above), (above, below)] {
                // SAFETY: as above.
                unsafe {
                    start.add(a + i).write_volatile(x);
                    start.add(b + i).write_volatile(y);
                }
                let (order, difference) = both();
                assert_eq!(
                    order.signum(),
                    if x < y { -1 } else { 1 },
                    "byte {i} of {bytes}"
                );
                assert_ne!(difference, 0, "byte {i} of {bytes}");
            }
        }
    }

    /// The range, and 128 bytes on both sides, are what the loop of bytes made.
    fn check(&self, to: usize, bytes: usize, argument: usize) {
        for i in to - 128..to + bytes + 128 {
            assert!(
                self.arena[i] == self.model[i],
                "seed {SEED:#x}: {bytes} bytes at {to} from {argument}: wrong at {}",
                i as isize - to as isize
            );
        }
    }
}
