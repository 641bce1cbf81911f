//! Accounts: which owner is charged for which memory, and how much each may have.
//!
//! An owner is a subsystem, or a store that outlives one. Every block of frames in somebody's hands is charged to
//! one owner: the one that ran when it was allocated, or one named ([`super::MemoryManager::account`]). What an owner
//! that died is still charged with can so be found and freed ([`super::reclaim()`]), and an owner that
//! allocates without end meets its quota, not the others' memory.
//!
//! Always true, when no call is under way: an account's frames are those of the blocks that the owner map says are
//! charged to it, and those charged in advance for blocks in page caches ([`super::page_cache`]). No account exceeds
//! its quota but by what it had when the quota was set. A request is
//! refused only once nothing is charged in advance any more, so a quota is exact to the frame.
//!
//! Limits: sixteen owners.

use super::frames::PAGE_SIZE;
use crate::metrics::Counter;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Who is charged: the number of a subsystem's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u8);

impl Owner {
    /// The image itself: what boot allocates, and what belongs to no subsystem. It is never reclaimed.
    pub const KERNEL: Self = Self(0);
    /// How many owners there can be.
    pub const COUNT: usize = 16;

    /// The owner of that number, if there is one.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The owner of that number.
    ///
    /// # Safety
    /// The number is below [`Owner::COUNT`].
    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "what runs is asked for its owner in every call, and was checked once"
    )]
    pub const unsafe fn new_unchecked(number: u8) -> Self {
        // SAFETY: this function's contract.
        unsafe { core::hint::assert_unchecked((number as usize) < Self::COUNT) };
        Self(number)
    }

    /// The owner whose number is in the low four bits.
    #[inline]
    pub const fn from_low_bits(bits: u8) -> Self {
        Self(bits % Self::COUNT as u8)
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// All owners.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }

    /// Its number as an index, which the compiler sees to be below [`Owner::COUNT`].
    #[inline]
    pub(super) const fn index(self) -> usize {
        (self.0 % Self::COUNT as u8) as usize
    }
}

/// What an owner is charged with, and what it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the blocks charged to it now.
    pub used_bytes: u64,
    /// Most bytes that were charged to it at one time, in advance or for blocks in its hands.
    pub peak_bytes: u64,
    /// Most it may have; none if it may have all there is.
    pub quota_bytes: Option<u64>,
    /// Requests refused because of the quota.
    pub refusals: u64,
}

/// Without a quota.
const UNLIMITED: u64 = u64::MAX;

/// One owner's account, in frames. No two share a line (two lines: they are fetched in pairs).
#[repr(align(128))]
struct Account {
    frames: AtomicU64,
    peak: AtomicU64,
    quota: AtomicU64,
    refusals: Counter,
}

/// The accounts of all owners. Relaxed throughout: a count orders nothing else.
pub(super) struct Accounts([Account; Owner::COUNT]);

impl Accounts {
    pub(super) const fn new() -> Self {
        Self(
            [const {
                Account {
                    frames: AtomicU64::new(0),
                    peak: AtomicU64::new(0),
                    quota: AtomicU64::new(UNLIMITED),
                    refusals: Counter::new(),
                }
            }; Owner::COUNT],
        )
    }

    /// Charges `owner` with up to `most` times `frames`, as often as its quota allows; answers how often.
    pub(super) fn charge(&self, owner: Owner, frames: u64, most: u64) -> u64 {
        let account = self.of(owner);
        let quota = account.quota.load(Relaxed);
        let times = |now: u64| (quota.saturating_sub(now) / frames).min(most);
        let before = account
            .frames
            .fetch_update(Relaxed, Relaxed, |now| Some(now + times(now) * frames));
        let before = before.unwrap_or_else(|now| now);
        let charged = times(before);
        self.note_peak(account, before + charged * frames);
        charged
    }

    /// Charges `owner` with `frames` whatever its quota.
    #[cfg(test)]
    pub(super) fn charge_beyond_quota(&self, owner: Owner, frames: u64) {
        self.of(owner).frames.fetch_add(frames, Relaxed);
    }

    /// Counts a request refused because of the quota of `owner`.
    pub(super) fn refuse(&self, owner: Owner) {
        self.of(owner).refusals.increment();
    }

    fn note_peak(&self, account: &Account, now: u64) {
        if now > account.peak.load(Relaxed) {
            account.peak.fetch_max(now, Relaxed);
        }
    }

    /// Takes `frames` off the account of `owner`, which was charged with them.
    #[inline]
    pub(super) fn discharge(&self, owner: Owner, frames: u64) {
        self.of(owner).frames.fetch_sub(frames, Relaxed);
    }

    /// Frames that `owner` is charged with, those in stocks included.
    pub(super) fn frames(&self, owner: Owner) -> u64 {
        self.of(owner).frames.load(Relaxed)
    }

    /// Corrects the account from what it says to what was counted, unless it has changed since; true if it was wrong.
    pub(super) fn correct(&self, owner: Owner, from: u64, to: u64) -> bool {
        let frames = &self.of(owner).frames;
        from != to && frames.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn set_quota(&self, owner: Owner, bytes: Option<u64>) {
        let frames = bytes.map_or(UNLIMITED, |bytes| bytes / PAGE_SIZE as u64);
        self.of(owner).quota.store(frames, Relaxed);
    }

    /// What `owner` is charged with, of which `in_stock` frames lie in page caches.
    pub(super) fn usage(&self, owner: Owner, in_stock: u64) -> Usage {
        let account = self.of(owner);
        let bytes = |frames: u64| frames * PAGE_SIZE as u64;
        let quota = account.quota.load(Relaxed);
        Usage {
            used_bytes: bytes(account.frames.load(Relaxed).saturating_sub(in_stock)),
            peak_bytes: bytes(account.peak.load(Relaxed)),
            quota_bytes: (quota != UNLIMITED).then(|| bytes(quota)),
            refusals: account.refusals.get(),
        }
    }

    #[inline]
    fn of(&self, owner: Owner) -> &Account {
        #[cfg(test)]
        super::test_support::note_change();
        &self.0[owner.index()]
    }
}
