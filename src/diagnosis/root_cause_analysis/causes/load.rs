//! What clients and configuration bring about: nothing is broken, and something is wrong.

use super::super::graph::{AT_TIMES, Cause, Delay, OFTEN, SELDOM, here};
use super::super::symptoms::{Place, SymptomKind as S};
use crate::diagnosis::remediation_recommendations::RemedyKind as R;

pub(super) const ROWS: &[Cause] = &[
    Cause {
        name: "memory_full",
        about: "what is stored and served takes all memory",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::FreeMemoryLow, 0.97, Delay::Soon),
            here(S::MemoryExhaustionForecast, 0.5, Delay::Soon),
            here(S::EvictionsHigh, 0.6, Delay::Later),
            here(S::FrameRequestsRefused, 0.4, Delay::Later),
            here(S::HeapRequestsRefused, 0.3, Delay::Later),
            here(S::OomReplies, 0.3, Delay::Later),
            here(S::FragmentationHigh, 0.2, Delay::Later),
        ],
        remedies: &[R::DrainCaches, R::Compact, R::ShedLoad, R::TellMemory],
    },
    Cause {
        name: "limit_beyond_memory",
        about: "maxmemory is more than memory can hold",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::MemoryLimitBeyondMemory, 0.98, Delay::Soon),
            here(S::FreeMemoryLow, 0.4, Delay::Slowly),
            here(S::OomReplies, 0.2, Delay::Slowly),
        ],
        remedies: &[R::ShedLoad, R::TellLimit],
    },
    Cause {
        name: "limit_too_low",
        about: "the working set does not fit into maxmemory",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::MemoryLimitReached, 0.95, Delay::Soon),
            here(S::EvictionsHigh, 0.9, Delay::Soon),
            here(S::HitRatioLow, 0.7, Delay::Later),
        ],
        remedies: &[R::SwitchPrefetch, R::SwitchEviction, R::TellLimit],
    },
    Cause {
        name: "eviction_forbidden",
        about: "maxmemory is reached, and maxmemory-policy lets nothing go",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::MemoryLimitReached, 0.95, Delay::Soon),
            here(S::OomReplies, 0.95, Delay::Soon),
        ],
        remedies: &[R::TellLimit],
    },
    Cause {
        name: "client_overload",
        about: "clients ask for more than the image can serve",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::CommandRateHigh, 0.9, Delay::Soon),
            here(S::CpuBusy, 0.8, Delay::Soon),
            here(S::CommandLatencyHigh, 0.7, Delay::Later),
            here(S::NoBufferDrops, 0.2, Delay::Later),
            here(S::SchedulerLatencyHigh, 0.3, Delay::Later),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "expensive_commands",
        about: "clients send commands that take very long",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::SlowCommands, 0.97, Delay::Soon),
            here(S::CommandLatencyHigh, 0.5, Delay::Later),
            here(S::CpuBusy, 0.3, Delay::Later),
            here(S::SchedulerLatencyHigh, 0.1, Delay::Later),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "slow_client",
        about: "a client does not read its replies",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::OutputBuffersHigh, 0.97, Delay::Soon),
            here(S::FreeMemoryLow, 0.05, Delay::Later),
            here(S::RetransmitsHigh, 0.1, Delay::Later),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "connection_flood",
        about: "clients open more connections than there is room for",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::ClientsHigh, 0.95, Delay::Soon),
            here(S::ClientsRefused, 0.7, Delay::Later),
            here(S::NoBufferDrops, 0.1, Delay::Later),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "hash_flood",
        about: "keys are chosen so that their hashes collide",
        place: Place::Image,
        prior: SELDOM,
        links: &[
            here(S::ProbesLong, 0.97, Delay::Soon),
            here(S::CommandLatencyHigh, 0.5, Delay::Later),
            here(S::CpuBusy, 0.4, Delay::Later),
            here(S::SlowCommands, 0.1, Delay::Later),
        ],
        remedies: &[R::WarmReboot, R::TellClients],
    },
    Cause {
        name: "expiry_storm",
        about: "very many keys expire at once",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::ExpiriesHigh, 0.97, Delay::Soon),
            here(S::HitRatioLow, 0.4, Delay::Later),
            here(S::CommandLatencyHigh, 0.2, Delay::Soon),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "http_flood",
        about: "the pages are asked for far too often",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::HttpRateHigh, 0.97, Delay::Soon),
            here(S::HttpRejections, 0.5, Delay::Soon),
            here(S::CpuBusy, 0.2, Delay::Later),
        ],
        remedies: &[R::TellClients],
    },
];
