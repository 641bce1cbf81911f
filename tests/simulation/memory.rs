//! Frames of the simulated machine, each charged to one owner.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nos::bus::{Charge, Owner};
use nos::error::Result;
use nos::memory::frames::{Block, FrameSource, Order, Pfn};

#[derive(Default)]
pub(crate) struct Memory {
    /// Blocks that are out: whom each is charged to.
    charged: Mutex<BTreeMap<usize, (Owner, Order)>>,
    /// Set to see that the simulation notices.
    pub(crate) keeps_charges: AtomicBool,
}

fn layout(order: Order) -> Layout {
    Layout::from_size_align(order.bytes(), order.bytes()).expect("a power of two")
}

impl Memory {
    fn give_back(address: usize, order: Order) {
        // SAFETY: `allocate` made it with this layout, and the caller took it out of `charged`, once.
        unsafe {
            dealloc(
                std::ptr::with_exposed_provenance_mut(address),
                layout(order),
            )
        };
    }

    /// Whom the block that `bytes` are in is charged to.
    pub(crate) fn owner(&self, bytes: *const u8) -> Option<Owner> {
        let charged = self.charged.lock().expect("one thread");
        charged.get(&bytes.addr()).map(|&(owner, _)| owner)
    }

    pub(crate) fn charged_to(&self, owner: Owner) -> usize {
        let charged = self.charged.lock().expect("one thread");
        charged.values().filter(|(of, _)| *of == owner).count()
    }

    /// Frees what is charged to a dead owner.
    pub(crate) fn abandon(&self, owner: Owner) {
        let mut charged = self.charged.lock().expect("one thread");
        charged.retain(|&address, &mut (of, order)| {
            if of == owner {
                Self::give_back(address, order);
            }
            of != owner
        });
    }

    pub(crate) fn clear(&self) {
        let mut charged = self.charged.lock().expect("one thread");
        for (address, (_, order)) in std::mem::take(&mut *charged) {
            Self::give_back(address, order);
        }
    }
}

// SAFETY: each block is an allocation of its own until it is freed.
unsafe impl FrameSource for Memory {
    fn allocate(&self, order: Order) -> Result<Pfn> {
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc_zeroed(layout(order)) }.expose_provenance();
        let mut charged = self.charged.lock().expect("one thread");
        charged.insert(address, (Owner::KERNEL, order));
        Ok(Pfn::containing(address))
    }

    fn free(&self, first: Pfn, order: Order) -> Result<()> {
        let out = self
            .charged
            .lock()
            .expect("one thread")
            .remove(&first.address());
        if out.is_some() {
            Self::give_back(first.address(), order);
        }
        Ok(())
    }

    fn free_frames(&self) -> u64 {
        0
    }

    fn total_frames(&self) -> u64 {
        0
    }
}

impl Charge for Memory {
    fn recharge(&self, block: &Block, to: Owner) {
        if self.keeps_charges.load(Relaxed) && to == Owner::KERNEL {
            return;
        }
        let mut charged = self.charged.lock().expect("one thread");
        if let Some((owner, _)) = charged.get_mut(&block.as_ptr().addr()) {
            *owner = to;
        }
    }
}
