//! The atomics and cells of the bus's lock-free structures: core's, or loom's when models are checked.
//!
//! Built with `--cfg loom` for tests, every access is one that loom interleaves, and a model may ask for all
//! releases (or acquires) to be taken as relaxed, or all fences as nothing ([`weakened`]): what then still holds does
//! not lean on them. An access that is SeqCst stands between two fences there, as loom takes it for AcqRel.
#![cfg_attr(
    not(all(test, loom)),
    allow(
        unsafe_code,
        reason = "a cell whose users argue for each access; loom's has the same form"
    )
)]

pub(super) use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
#[cfg(not(all(test, loom)))]
pub(super) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
#[cfg(all(test, loom))]
pub(super) use loom::cell::UnsafeCell;
#[cfg(all(test, loom))]
pub(super) use modelled::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Weaken, fence, weakened};

/// Whether a destructor may look at atomics: not while a failed model of loom unwinds.
pub(super) fn can_look() -> bool {
    #[cfg(all(test, loom))]
    return !std::thread::panicking();
    #[cfg(not(all(test, loom)))]
    true
}

/// A cell reached by pointers only, in the form of loom's.
#[cfg(not(all(test, loom)))]
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(all(test, loom)))]
impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

#[cfg(all(test, loom))]
mod modelled {
    use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
    use std::cell::Cell;

    /// What was there: as expected, or not.
    type Exchanged<T> = core::result::Result<T, T>;

    /// Which orderings a model takes away.
    #[derive(Clone, Copy, PartialEq)]
    pub(in crate::bus) enum Weaken {
        Nothing,
        Releases,
        Acquires,
        Fences,
    }

    std::thread_local! {
        // loom runs all threads of a model on the thread that called it.
        static WEAKEN: Cell<Weaken> = const { Cell::new(Weaken::Nothing) };
    }

    /// Checks `model` with those orderings taken away.
    pub(in crate::bus) fn weakened(what: Weaken, model: impl Fn() + Sync + Send + 'static) {
        WEAKEN.with(|weaken| weaken.set(what));
        loom::model(model);
    }

    fn taken(order: Ordering) -> Ordering {
        match (WEAKEN.with(Cell::get), order) {
            (Weaken::Releases, Release) | (Weaken::Acquires, Acquire) => Relaxed,
            (Weaken::Releases, AcqRel) => Acquire,
            (Weaken::Acquires, AcqRel) => Release,
            (_, order) => order,
        }
    }

    /// A fence, if it was not taken away.
    pub(in crate::bus) fn fence(order: Ordering) {
        if WEAKEN.with(Cell::get) != Weaken::Fences {
            loom::sync::atomic::fence(order);
        }
    }

    /// An access, between two fences if it is in the one order of all that are SeqCst.
    fn ordered<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
        let fence = || {
            if order == SeqCst {
                loom::sync::atomic::fence(SeqCst);
            }
        };
        fence();
        let result = access();
        fence();
        result
    }

    macro_rules! atomic {
        ($name:ident, $number:ty) => {
            #[derive(Debug)]
            pub(in crate::bus) struct $name(loom::sync::atomic::$name);

            #[allow(dead_code, reason = "one form for every width")]
            impl $name {
                pub(in crate::bus) fn new(value: $number) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }
                pub(in crate::bus) fn load(&self, order: Ordering) -> $number {
                    ordered(order, || self.0.load(taken(order)))
                }
                pub(in crate::bus) fn store(&self, value: $number, order: Ordering) {
                    ordered(order, || self.0.store(value, taken(order)));
                }
                pub(in crate::bus) fn swap(&self, value: $number, order: Ordering) -> $number {
                    ordered(order, || self.0.swap(value, taken(order)))
                }
                pub(in crate::bus) fn fetch_or(&self, bits: $number, order: Ordering) -> $number {
                    ordered(order, || self.0.fetch_or(bits, taken(order)))
                }
                pub(in crate::bus) fn fetch_and(&self, bits: $number, order: Ordering) -> $number {
                    ordered(order, || self.0.fetch_and(bits, taken(order)))
                }
                pub(in crate::bus) fn compare_exchange(
                    &self,
                    current: $number,
                    new: $number,
                    success: Ordering,
                    failure: Ordering,
                ) -> Exchanged<$number> {
                    self.0
                        .compare_exchange(current, new, taken(success), taken(failure))
                }
                pub(in crate::bus) fn compare_exchange_weak(
                    &self,
                    current: $number,
                    new: $number,
                    success: Ordering,
                    failure: Ordering,
                ) -> Exchanged<$number> {
                    // The strong one: a spurious failure adds nothing but states to search.
                    self.compare_exchange(current, new, success, failure)
                }
            }
        };
    }
    atomic!(AtomicBool, bool);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
}
