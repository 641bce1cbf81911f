//! Vital signs: the few counters of all parts that detectors look at, taken together in one value.

/// What detectors look at, as it is at one moment; counts are since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Bytes of managed memory,
    pub memory_bytes: u64,
    /// and of them free, those in page caches included.
    pub free_bytes: u64,
    /// Requests for up to eight frames that were refused: larger ones have smaller ones to fall back on.
    pub frames_refused: u64,
    /// Requests for heap objects that were refused.
    pub heap_refused: u64,
    /// Requests for pages that a page cache met,
    pub cached_pages: u64,
    /// and those that refilled one.
    pub refills: u64,
    /// Pages that lie in page caches now.
    pub page_cache_pages: u64,
    /// Frames received,
    pub frames_received: u64,
    /// dropped for a wrong checksum,
    pub checksum_drops: u64,
    /// and dropped for want of memory or of a free connection.
    pub no_buffer_drops: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Clients refused for the limit on their number.
    pub clients_refused: u64,
    /// Clients connected now.
    pub clients: u64,
    /// Commands run,
    pub commands: u64,
    /// of them longer than 10 ms,
    pub late_commands: u64,
    /// and longer than 100 ms.
    pub slow_commands: u64,
    /// Reads that found their key,
    pub hits: u64,
    /// and those that did not.
    pub misses: u64,
    /// Keys dropped for room.
    pub evicted: u64,
    /// Keys dropped by age.
    pub expired: u64,
    /// Entries, and parts of the index, that were not as they had been written when they were read.
    pub damaged: u64,
    /// Bytes of the dataset now,
    pub dataset_bytes: u64,
    /// their limit,
    pub limit_bytes: u64,
    /// and whether the policy lets any of it go.
    pub may_evict: bool,
    /// Requests for pages of HTTP answered,
    pub http_requests: u64,
    /// and refused.
    pub http_rejections: u64,
}
