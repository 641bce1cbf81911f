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
use super::blocks::{BlockVec, Held, in_order};
use super::budget::Budget;
use super::entry::{Entry, EntryMut};
use super::seal::{self, add};
use crate::cache::random::Random;
use crate::error::Result;
use crate::memory::frames::{Contents, Order};

const PAGE_ORDER: Order = Order::ZERO;
const NODE_BYTES: usize = 16;
const NODES_PER_PAGE: usize = PAGE_ORDER.bytes() / NODE_BYTES;
const CHILDREN: usize = 4;
/// Chunks of the directory: 2^30 nodes.
const CHUNKS: usize = 8;

/// The position that an entry has while the index is made again and its node has not been found.
const UNSEEN: usize = i32::MAX as usize - 1;

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    /// The entry.
    pub(super) handle: Handle,
}

/// A node on the move, and where it was.
type Moved = (Option<usize>, Node);

/// Expiries, the soonest first.
pub(super) struct Expiries {
    pages: BlockVec<Held, CHUNKS>,
    len: usize,
}

impl Expiries {
    /// An empty index.
    pub(super) const fn new() -> Self {
        Self {
            pages: BlockVec::new(),
            len: 0,
        }
    }

    /// Nodes held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The entry at a position, if there is one.
    pub(super) fn handle_at(&self, position: usize) -> Option<Handle> {
        (position < self.len).then(|| self.node(position).handle)
    }

    /// The bytes of its nodes.
    #[cfg(test)]
    pub(super) fn stored(&mut self, see: &mut dyn FnMut(&mut [u8])) {
        let used = self.len * NODE_BYTES;
        (0..self.pages.len()).for_each(|index| {
            let bytes = self.pages[index].bytes_mut();
            let used = used.saturating_sub(index * bytes.len()).min(bytes.len());
            see(&mut bytes[..used]);
        });
    }

    /// Every place that may hold a block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Held> {
        self.pages.iter().chain(self.pages.chunks())
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
            self.pages.push_block(PAGE_ORDER, budget, Contents::Any)?;
        }
        Ok(())
    }

    /// Adds a node after [`Expiries::reserve`], and tells the entry its position.
    pub(super) fn insert(&mut self, node: Node, arena: &mut Arena) {
        self.len += 1;
        self.sift_up(self.len - 1, (None, node), arena);
    }

    /// Changes the time at `position`.
    pub(super) fn reschedule(&mut self, position: usize, at_ms: u64, arena: &mut Arena) {
        let node = self.node(position);
        let moved = Node {
            at_ms,
            handle: node.handle,
        };
        if at_ms < node.at_ms {
            self.sift_up(position, (Some(position), moved), arena);
        } else {
            self.sift_down(position, (Some(position), moved), arena);
        }
    }

    /// Makes the node at `position` name the entry's new slot; its header moved with it.
    pub(super) fn rename(&mut self, position: usize, handle: Handle) {
        let at_ms = self.node(position).at_ms;
        let [_, word] = self.words_mut(position);
        *word = sealed(at_ms, handle);
    }

    /// Removes the node at `position`. The header of its entry is the caller's to change.
    pub(super) fn remove(&mut self, position: usize, arena: &mut Arena, budget: &mut Budget) {
        self.len -= 1;
        let last = self.node(self.len);
        if position < self.len {
            if last.at_ms < self.node(position).at_ms {
                self.sift_up(position, (Some(self.len), last), arena);
            } else {
                self.sift_down(position, (Some(self.len), last), arena);
            }
        }
        // One page beyond need is kept, so that a border is not paid for twice a moment.
        if self.len + 2 * NODES_PER_PAGE <= self.pages.len() * NODES_PER_PAGE {
            self.pages.pop_block(budget);
        }
        if self.len == 0 {
            self.clear(budget);
        }
    }

    /// Forgets all nodes and gives the pages back.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        self.len = 0;
        self.pages.give_all(budget);
    }

    /// Makes the index again after a cut, from the live entries that say they have an expiry and the times
    /// in the nodes; tells how many have none, which are dropped. `heir` takes the node of the first of the two, and the entry
    /// `redone` may do without: the caller sets its expiry next.
    ///
    /// Only one node moves at a time. A place that another node is being written to names no entry, and what
    /// is written is still in its old place as well; or it is the moving node, that of `redone`, of an entry
    /// that ends, or the last, which stays behind the end.
    pub(super) fn rebuild(
        &mut self,
        (arena, budget): (&mut Arena, &mut Budget),
        heir: Option<(Handle, Handle)>,
        redone: Option<Handle>,
    ) -> u64 {
        self.pages.trim();
        let mut unseen = 0;
        let mut from = None;
        while let Some(handle) = arena.next_live(from) {
            from = Some(handle);
            if Entry::at(arena, handle).expiry_position().is_some() {
                EntryMut::at(arena, handle).set_expiry_position(Some(UNSEEN));
                unseen += 1;
            }
        }
        let end = (self.len + 1).min(self.pages.len() * NODES_PER_PAGE);
        self.len = 0;
        for position in 0..end {
            let (at_ms, Some(handle)) = self.read(position) else {
                continue;
            };
            let handle = heir.map_or(
                handle,
                |(old, new)| if handle == old { new } else { handle },
            );
            let wants = |slot| Entry::in_slot(slot).expiry_position() == Some(UNSEEN);
            if arena.live_slot(handle).is_some_and(wants) {
                self.place(self.len, (Some(UNSEEN), Node { at_ms, handle }), arena);
                self.len += 1;
                unseen -= 1;
            }
        }
        for position in (0..self.len).rev() {
            self.sift_down(position, (Some(position), self.node(position)), arena);
        }
        self.forget_unseen((arena, budget), unseen, redone)
    }

    /// An entry whose time is not known is dropped: it may be over.
    fn forget_unseen(
        &self,
        (arena, budget): (&mut Arena, &mut Budget),
        mut unseen: u64,
        redone: Option<Handle>,
    ) -> u64 {
        let (mut from, mut lost) = (None, 0);
        while unseen > 0
            && let Some(handle) = arena.next_live(from)
        {
            from = Some(handle);
            if Entry::at(arena, handle).expiry_position() == Some(UNSEEN) {
                EntryMut::at(arena, handle).set_expiry_position(None);
                unseen -= 1;
                if redone != Some(handle) {
                    arena.free(handle, budget);
                    lost += 1;
                }
            }
        }
        lost
    }

    /// What does not agree in the order of nodes, if anything.
    pub(super) fn inconsistency(&self, arena: &Arena) -> Option<&'static str> {
        if self.len > self.pages.len() * NODES_PER_PAGE {
            return Some("the index of expiries is shorter than its length");
        }
        let is_wrong = |position: usize| {
            let (at_ms, handle) = self.read(position);
            let Some(slot) = handle.and_then(|handle| arena.live_slot(handle)) else {
                return true;
            };
            let parent = position.saturating_sub(1) / CHILDREN;
            Entry::in_slot(slot).expiry_position() != Some(position) || self.read(parent).0 > at_ms
        };
        (0..self.len)
            .any(is_wrong)
            .then_some("a node of an expiry is not its entry's, or out of order")
    }

    fn sift_up(&mut self, mut position: usize, (from, node): Moved, arena: &mut Arena) {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            let above = self.node(parent);
            if above.at_ms <= node.at_ms {
                break;
            }
            self.place(position, (Some(parent), above), arena);
            position = parent;
        }
        self.place(position, (from, node), arena);
    }

    fn sift_down(&mut self, mut position: usize, (from, node): Moved, arena: &mut Arena) {
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
            self.place(position, (Some(child), below), arena);
            position = child;
        }
        self.place(position, (from, node), arena);
    }

    /// Puts a node at a position. What its entry says now need not be so, where nobody has verified it.
    fn place(&mut self, position: usize, (from, node): Moved, arena: &mut Arena) {
        self.set(position, node);
        EntryMut::at(arena, node.handle).move_expiry(from, Some(position));
    }

    #[inline]
    fn node(&self, position: usize) -> Node {
        let (at_ms, handle) = self.read(position);
        let handle = handle.expect("a node names an entry, one flipped bit put right");
        Node { at_ms, handle }
    }

    #[inline]
    fn read(&self, position: usize) -> (u64, Option<Handle>) {
        let (nodes, _) = self.pages[position / NODES_PER_PAGE]
            .bytes()
            .as_chunks::<NODE_BYTES>();
        open(nodes[position % NODES_PER_PAGE])
    }

    /// Puts a flipped bit of a node right; true if there was one.
    pub(super) fn mend(&mut self, position: usize) -> bool {
        if position >= self.len {
            return false;
        }
        let node = self.words_mut(position).as_flattened_mut();
        !is_sealed(node) && seal::mend(node, &is_sealed)
    }

    /// Sets a node: never, not even between two stores, to one entry with another's time.
    #[inline]
    fn set(&mut self, position: usize, node: Node) {
        let [at_ms, handle] = self.words_mut(position);
        *handle = [0; 8];
        in_order();
        *at_ms = node.at_ms.to_le_bytes();
        in_order();
        *handle = sealed(node.at_ms, node.handle);
    }

    #[inline]
    fn words_mut(&mut self, position: usize) -> &mut [[u8; 8]; 2] {
        let bytes = self.pages[position / NODES_PER_PAGE].bytes_mut();
        let (nodes, _) = bytes.as_chunks_mut::<NODE_BYTES>();
        let (words, _) = nodes[position % NODES_PER_PAGE].as_chunks_mut();
        words.first_chunk_mut().expect("a node is two words")
    }
}

/// The second word of a node.
#[inline]
fn sealed(at_ms: u64, handle: Handle) -> [u8; 8] {
    let seal = add(add(0, at_ms), handle.raw().into());
    (u64::from(seal) << 32 | u64::from(handle.raw())).to_le_bytes()
}

/// What a node says, one flipped bit put right; no entry if nothing does that.
#[inline]
fn open(mut node: [u8; NODE_BYTES]) -> (u64, Option<Handle>) {
    let word = u128::from_le_bytes(node);
    // A node that is being written names no entry.
    if word >> 64 == 0 || !is_sealed(&node) && !seal::mend(&mut node, &is_sealed) {
        return (0, None);
    }
    let word = u128::from_le_bytes(node);
    (word as u64, Handle::from_raw((word >> 64) as u32))
}

/// True if a node is as it was written.
#[inline]
fn is_sealed(node: &[u8]) -> bool {
    let word = |at| u64::from_le_bytes(*node[at..].first_chunk().expect("a node is two words"));
    let seal = add(add(0, word(0)), word(8) & u64::from(u32::MAX));
    u64::from(seal) == word(8) >> 32
}
