//! Faults of memory: of its allocators, of its contents, and of those who take it.

use super::super::graph::{AT_TIMES, Cause, Delay, RARELY, SELDOM, any_part, dependents, here};
use super::super::symptoms::{Place, SymptomKind as S};
use crate::diagnosis::remediation_recommendations::RemedyKind as R;

pub(super) const ROWS: &[Cause] = &[
    Cause {
        name: "frame_allocation_failure",
        about: "the frame allocator refuses requests though memory is free",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::FrameRequestsRefused, 0.95, Delay::AtOnce),
            here(S::HeapRequestsRefused, 0.5, Delay::AtOnce),
            here(S::OomReplies, 0.4, Delay::Soon),
            here(S::FragmentationHigh, 0.1, Delay::Soon),
        ],
        remedies: &[
            R::Compact,
            R::DrainCaches,
            R::RestoreCheckpoint,
            R::WarmReboot,
        ],
    },
    Cause {
        name: "heap_allocation_failure",
        about: "the heap refuses requests though it could take more frames",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::HeapRequestsRefused, 0.95, Delay::AtOnce),
            here(S::OomReplies, 0.5, Delay::Soon),
        ],
        remedies: &[R::DrainCaches, R::ShedLoad, R::WarmReboot],
    },
    Cause {
        name: "memory_fragmentation",
        about: "free memory lies in blocks too small for large requests",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::FragmentationHigh, 0.95, Delay::Soon),
            here(S::FrameRequestsRefused, 0.4, Delay::Later),
            here(S::HeapRequestsRefused, 0.1, Delay::Later),
        ],
        remedies: &[R::Compact, R::DrainCaches],
    },
    Cause {
        name: "page_cache_too_small",
        about: "the page caches hold too few pages for what a CPU asks for at once",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::PageCacheMissesHigh, 0.95, Delay::Soon),
            here(S::CommandLatencyHigh, 0.1, Delay::Later),
        ],
        remedies: &[R::GrowCaches],
    },
    Cause {
        name: "memory_leak",
        about: "a part keeps memory that it needs no more",
        place: Place::Part,
        prior: AT_TIMES,
        links: &[
            here(S::PartMemoryGrows, 0.9, Delay::Slowly),
            here(S::MemoryExhaustionForecast, 0.6, Delay::Slowly),
            here(S::FreeMemoryLow, 0.3, Delay::Slowly),
            here(S::EvictionsHigh, 0.1, Delay::Slowly),
        ],
        remedies: &[R::RestartPart],
    },
    Cause {
        name: "quota_exceeded",
        about: "a part asks for more memory than it may have",
        place: Place::Part,
        prior: AT_TIMES,
        links: &[
            here(S::QuotaReached, 0.97, Delay::AtOnce),
            here(S::PartPanicked, 0.6, Delay::AtOnce),
            here(S::HeapRequestsRefused, 0.7, Delay::Soon),
            here(S::PartMemoryGrows, 0.3, Delay::Later),
            here(S::HealthCheckMissed, 0.2, Delay::Soon),
            dependents(S::RequestTimeouts, 0.2, Delay::Soon),
        ],
        // One that is refused and lives on is where it should be; one that dies of it is started again as it is.
        remedies: &[R::TellMemory],
    },
    Cause {
        name: "value_bit_flip",
        about: "a bit of a stored value has changed",
        place: Place::Image,
        prior: SELDOM,
        links: &[
            here(S::ValueChecksumMismatch, 0.97, Delay::Later),
            here(S::StoreInconsistent, 0.05, Delay::Later),
        ],
        remedies: &[R::DropDamagedPage, R::QuarantineFrame, R::TellHost],
    },
    Cause {
        name: "frame_metadata_bit_flip",
        about: "a bit of the frame map has changed",
        place: Place::Image,
        prior: SELDOM,
        links: &[
            here(S::FrameMapInconsistent, 0.95, Delay::Soon),
            here(S::FrameRequestsRefused, 0.05, Delay::Soon),
            any_part(S::PartAborted, 0.05, Delay::Later),
        ],
        remedies: &[R::QuarantineFrame, R::WarmReboot, R::TellHost],
    },
    Cause {
        name: "text_bit_flip",
        about: "a bit of the image's code has changed",
        place: Place::Image,
        prior: RARELY,
        links: &[
            here(S::TextChecksumMismatch, 0.9, Delay::Soon),
            any_part(S::PartRanUndefined, 0.5, Delay::Later),
            any_part(S::PartAborted, 0.2, Delay::Later),
            any_part(S::PartPanicked, 0.1, Delay::Later),
        ],
        remedies: &[R::WarmReboot, R::TellHost],
    },
    Cause {
        name: "compressed_block_corruption",
        about: "a compressed page has changed",
        place: Place::Image,
        prior: SELDOM,
        links: &[here(S::CompressedLoadCorrupt, 0.97, Delay::Later)],
        remedies: &[R::DropDamagedPage, R::QuarantineFrame, R::TellHost],
    },
    Cause {
        name: "wild_write",
        about: "a part writes where nothing is its to write",
        place: Place::Part,
        prior: AT_TIMES,
        links: &[
            here(S::PartAborted, 0.6, Delay::AtOnce),
            here(S::HeapInconsistent, 0.5, Delay::Soon),
            here(S::FrameMapInconsistent, 0.1, Delay::Soon),
            here(S::ValueChecksumMismatch, 0.2, Delay::Later),
            here(S::StoreInconsistent, 0.3, Delay::Later),
            dependents(S::RequestTimeouts, 0.1, Delay::Soon),
        ],
        remedies: &[R::RestartPart, R::RestoreCheckpoint, R::WarmReboot],
    },
];
