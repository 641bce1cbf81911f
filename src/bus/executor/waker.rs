//! Wakers of an executor's tasks: the port's address with the task and the incarnation in its spare bits.
//!
//! A waker is as good as its incarnation: once the subsystem died, it does nothing. It holds a count of the
//! port and never of anything that dies with the subsystem. Cloning counts; waking sets a bit and rings.
//!
//! The incarnation is kept modulo 65,536: a waker that was forgotten for exactly that many restarts wakes a
//! task for nothing, which every future must bear anyway.
#![allow(unsafe_code, reason = "a raw waker counts references by hand")]

use crate::bus::envelope::SubsystemId;
use crate::bus::port::{Exchange, Port};
use crate::bus::ready::TASKS_MAX;
use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::task::{RawWaker, RawWakerVTable, Waker};

/// The task's number stands in the bits that the port's alignment leaves 0.
const TASK_MASK: usize = align_of::<Port>() - 1;
/// The incarnation's stands above 48 bits of address, which is what aarch64 and x86-64 give to one half.
const TAG_SHIFT: u32 = 48;
const ADDRESS_MASK: usize = (1 << TAG_SHIFT) - 1 - TASK_MASK;

const _: () = assert!(
    TASKS_MAX <= align_of::<Port>(),
    "a task's number fits the low bits"
);
const _: () = assert!(usize::BITS == 64, "and an incarnation the high bits");

/// A task of an incarnation, by number: what a slot of a reply table keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bus) struct Token(u64);

impl Token {
    pub(super) fn new(subsystem: SubsystemId, task: u8, tag: u16) -> Self {
        Self((subsystem.index() as u64) << 32 | u64::from(task) << 16 | u64::from(tag))
    }

    pub(in crate::bus) const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    pub(in crate::bus) fn as_u64(self) -> u64 {
        self.0
    }

    pub(in crate::bus) fn subsystem(self) -> SubsystemId {
        SubsystemId::new((self.0 >> 32) as usize % SubsystemId::MAX).expect("below the maximum")
    }

    /// Wakes the task, unless its incarnation is over.
    pub(in crate::bus) fn wake(self, exchange: &Exchange) -> bool {
        let port = exchange.port(self.subsystem());
        port.is_some_and(|port| port.ready.wake((self.0 >> 16) as u8, self.0 as u16))
    }
}

/// A waker that lasts as long as `port` is borrowed, and counts nothing; its clones count.
pub(super) fn borrowed(port: &Arc<Port>, task: u8, tag: u16) -> impl Deref<Target = Waker> {
    let address = Arc::as_ptr(port);
    assert_eq!(
        address.addr() & !ADDRESS_MASK,
        0,
        "an address of 48 bits, aligned"
    );
    let data = address.map_addr(|bits| bits | usize::from(task) | usize::from(tag) << TAG_SHIFT);
    // SAFETY: the functions of the table take back the task and the tag and keep the count as their contract asks.
    // This waker itself is never dropped, so it need not be counted; `port` keeps the count above 0 meanwhile.
    ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(data.cast(), &VTABLE)) })
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

fn port(data: *const ()) -> *const Port {
    data.map_addr(|bits| bits & ADDRESS_MASK).cast()
}

/// # Safety
/// `data` is of a waker made by [`borrowed`], whose port is alive. The same holds for the functions below.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: `port` gives back the pointer of an `Arc` that is alive, by this function's contract.
    unsafe { Arc::increment_strong_count(port(data)) };
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: by this function's contract; the count that this waker held is given back after its last use.
    unsafe {
        wake_by_ref(data);
        drop(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker holds a count, or borrows from one who does, so the port is alive.
    let ready = unsafe { &(*port(data)).ready };
    let task = (data.addr() & TASK_MASK) as u8;
    ready.wake(task, (data.addr() >> TAG_SHIFT) as u16);
}

unsafe fn drop(data: *const ()) {
    // SAFETY: a waker that is dropped was cloned, and that counted.
    unsafe { Arc::decrement_strong_count(port(data)) };
}
