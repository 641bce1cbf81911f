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
            here(S::FreeMemoryLow, 0.97, Delay::SOON),
            here(S::MemoryExhaustionForecast, 0.5, Delay::SOON),
            here(S::EvictionsHigh, 0.6, Delay::LATER),
            here(S::FrameRequestsRefused, 0.4, Delay::LATER),
            here(S::HeapRequestsRefused, 0.3, Delay::LATER),
            here(S::OomReplies, 0.3, Delay::LATER),
            here(S::FragmentationHigh, 0.2, Delay::LATER),
        ],
        remedies: &[R::DrainCaches, R::Compact, R::ShedLoad, R::TellMemory],
    },
    Cause {
        name: "limit_beyond_memory",
        about: "maxmemory is more than memory can hold",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::MemoryLimitBeyondMemory, 0.98, Delay::SOON),
            here(S::FreeMemoryLow, 0.4, Delay::SLOWLY),
            here(S::OomReplies, 0.2, Delay::SLOWLY),
        ],
        remedies: &[R::ShedLoad, R::TellLimit],
    },
    Cause {
        name: "limit_too_low",
        about: "the working set does not fit into maxmemory",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::MemoryLimitReached, 0.95, Delay::SOON),
            here(S::EvictionsHigh, 0.9, Delay::SOON),
            here(S::HitRatioLow, 0.7, Delay::LATER),
        ],
        remedies: &[R::SwitchPrefetch, R::SwitchEviction, R::TellLimit],
    },
    Cause {
        name: "eviction_forbidden",
        about: "maxmemory is reached, and maxmemory-policy lets nothing go",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::MemoryLimitReached, 0.95, Delay::SOON),
            here(S::OomReplies, 0.95, Delay::SOON),
        ],
        remedies: &[R::TellLimit],
    },
    Cause {
        name: "client_overload",
        about: "clients ask for more than the image can serve",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::CommandRateHigh, 0.9, Delay::SOON),
            here(S::CpuBusy, 0.8, Delay::SOON),
            here(S::CommandLatencyHigh, 0.7, Delay::LATER),
            here(S::NoBufferDrops, 0.2, Delay::LATER),
            here(S::SchedulerLatencyHigh, 0.3, Delay::LATER),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "expensive_commands",
        about: "clients send commands that take very long",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::SlowCommands, 0.97, Delay::SOON),
            here(S::CommandLatencyHigh, 0.5, Delay::LATER),
            here(S::CpuBusy, 0.3, Delay::LATER),
            here(S::SchedulerLatencyHigh, 0.1, Delay::LATER),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "slow_client",
        about: "a client does not read its replies",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::OutputBuffersHigh, 0.97, Delay::SOON),
            here(S::FreeMemoryLow, 0.05, Delay::LATER),
            here(S::RetransmitsHigh, 0.1, Delay::LATER),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "connection_flood",
        about: "clients open more connections than there is room for",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::ClientsHigh, 0.95, Delay::SOON),
            here(S::ClientsRefused, 0.7, Delay::LATER),
            here(S::NoBufferDrops, 0.1, Delay::LATER),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "hash_flood",
        about: "keys are chosen so that their hashes collide",
        place: Place::Image,
        prior: SELDOM,
        links: &[
            here(S::ProbesLong, 0.97, Delay::SOON),
            here(S::CommandLatencyHigh, 0.5, Delay::LATER),
            here(S::CpuBusy, 0.4, Delay::LATER),
            here(S::SlowCommands, 0.1, Delay::LATER),
        ],
        remedies: &[R::WarmReboot, R::TellClients],
    },
    Cause {
        name: "expiry_storm",
        about: "very many keys expire at once",
        place: Place::Image,
        prior: OFTEN,
        links: &[
            here(S::ExpiriesHigh, 0.97, Delay::SOON),
            here(S::HitRatioLow, 0.4, Delay::LATER),
            here(S::CommandLatencyHigh, 0.2, Delay::SOON),
        ],
        remedies: &[R::TellClients],
    },
    Cause {
        name: "http_flood",
        about: "the pages are asked for far too often",
        place: Place::Image,
        prior: AT_TIMES,
        links: &[
            here(S::HttpRateHigh, 0.97, Delay::SOON),
            here(S::HttpRejections, 0.5, Delay::SOON),
            here(S::CpuBusy, 0.2, Delay::LATER),
        ],
        remedies: &[R::TellClients],
    },
];
