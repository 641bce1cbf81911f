//! The table of remedies: what can be done, when it makes sense, what it costs and may destroy, how one learns whether
//! it helped, and how often it may be tried. Causes name the rows that may help against them, the mildest first.

use crate::diagnosis::root_cause_analysis::Place;
use crate::platform::time::Duration;

/// What is done. Who can do it is told by the composition root ([`super::Actuator`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the operator is told what to change.
    Tell,
    /// A part is stopped and started again by the supervisor.
    RestartSubsystem,
    /// The page caches give back what they hold.
    DrainCaches,
    /// The page caches get other limits.
    ResizeCaches,
    /// Movable frames are moved together, so that large blocks form.
    Compact,
    /// Keys are evicted, and requests refused, until there is room.
    ShedLoad,
    /// A frame is taken out of use for good.
    QuarantineFrame,
    /// A block of the disk is taken out of use for good.
    QuarantineBlock,
    /// The prefetcher works by another strategy.
    SwitchPrefetchStrategy,
    /// Keys are evicted by another policy.
    SwitchEvictionStrategy,
    /// A loaded module is stopped and not started again.
    DisableModule,
    /// A device is reset and its queues are set up anew.
    ResetDevice,
    /// What the last checkpoint holds replaces what is in memory.
    RestoreCheckpoint,
    /// The machine starts again, and keeps its memory.
    WarmReboot,
}

impl Action {
    /// All of them, each at its own place.
    pub const ALL: [Self; 14] = [
        Self::Tell,
        Self::RestartSubsystem,
        Self::DrainCaches,
        Self::ResizeCaches,
        Self::Compact,
        Self::ShedLoad,
        Self::QuarantineFrame,
        Self::QuarantineBlock,
        Self::SwitchPrefetchStrategy,
        Self::SwitchEvictionStrategy,
        Self::DisableModule,
        Self::ResetDevice,
        Self::RestoreCheckpoint,
        Self::WarmReboot,
    ];

    /// Its name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tell => "tell",
            Self::RestartSubsystem => "restart_subsystem",
            Self::DrainCaches => "drain_caches",
            Self::ResizeCaches => "resize_caches",
            Self::Compact => "compact",
            Self::ShedLoad => "shed_load",
            Self::QuarantineFrame => "quarantine_frame",
            Self::QuarantineBlock => "quarantine_block",
            Self::SwitchPrefetchStrategy => "switch_prefetch_strategy",
            Self::SwitchEvictionStrategy => "switch_eviction_strategy",
            Self::DisableModule => "disable_module",
            Self::ResetDevice => "reset_device",
            Self::RestoreCheckpoint => "restore_checkpoint",
            Self::WarmReboot => "warm_reboot",
        }
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $kind:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$about])* $kind,)* }

        impl $name {
            /// As reports have it.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }
    };
}

named! {
    /// What must hold for a remedy to make sense.
    Precondition {
        /// Nothing.
        Always "always",
        /// The part at fault is one that the supervisor can start again.
        PartIsSupervised "the part is supervised",
        /// The page caches hold pages.
        CachesHoldPages "the page caches hold pages",
        /// Keys may be evicted.
        EvictionIsAllowed "maxmemory-policy lets keys be evicted",
        /// The damaged frame is known.
        FrameIsKnown "the frame is known",
        /// The damaged block is known.
        BlockIsKnown "the block is known",
        /// A whole checkpoint is there.
        CheckpointIsWhole "a whole checkpoint is there",
        /// The module at fault is known and loaded.
        ModuleIsLoaded "the module is loaded",
        /// The device at fault is there.
        DeviceIsThere "the device is there",
        /// The prefetcher runs.
        PrefetcherRuns "the prefetcher runs",
    }
}

named! {
    /// What a remedy costs while it works; lesser first.
    Cost {
        /// Nothing to speak of.
        Nothing "nothing",
        /// Some of a CPU for a moment.
        Moment "a moment of one CPU",
        /// Service is slower for a while.
        Slower "slower service for a while",
        /// A part does not serve for a while.
        Outage "a part is away for a while",
        /// Nothing serves for a second or so.
        FullOutage "all service for about a second",
    }
}

named! {
    /// How likely a remedy makes things worse; lesser first.
    Risk {
        /// It cannot.
        None "none",
        /// It was never seen to.
        Low "low",
        /// It may, where the cause is another one.
        High "high",
    }
}

named! {
    /// What a remedy may destroy; lesser first.
    Destroys {
        /// Nothing.
        Nothing "nothing",
        /// What can be had again at once: caches, prefetched pages.
        Caches "what caches hold",
        /// Open connections of the part, and requests under way.
        Connections "open connections",
        /// Keys that the configured policy lets go.
        EvictableKeys "keys that maxmemory-policy lets go",
        /// The one value or block that is damaged.
        TheDamaged "the damaged value or block",
        /// What was written since the last checkpoint.
        WritesSinceCheckpoint "what was written since the last checkpoint",
    }
}

/// How one learns whether a remedy helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The incident's symptoms clear within that time.
    SymptomsClear(Duration),
    /// The part passes its health check within that time.
    HealthCheckPasses(Duration),
    /// By nobody here: the operator acts.
    Operator,
}

impl Verification {
    /// As reports have it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::SymptomsClear(_) => "the symptoms clear",
            Self::HealthCheckPasses(_) => "the part passes its health check",
            Self::Operator => "by the operator",
        }
    }

    /// The time within which it shows; nothing if that is not the image's to say.
    pub const fn within(self) -> Option<Duration> {
        match self {
            Self::SymptomsClear(time) | Self::HealthCheckPasses(time) => Some(time),
            Self::Operator => None,
        }
    }
}

/// How often a remedy may be tried on one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// So many times,
    pub times: u8,
    /// within that time.
    pub within: Duration,
}

/// A row of the table of remedies.
#[derive(Clone, Copy, Debug)]
pub struct Remedy {
    /// Its name in reports.
    pub name: &'static str,
    /// What is done, for who reads a report.
    pub about: &'static str,
    /// What is done.
    pub action: Action,
    /// What it is done to.
    pub place: Place,
    /// What must hold.
    pub precondition: Precondition,
    /// What it costs.
    pub cost: Cost,
    /// How likely it makes things worse.
    pub risk: Risk,
    /// What it may destroy.
    pub destroys: Destroys,
    /// How one learns whether it helped.
    pub verification: Verification,
    /// How often it may be tried.
    pub attempts: Attempts,
}

const fn clear_within_secs(secs: u64) -> Verification {
    Verification::SymptomsClear(Duration::from_secs(secs))
}

const fn healthy_within_millis(millis: u64) -> Verification {
    Verification::HealthCheckPasses(Duration::from_millis(millis))
}

const fn per_minutes(times: u8, minutes: u64) -> Attempts {
    let within = Duration::from_secs(minutes * 60);
    Attempts { times, within }
}

macro_rules! remedies {
    ($($kind:ident $name:literal $action:ident $place:ident $precondition:ident $cost:ident $risk:ident $destroys:ident
        $verification:expr, $attempts:expr, $about:literal;)*) => {
        /// A remedy, by its row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RemedyKind { $(#[doc = $about] $kind,)* }

        impl RemedyKind {
            /// All of them, each at its own place.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What the table says of it.
            pub const fn row(self) -> &'static Remedy {
                &ROWS[self as usize]
            }
        }

        static ROWS: [Remedy; RemedyKind::ALL.len()] = [$(Remedy {
            name: $name,
            about: $about,
            action: Action::$action,
            place: Place::$place,
            precondition: Precondition::$precondition,
            cost: Cost::$cost,
            risk: Risk::$risk,
            destroys: Destroys::$destroys,
            verification: $verification,
            attempts: $attempts,
        },)*];
    };
}

// Times to verify are patience, not aims: a part that comes back is back within a quarter of a second, but for a busy host;
// what shows in samples takes a few of them.
remedies! {
    DrainCaches "drain_caches" DrainCaches Image CachesHoldPages Moment None Caches
        clear_within_secs(5), per_minutes(6, 1), "page caches give their pages back";
    GrowCaches "grow_caches" ResizeCaches Image Always Nothing Low Nothing
        clear_within_secs(10), per_minutes(3, 10), "page caches may hold more pages";
    Compact "compact" Compact Image Always Slower None Nothing
        clear_within_secs(10), per_minutes(3, 1), "movable frames are moved together";
    ShedLoad "shed_load" ShedLoad Image EvictionIsAllowed Slower Low EvictableKeys
        clear_within_secs(10), per_minutes(6, 1), "keys are evicted and large requests refused until there is room";
    SwitchEviction "switch_eviction" SwitchEvictionStrategy Image EvictionIsAllowed Nothing Low EvictableKeys
        clear_within_secs(60), per_minutes(1, 30), "keys are evicted by another policy";
    SwitchPrefetch "switch_prefetch" SwitchPrefetchStrategy Image PrefetcherRuns Nothing None Caches
        clear_within_secs(30), per_minutes(1, 10), "the prefetcher works by another strategy";
    RestartPart "restart_part" RestartSubsystem Part PartIsSupervised Outage Low Connections
        healthy_within_millis(2_000), per_minutes(3, 1), "the part is started again from its last state";
    QuarantineFrame "quarantine_frame" QuarantineFrame Image FrameIsKnown Nothing Low TheDamaged
        clear_within_secs(5), per_minutes(16, 60), "the damaged frame is used no more, and the value in it is given up";
    QuarantineBlock "quarantine_block" QuarantineBlock Image BlockIsKnown Nothing Low TheDamaged
        clear_within_secs(5), per_minutes(16, 60), "the damaged block is used no more";
    DropDamagedPage "drop_damaged_page" ShedLoad Image Always Nothing Low TheDamaged
        clear_within_secs(5), per_minutes(60, 1), "the damaged value is dropped, so that readers miss it and fetch it anew";
    DisableModule "disable_module" DisableModule Part ModuleIsLoaded Nothing Low Caches
        healthy_within_millis(2_000), per_minutes(1, 60), "the module is stopped";
    ResetNetwork "reset_network" ResetDevice Image DeviceIsThere Slower Low Caches
        clear_within_secs(5), per_minutes(2, 10), "the network device is reset and its queues are set up anew";
    ResetDisk "reset_disk" ResetDevice Image DeviceIsThere Slower Low Nothing
        clear_within_secs(5), per_minutes(2, 10), "the block device is reset and its queue is set up anew";
    RestoreCheckpoint "restore_checkpoint" RestoreCheckpoint Image CheckpointIsWhole Outage High WritesSinceCheckpoint
        clear_within_secs(5), per_minutes(1, 60), "the last whole checkpoint replaces what is in memory";
    WarmReboot "warm_reboot" WarmReboot Image Always FullOutage High WritesSinceCheckpoint
        clear_within_secs(5), per_minutes(1, 10), "the machine starts again and keeps what can be verified";
    TellMemory "tell_memory" Tell Image Always Nothing None Nothing
        Verification::Operator, per_minutes(1, 10), "give the machine more memory, or the dataset a lower maxmemory";
    TellLimit "tell_limit" Tell Image Always Nothing None Nothing
        Verification::Operator, per_minutes(1, 10), "set maxmemory and maxmemory-policy to what the working set needs";
    TellClients "tell_clients" Tell Image Always Nothing None Nothing
        Verification::Operator, per_minutes(1, 10), "look at the clients: CLIENT LIST and SLOWLOG name them";
    TellNetwork "tell_network" Tell Image Always Nothing None Nothing
        Verification::Operator, per_minutes(1, 10), "look at the network between clients and image: link, switch, loss";
    TellDisk "tell_disk" Tell Image Always Nothing None Nothing
        Verification::Operator, per_minutes(1, 10), "look at the disk: replace it, or attach the right one";
    TellHost "tell_host" Tell Image Always Nothing None Nothing
        Verification::Operator, per_minutes(1, 10), "look at the host: steal time, clock source, memory errors";
}
