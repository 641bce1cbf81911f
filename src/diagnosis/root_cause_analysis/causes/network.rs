//! Faults of the network, its device and its interrupts.

use super::super::graph::{AT_TIMES, Cause, Delay, OFTEN, here};
use super::super::symptoms::{Place, SymptomKind as S};
use crate::diagnosis::remediation_recommendations::RemedyKind as R;

pub(super) const ROWS: &[Cause] = &[
    Cause {
        name: "packet_loss",
        about: "frames are lost on their way",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::SegmentsMissing, 0.9, Delay::Soon),
            here(S::RetransmitsHigh, 0.8, Delay::Soon),
            here(S::CommandLatencyHigh, 0.3, Delay::Later),
            here(S::SegmentsOutOfOrder, 0.3, Delay::Soon),
        ],
        remedies: &[R::TellNetwork],
    },
    Cause {
        name: "packet_corruption",
        about: "frames are changed on their way",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::ChecksumDrops, 0.95, Delay::Soon),
            here(S::SegmentsMissing, 0.5, Delay::Soon),
            here(S::RetransmitsHigh, 0.6, Delay::Soon),
        ],
        remedies: &[R::ResetNetwork, R::TellNetwork],
    },
    Cause {
        name: "packet_reordering",
        about: "frames overtake each other",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::SegmentsOutOfOrder, 0.95, Delay::Soon),
            here(S::RetransmitsHigh, 0.2, Delay::Soon),
        ],
        remedies: &[R::TellNetwork],
    },
    Cause {
        name: "packet_duplication",
        about: "frames arrive more than once",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::SegmentsRepeated, 0.95, Delay::Soon),
            here(S::RetransmitsHigh, 0.05, Delay::Soon),
        ],
        remedies: &[R::TellNetwork],
    },
    Cause {
        name: "network_stall",
        about: "the network device takes and gives nothing for a while",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::TransmitStalled, 0.85, Delay::Soon),
            here(S::ReceiveStopped, 0.8, Delay::Soon),
            here(S::RetransmitsHigh, 0.4, Delay::Later),
            here(S::CommandLatencyHigh, 0.2, Delay::Later),
        ],
        remedies: &[R::ResetNetwork, R::TellNetwork],
    },
    Cause {
        name: "lost_interrupt",
        about: "a device's interrupts do not arrive",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::InterruptMissing, 0.95, Delay::Soon),
            here(S::ReceiveStopped, 0.3, Delay::Soon),
            here(S::CommandLatencyHigh, 0.4, Delay::Later),
            here(S::TimersLate, 0.1, Delay::Soon),
        ],
        remedies: &[R::ResetNetwork, R::WarmReboot],
    },
    Cause {
        name: "link_down",
        about: "the network device has lost its link",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::LinkDown, 0.97, Delay::Soon),
            here(S::ReceiveStopped, 0.8, Delay::Soon),
            here(S::RetransmitsHigh, 0.2, Delay::Later),
        ],
        remedies: &[R::TellNetwork, R::ResetNetwork],
    },
];
