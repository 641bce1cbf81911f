//! The index of keys with an expiry: a heap by time, over paged blocks.
//!
//! A 4-ary heap (each node at most its children) gives the soonest expiry exactly, so an idle image sleeps
//! until then and `volatile-ttl` need not guess; as the heap is an array, a random key with an expiry is
//! one look. An entry knows its position here (position plus one in its header), and the time is kept
//! here alone.
//!
//! Always true: the node at position `p` names an entry whose header says `p + 1`; a node's time is not
//! later than its children's.

use super::arena::{Arena, Handle};
use super::budget::Budget;
use super::entry::EntryMut;
use crate::cache::random::Random;
use crate::error::Result;
use crate::memory::frames::{Block, Order};
use alloc::vec::Vec;

const PAGE_ORDER: Order = Order::ZERO;
const NODE_BYTES: usize = 16;
const NODES_PER_PAGE: usize = PAGE_ORDER.bytes() / NODE_BYTES;
const CHILDREN: usize = 4;

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    /// The entry.
    pub(super) handle: Handle,
}

/// Expiries, the soonest first.
pub(super) struct Expiries {
    pages: Vec<Block>,
    len: usize,
}

impl Expiries {
    /// An empty index.
    pub(super) fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }

    /// The node that expires first.
    #[inline]
    pub(super) fn soonest(&self) -> Option<Node> {
        (self.len > 0).then(|| self.node(0))
    }

    /// A random node; `None` only if there is none.
    pub(super) fn random(&self, random: &mut Random) -> Option<Node> {
        (self.len > 0).then(|| self.node(random.below(self.len as u32) as usize))
    }

    /// The time at a position that an entry's header gave.
    #[inline]
    pub(super) fn at_ms(&self, position: usize) -> u64 {
        self.node(position).at_ms
    }

    /// Makes room for one more, so that the next `insert` cannot fail.
    ///
    /// # Errors
    /// `OutOfMemory` if that takes a page that the budget does not give.
    #[inline]
    pub(super) fn reserve(&mut self, budget: &mut Budget) -> Result<()> {
        if self.len == self.pages.len() * NODES_PER_PAGE {
            self.pages.try_reserve(1)?;
            self.pages.push(budget.take(PAGE_ORDER)?);
        }
        Ok(())
    }

    /// Adds a node after [`Expiries::reserve`], and tells the entry its position.
    pub(super) fn insert(&mut self, node: Node, arena: &mut Arena) {
        self.len += 1;
        self.sift_up(self.len - 1, node, arena);
    }

    /// Changes the time at `position`.
    pub(super) fn reschedule(&mut self, position: usize, at_ms: u64, arena: &mut Arena) {
        let node = self.node(position);
        let moved = Node {
            at_ms,
            handle: node.handle,
        };
        if at_ms < node.at_ms {
            self.sift_up(position, moved, arena);
        } else {
            self.sift_down(position, moved, arena);
        }
    }

    /// Makes the node at `position` name the entry's new slot; its header moved with it.
    pub(super) fn rename(&mut self, position: usize, handle: Handle) {
        let at_ms = self.node(position).at_ms;
        self.set(position, Node { at_ms, handle });
    }

    /// Removes the node at `position`. The header of its entry is the caller's to change.
    pub(super) fn remove(&mut self, position: usize, arena: &mut Arena, budget: &mut Budget) {
        self.len -= 1;
        let last = self.node(self.len);
        if position < self.len {
            if last.at_ms < self.node(position).at_ms {
                self.sift_up(position, last, arena);
            } else {
                self.sift_down(position, last, arena);
            }
        }
        // One page beyond need is kept, so that a border is not paid for twice a moment.
        if self.len + 2 * NODES_PER_PAGE <= self.pages.len() * NODES_PER_PAGE
            && let Some(page) = self.pages.pop()
        {
            budget.give(page);
        }
        if self.len == 0 {
            self.clear(budget);
        }
    }

    /// Forgets all nodes and gives the pages back.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        for page in core::mem::take(&mut self.pages) {
            budget.give(page);
        }
        self.len = 0;
    }

    fn sift_up(&mut self, mut position: usize, node: Node, arena: &mut Arena) {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            let above = self.node(parent);
            if above.at_ms <= node.at_ms {
                break;
            }
            self.place(position, above, arena);
            position = parent;
        }
        self.place(position, node, arena);
    }

    fn sift_down(&mut self, mut position: usize, node: Node, arena: &mut Arena) {
        loop {
            let first = position * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.len);
            let Some(child) = children.min_by_key(|&child| self.node(child).at_ms) else {
                break;
            };
            let below = self.node(child);
            if node.at_ms <= below.at_ms {
                break;
            }
            self.place(position, below, arena);
            position = child;
        }
        self.place(position, node, arena);
    }

    fn place(&mut self, position: usize, node: Node, arena: &mut Arena) {
        self.set(position, node);
        EntryMut::at(arena, node.handle).set_expiry_position(Some(position));
    }

    #[inline]
    fn node(&self, position: usize) -> Node {
        let (nodes, _) = self.pages[position / NODES_PER_PAGE].as_chunks::<NODE_BYTES>();
        let word = u128::from_le_bytes(nodes[position % NODES_PER_PAGE]);
        let handle = Handle::from_raw((word >> 64) as u32).expect("a node names an entry");
        Node {
            at_ms: word as u64,
            handle,
        }
    }

    #[inline]
    fn set(&mut self, position: usize, node: Node) {
        let (nodes, _) = self.pages[position / NODES_PER_PAGE].as_chunks_mut::<NODE_BYTES>();
        let word = u128::from(node.handle.raw()) << 64 | u128::from(node.at_ms);
        nodes[position % NODES_PER_PAGE] = word.to_le_bytes();
    }
}
