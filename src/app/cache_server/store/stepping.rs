//! Cuts an operation off after every machine step: for tests on Linux hosts.
//!
//! The store and all its memory lie in pages shared with a child process, which runs the operation while
//! the parent lets it take one instruction at a time (`PTRACE_SINGLESTEP`). After each one that changed
//! the shared memory, the parent recovers the store as it then is, looks at it, and puts the memory back.
//! So the code under test is the code as compiled, without a hook in it, and no step is left out.
#![expect(
    unsafe_code,
    reason = "shares memory with a child process and traces it"
)]

use super::Store;
use super::budget::out_of_memory;
use crate::cache::eviction::EvictionPolicy;
use crate::error::Result;
use crate::memory::frames::{BlockWord, FrameSource, Order, PAGE_SIZE, Pfn};
use core::ffi::{c_int, c_long, c_void};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::vec::Vec;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
    fn fork() -> c_int;
    fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn ptrace(request: c_long, child: c_long, address: *mut c_void, data: *mut c_void) -> c_long;
    fn raise(signal: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

const READ_WRITE: c_int = 3;
const SHARED_ANONYMOUS: c_int = 0x21;
const TRACE_ME: c_long = 0;
const SINGLE_STEP: c_long = 9;
const SIGSTOP: c_int = 19;
const SIGTRAP: c_int = 5;

const PAGES_MAX: usize = 1024;
/// Pages in front of those given out: the store and the table of pages.
const WORLD_PAGES: usize = 8;
const FREE: u8 = 0xff;
const WITHIN: u8 = 0xfe;

/// The store and the source of its blocks, in memory that a child shares.
pub(super) struct World {
    frames: Frames,
    store: Option<Store>,
}

const _: () = assert!(size_of::<World>() <= WORLD_PAGES * PAGE_SIZE);

/// Gives out the pages behind the world; taking and giving are each one step, as the trait asks of a source
/// whose callers are killed: no cut is made while `is_guarded`.
struct Frames {
    first: Pfn,
    pages: usize,
    owners: [AtomicU8; PAGES_MAX],
    is_guarded: AtomicBool,
}

// SAFETY: a block given out is pages of the world's mapping that `owners` says nobody has.
unsafe impl FrameSource for Frames {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        let count = order.frames() as usize;
        let fits = |&start: &usize| {
            self.owners[start..start + count]
                .iter()
                .all(|owner| owner.load(SeqCst) == FREE)
        };
        let last = self.pages.saturating_sub(count - 1);
        let start = (0..last).step_by(count).find(fits);
        let start = start.ok_or(out_of_memory(order.bytes()))?;
        for owner in &self.owners[start..start + count] {
            owner.store(WITHIN, SeqCst);
        }
        self.owners[start].store(order.get(), SeqCst);
        Ok(Pfn(self.first.0 + start as u64))
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        let start = (first.0 - self.first.0) as usize;
        assert_eq!(self.owners[start].load(SeqCst), order.get(), "freed twice");
        for owner in &self.owners[start..start + order.frames() as usize] {
            owner.store(FREE, SeqCst);
        }
        Ok(())
    }

    fn allocate_into(&self, order: Order, place: &AtomicU64) -> Result<()> {
        self.is_guarded.store(true, SeqCst);
        let taken = self.allocate(order);
        if let Ok(first) = taken {
            place.store(BlockWord::new(first, order).0, SeqCst);
        }
        self.is_guarded.store(false, SeqCst);
        taken.map(|_| ())
    }

    fn free_from(&self, place: &AtomicU64) -> Result<()> {
        self.is_guarded.store(true, SeqCst);
        if let Some((first, order)) = BlockWord(place.load(SeqCst)).block() {
            self.free(first, order)?;
        }
        place.store(0, SeqCst);
        self.is_guarded.store(false, SeqCst);
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        let owners = self.owners[..self.pages].iter();
        owners.filter(|owner| owner.load(SeqCst) == FREE).count() as u64
    }

    fn total_frames(&self) -> u64 {
        self.pages as u64
    }
}

/// A mapping with a world in it.
pub(super) struct Stage {
    world: NonNull<World>,
    bytes: usize,
    mapped: (*mut c_void, usize),
}

impl Stage {
    /// An empty store of at most `limit_bytes` with `pages` pages to take.
    pub(super) fn new(pages: usize, limit_bytes: u64, policy: EvictionPolicy) -> Self {
        assert!(pages <= PAGES_MAX, "the table of pages holds as many");
        let bytes = (WORLD_PAGES + pages) * PAGE_SIZE;
        let align = PAGES_MAX * PAGE_SIZE;
        let mapped_bytes = bytes + 2 * align;
        // SAFETY: asks for fresh memory wherever the host has room.
        let mapped = unsafe {
            mmap(
                null_mut(),
                mapped_bytes,
                READ_WRITE,
                SHARED_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(mapped as isize != -1, "the host has no memory to share");
        let blocks = (mapped.expose_provenance() + WORLD_PAGES * PAGE_SIZE).next_multiple_of(align);
        let world = NonNull::new((blocks - WORLD_PAGES * PAGE_SIZE) as *mut World).expect("mapped");
        // SAFETY: the mapping is large enough for the world in front of an aligned run of pages, zeroed,
        // and nobody else's; it lives as long as the stage, which is as long as anyone uses the store.
        unsafe {
            world.write(World {
                frames: Frames {
                    first: Pfn::containing(blocks),
                    pages,
                    owners: [const { AtomicU8::new(FREE) }; PAGES_MAX],
                    is_guarded: AtomicBool::new(false),
                },
                store: None,
            });
            let frames: &'static Frames = &(*world.as_ptr()).frames;
            let store = &mut (*world.as_ptr()).store;
            *store = Some(Store::new(frames, limit_bytes, policy, 42));
        }
        Self {
            world,
            bytes,
            mapped: (mapped, mapped_bytes),
        }
    }

    /// The store.
    pub(super) fn store(&mut self) -> &mut Store {
        // SAFETY: `new` made it; the child is stopped whenever the parent calls this, and the other way
        // round only the child runs.
        let store = unsafe { &mut (*self.world.as_ptr()).store };
        store.as_mut().expect("made with the stage")
    }

    fn frames(&self) -> &Frames {
        // SAFETY: as in `store`; it is all atomics.
        unsafe { &(*self.world.as_ptr()).frames }
    }

    /// Bytes of blocks that the source has given out.
    pub(super) fn taken_bytes(&self) -> u64 {
        let frames = self.frames();
        (frames.total_frames() - frames.free_frames()) * PAGE_SIZE as u64
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping, while only this process runs in it; nothing is borrowed from the store.
        unsafe { core::slice::from_raw_parts_mut(self.world.as_ptr().cast(), self.bytes) }
    }

    /// Runs `operation` in a child, and calls `look` with the stage as it is after each step of it that
    /// changed the store, one in [`stride`]; what `look` changes is put back. Tells how many such steps there were.
    pub(super) fn step_through(
        &mut self,
        operation: impl FnOnce(&mut Store),
        mut look: impl FnMut(&mut Self),
    ) -> usize {
        // SAFETY: the child runs the operation, which takes no lock of this process's (the store does not
        // even use the heap), and ends without returning.
        let child = unsafe { fork() };
        assert!(child >= 0, "the host has no room for a child");
        if child == 0 {
            // SAFETY: asks to be traced by the parent, and waits for it.
            unsafe {
                ptrace(TRACE_ME, 0, null_mut(), null_mut());
                raise(SIGSTOP);
            }
            operation(self.store());
            // SAFETY: ends the child here.
            unsafe { _exit(0) };
        }
        assert_eq!(
            self.wait(child),
            Some(SIGSTOP),
            "the child waits to be traced"
        );
        let mut seen: Vec<u8> = self.bytes().to_vec();
        let (mut cuts, stride) = (0, stride());
        loop {
            // SAFETY: the child is ours and stopped.
            let stepped = unsafe { ptrace(SINGLE_STEP, child.into(), null_mut(), null_mut()) };
            assert_eq!(stepped, 0, "the host lets a parent trace its child");
            match self.wait(child) {
                Some(signal) => assert_eq!(signal, SIGTRAP, "the operation goes on"),
                None => {
                    // The last one is always looked at: the operation has come to its end.
                    if cuts % stride != 0 {
                        look(self);
                        self.bytes().copy_from_slice(&seen);
                    }
                    return cuts;
                }
            }
            if self.frames().is_guarded.load(SeqCst) || *self.bytes() == *seen {
                continue;
            }
            seen.copy_from_slice(self.bytes());
            cuts += 1;
            if cuts % stride == 0 {
                look(self);
                self.bytes().copy_from_slice(&seen);
            }
        }
    }

    /// The signal that stopped the child, or `None` when it has ended well.
    fn wait(&self, child: c_int) -> Option<c_int> {
        let mut status = 0;
        // SAFETY: the child is ours.
        let waited = unsafe { waitpid(child, &mut status, 0) };
        assert_eq!(waited, child, "the child is there");
        if status & 0xff == 0x7f {
            return Some(status >> 8 & 0xff);
        }
        assert_eq!(status, 0, "the operation ended well");
        None
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // SAFETY: the mapping is this stage's; the store in it needs no drop.
        unsafe { munmap(self.mapped.0, self.mapped.1) };
    }
}

/// One step in so many is looked at after: all of them in the nightly run.
fn stride() -> usize {
    match std::env::var_os("NOS_NIGHTLY") {
        Some(_) => 1,
        None => 4,
    }
}
