//! The signals in every order of two and three CPUs' steps, with every value that the memory model lets a load see:
//! `make loom`. Each model holds as it is, and fails once the releases, or the acquires, are left out.
#![allow(unsafe_code, reason = "loom looks whether the cells are handed over")]

use super::{Asked, InOrder, Orders, Service};
use core::sync::atomic::Ordering::{self, Relaxed};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct NoRelease;

impl Orders for NoRelease {
    const RELEASE: Ordering = Relaxed;
}

struct NoAcquire;

impl Orders for NoAcquire {
    const ACQUIRE: Ordering = Relaxed;
}

const BLOCKS: u32 = 2;
const STOCKS: u32 = 1;

/// What two CPUs share: a signal, and what it hands over.
struct Shared<S> {
    signal: S,
    cell: UnsafeCell<u64>,
}

// SAFETY: what the models check: the signal hands the cell over.
unsafe impl<S: Sync> Sync for Shared<S> {}
// SAFETY: as above.
unsafe impl<S: Send> Send for Shared<S> {}

impl<S> Shared<S> {
    fn new(signal: S) -> Arc<Self> {
        Arc::new(Self {
            signal,
            cell: UnsafeCell::new(0),
        })
    }

    fn write(&self, value: u64) {
        // SAFETY: loom says if it is anybody else's now.
        self.cell.with_mut(|place| unsafe { *place = value });
    }

    fn read(&self) -> u64 {
        // SAFETY: as above.
        self.cell.with(|place| unsafe { *place })
    }
}

/// One CPU asks and waits; the other does it when it looks. Either sees what the other did before.
fn an_ask_and_its_answer<O: Orders + Send + Sync + 'static>() {
    loom::model(|| {
        let shared = Shared::new(Asked::<O>::new());
        let owner = {
            let shared = shared.clone();
            thread::spawn(move || {
                while shared.signal.open() & BLOCKS == 0 {
                    thread::yield_now();
                }
                assert_eq!(shared.read(), 1, "what came before the ask");
                shared.write(2);
                shared.signal.answer(BLOCKS);
            })
        };
        shared.write(1);
        shared.signal.ask(BLOCKS);
        while shared.signal.open() & BLOCKS != 0 {
            thread::yield_now();
        }
        assert_eq!(shared.read(), 2, "what came before the answer");
        owner.join().expect("no assertion failed");
    });
}

/// A cache is closed by its CPU, emptied by another, and used again.
fn a_cache_is_closed_emptied_and_used_again<O: Orders + Send + Sync + 'static>() {
    loom::model(|| {
        let shared = Shared::new(Service::<O>::new());
        let undertaker = {
            let shared = shared.clone();
            thread::spawn(move || {
                let left = loop {
                    match shared.signal.left() {
                        Some(left) => break left,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!((left, shared.read()), (7, 7), "what it held");
                shared.write(0);
                shared.signal.empty();
            })
        };
        assert!(shared.signal.is_open());
        shared.write(7);
        shared.signal.close(7);
        let mut begins = 0;
        assert!(!shared.signal.is_open());
        while !shared.signal.is_resumed(|| begins += 1) {
            thread::yield_now();
        }
        assert_eq!((begins, shared.read()), (1, 0), "it was emptied");
        assert!(shared.signal.is_open() && !shared.signal.is_resumed(|| begins += 1));
        undertaker.join().expect("no assertion failed");
    });
}

/// Two CPUs ask for different things while the cache's does what it sees: nothing is lost, and nothing done unasked.
#[test]
fn an_ask_that_comes_while_another_is_answered_is_not_lost() {
    loom::model(|| {
        let asked = Arc::new(Asked::<InOrder>::new());
        let askers: [_; 2] = [BLOCKS, STOCKS].map(|what| {
            let asked = asked.clone();
            thread::spawn(move || asked.ask(what))
        });
        let mut done = 0;
        for _ in 0..2 {
            let open = asked.open();
            assert_eq!(done & open, 0, "each once");
            done |= open;
            asked.answer(open);
        }
        for asker in askers {
            asker.join().expect("no assertion failed");
        }
        assert_eq!(done | asked.open(), BLOCKS | STOCKS);
        assert_eq!(done & asked.open(), 0);
    });
}

macro_rules! ordered {
    ($($name:ident),*) => { $(
        mod $name {
            use super::{InOrder, NoAcquire, NoRelease};

            #[test]
            fn holds() {
                super::$name::<InOrder>();
            }

            #[test]
            #[should_panic]
            fn fails_without_its_releases() {
                super::$name::<NoRelease>();
            }

            #[test]
            #[should_panic]
            fn fails_without_its_acquires() {
                super::$name::<NoAcquire>();
            }
        }
    )* };
}

ordered!(
    an_ask_and_its_answer,
    a_cache_is_closed_emptied_and_used_again
);
