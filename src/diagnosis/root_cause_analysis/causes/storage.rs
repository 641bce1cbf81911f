//! Faults of the disk and of what is kept on it.

use super::super::graph::{AT_TIMES, Cause, Delay, OFTEN, SELDOM, here};
use super::super::symptoms::{Place, SymptomKind as S};
use crate::diagnosis::remediation_recommendations::RemedyKind as R;

pub(super) const ROWS: &[Cause] = &[
    Cause {
        name: "block_read_error",
        about: "the disk cannot read blocks",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::BlockReadFailed, 0.97, Delay::AtOnce),
            here(S::BlockLatencyHigh, 0.1, Delay::Soon),
        ],
        remedies: &[R::ResetDisk, R::QuarantineBlock, R::TellDisk],
    },
    Cause {
        name: "block_write_error",
        about: "the disk cannot write blocks",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::BlockWriteFailed, 0.97, Delay::AtOnce),
            here(S::CheckpointFailed, 0.7, Delay::Soon),
            here(S::CheckpointLate, 0.2, Delay::Slowly),
        ],
        remedies: &[R::ResetDisk, R::QuarantineBlock, R::TellDisk],
    },
    Cause {
        name: "block_flush_error",
        about: "the disk does not keep what it was given",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::BlockFlushFailed, 0.97, Delay::AtOnce),
            here(S::CheckpointFailed, 0.6, Delay::Soon),
            here(S::CheckpointLate, 0.2, Delay::Slowly),
        ],
        remedies: &[R::ResetDisk, R::TellDisk],
    },
    Cause {
        name: "torn_write",
        about: "a write reached the disk in part",
        place: Place::Image,
        prior: SELDOM,
        links: &[
            here(S::CheckpointSlotTorn, 0.9, Delay::Later),
            here(S::BlockChecksumMismatch, 0.4, Delay::Later),
        ],
        remedies: &[R::QuarantineBlock, R::TellDisk],
    },
    Cause {
        name: "block_corruption",
        about: "the disk returns other bytes than were written",
        place: Place::Image,
        prior: SELDOM,
        links: &[
            here(S::BlockChecksumMismatch, 0.95, Delay::Later),
            here(S::CheckpointSlotTorn, 0.05, Delay::Later),
        ],
        remedies: &[R::QuarantineBlock, R::TellDisk],
    },
    Cause {
        name: "disk_slow",
        about: "the disk takes long",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::BlockLatencyHigh, 0.95, Delay::Soon),
            here(S::CheckpointLate, 0.4, Delay::Slowly),
        ],
        remedies: &[R::ResetDisk, R::TellDisk],
    },
    Cause {
        name: "disk_foreign",
        about: "the disk holds something that is not ours",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::DiskForeign, 0.98, Delay::AtOnce),
            here(S::CheckpointFailed, 0.3, Delay::Later),
            here(S::CheckpointLate, 0.3, Delay::Slowly),
        ],
        remedies: &[R::TellDisk],
    },
];
