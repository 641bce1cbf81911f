//! The table of symptoms: what can be seen of the image when something is wrong, and on what it is seen.
//!
//! A row says whether a symptom is seen on a part (a subsystem) or on the image as a whole; how likely it shows within
//! an incident's window for none of the causes (its leak); the metric family or event that shows it; what it is, for
//! who reads a report; and, where metrics alone show it, the Prometheus expression of its alert.
//!
//! Always true: rows only get added, at the end: recordings hold a symptom by its place ([`super::incident`]).

use serde::{Deserialize, Serialize};

/// Where something is seen, or is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the image as a whole.
    Image,
    /// On one of its parts.
    Part,
}

/// What the table says of a symptom.
#[derive(Clone, Copy, Debug)]
pub struct SymptomRow {
    /// Its name in reports.
    pub name: &'static str,
    /// Where it is seen.
    pub place: Place,
    /// How likely it shows for none of the causes.
    pub leak: f64,
}

macro_rules! symptoms {
    ($($kind:ident $name:literal $place:ident $leak:literal $seen_on:literal $about:literal $($alert:literal)?;)*) => {
        /// A symptom, by its row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum SymptomKind {
            $(#[doc = $about] $kind,)*
        }

        impl SymptomKind {
            /// All of them, each at its own place.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What the table says of it.
            pub const fn row(self) -> &'static SymptomRow {
                &ROWS[self as usize]
            }

            /// What it is; for the docs.
            pub const fn about(self) -> &'static str {
                ABOUT[self as usize]
            }

            /// The metric family or the event that shows it; for the docs.
            pub const fn seen_on(self) -> &'static str {
                SEEN_ON[self as usize]
            }

            /// The expression of its alert, empty if metrics alone do not show it; for the rules of Prometheus.
            pub const fn alert(self) -> &'static str {
                ALERTS[self as usize]
            }
        }

        static ROWS: [SymptomRow; SymptomKind::ALL.len()] = [$(SymptomRow {
            name: $name,
            place: Place::$place,
            leak: $leak,
        },)*];

        // Apart, so that the image, which needs none of them, is without them.
        static ABOUT: [&str; SymptomKind::ALL.len()] = [$($about,)*];
        static SEEN_ON: [&str; SymptomKind::ALL.len()] = [$($seen_on,)*];
        static ALERTS: [&str; SymptomKind::ALL.len()] = [$(concat!($($alert)?),)*];
    };
}

symptoms! {
    // Memory.
    FreeMemoryLow "free_memory_low" Image 0.01 "nos_memory_free_bytes" "little of the managed memory is free"
        "nos_memory_free_bytes / nos_memory_total_bytes < 0.03";
    MemoryExhaustionForecast "memory_exhaustion_forecast" Image 0.02 "nos_diagnosis_exhaustion_seconds" "free memory falls in a line that ends soon"
        "nos_diagnosis_exhaustion_seconds < 600";
    FrameRequestsRefused "frame_requests_refused" Image 0.005 "nos_buddy_failures_total" "requests for frames are refused"
        "sum(rate(nos_buddy_failures_total[1m])) > 0";
    HeapRequestsRefused "heap_requests_refused" Image 0.005 "nos_heap_failures_total" "requests for heap objects are refused"
        "rate(nos_heap_failures_total[1m]) > 0";
    PageCacheMissesHigh "page_cache_misses_high" Image 0.03 "nos_page_cache_misses_total" "the page caches meet few requests themselves"
        "sum(rate(nos_page_cache_misses_total[1m])) > sum(rate(nos_page_cache_hits_total[1m]))";
    FragmentationHigh "fragmentation_high" Image 0.02 "nos_buddy_fragmentation_ratio" "free memory lies in blocks too small for large requests"
        "max(nos_buddy_fragmentation_ratio) > 0.9";
    PartMemoryGrows "part_memory_grows" Part 0.01 "memory accounts" "a part's memory grows without its work growing";
    FrameMapInconsistent "frame_map_inconsistent" Image 0.0005 "invariant check: frame map" "the frame map contradicts itself or its copy";
    HeapInconsistent "heap_inconsistent" Image 0.0005 "invariant check: heap" "the heap's lists or canaries are damaged";
    CompressedLoadCorrupt "compressed_load_corrupt" Image 0.0005 "nos_compressed_loads_total{result=corrupt}" "a compressed page failed its checksum"
        "rate(nos_compressed_loads_total{result=\"corrupt\"}[5m]) > 0";
    TextChecksumMismatch "text_checksum_mismatch" Image 0.0005 "invariant check: text" "the image's code is not what was loaded";
    // The store and its clients.
    ValueChecksumMismatch "value_checksum_mismatch" Image 0.0005 "checksum of a value when read" "a stored value failed its checksum";
    StoreInconsistent "store_inconsistent" Image 0.0005 "invariant check: store" "the keyspace contradicts itself";
    MemoryLimitReached "memory_limit_reached" Image 0.03 "nos_kv_memory_used_bytes" "the dataset is at its limit"
        "nos_kv_memory_limit_bytes > 0 and nos_kv_memory_used_bytes >= 0.98 * nos_kv_memory_limit_bytes";
    MemoryLimitBeyondMemory "memory_limit_beyond_memory" Image 0.001 "nos_kv_memory_limit_bytes" "the limit of the dataset is more than memory can hold"
        "nos_kv_memory_limit_bytes > nos_memory_total_bytes";
    EvictionsHigh "evictions_high" Image 0.05 "nos_kv_evicted_keys_total" "keys are evicted much faster than before"
        "sum(rate(nos_kv_evicted_keys_total[1m])) > 100";
    ExpiriesHigh "expiries_high" Image 0.03 "nos_kv_expired_keys_total" "keys expire much faster than before"
        "sum(rate(nos_kv_expired_keys_total[1m])) > 1000";
    OomReplies "oom_replies" Image 0.005 "nos_kv_command_errors_total" "writes are refused for want of memory";
    HitRatioLow "hit_ratio_low" Image 0.05 "nos_kv_keyspace_misses_total" "reads miss much more than before"
        "sum(rate(nos_kv_keyspace_misses_total[5m])) > 4 * sum(rate(nos_kv_keyspace_hits_total[5m]))";
    CommandRateHigh "command_rate_high" Image 0.05 "nos_kv_commands_total" "clients send many more commands than before";
    CommandLatencyHigh "command_latency_high" Image 0.08 "nos_kv_command_duration_seconds" "commands take longer than their objective"
        "histogram_quantile(0.99, rate(nos_kv_command_duration_seconds_bucket[5m])) > 0.01";
    SlowCommands "slow_commands" Image 0.02 "SLOWLOG" "single commands take very long";
    ProbesLong "probes_long" Image 0.001 "event: store probe lengths" "look-ups in the keyspace compare many keys";
    OutputBuffersHigh "output_buffers_high" Image 0.01 "CLIENT LIST (omem)" "replies wait that a client does not read";
    ClientsHigh "clients_high" Image 0.03 "nos_kv_clients_connected" "many more connections are open than before";
    ClientsRefused "clients_refused" Image 0.005 "nos_network_drops_total{reason=no_socket}" "connections are refused"
        "rate(nos_network_drops_total{reason=\"no_socket\"}[1m]) > 1";
    // Disk.
    BlockReadFailed "block_read_failed" Image 0.001 "event: block device" "the block device failed a read";
    BlockWriteFailed "block_write_failed" Image 0.001 "event: block device" "the block device failed a write";
    BlockFlushFailed "block_flush_failed" Image 0.001 "event: block device" "the block device failed a flush";
    BlockChecksumMismatch "block_checksum_mismatch" Image 0.0005 "checksum of a block when read" "what was read is not what was written";
    BlockLatencyHigh "block_latency_high" Image 0.02 "event: block device" "the block device answers late";
    CheckpointFailed "checkpoint_failed" Image 0.002 "nos_checkpoint_writes_total{outcome=failed}" "a checkpoint could not be written"
        "rate(nos_checkpoint_writes_total{outcome=\"failed\"}[10m]) > 0";
    CheckpointLate "checkpoint_late" Image 0.01 "nos_checkpoint_last_timestamp_seconds" "the last checkpoint is too old";
    CheckpointSlotTorn "checkpoint_slot_torn" Image 0.001 "event: checkpoint slot" "a checkpoint slot ends before it should";
    DiskForeign "disk_foreign" Image 0.0005 "event: checkpoint slot" "the disk holds something that is not ours";
    // Network.
    RetransmitsHigh "retransmits_high" Image 0.03 "nos_tcp_retransmits_total" "many segments are sent again"
        "rate(nos_tcp_retransmits_total[1m]) > 10";
    ChecksumDrops "checksum_drops" Image 0.002 "nos_network_drops_total{reason=checksum}" "frames fail their checksum"
        "rate(nos_network_drops_total{reason=\"checksum\"}[1m]) > 0.1";
    NoBufferDrops "no_buffer_drops" Image 0.01 "nos_network_drops_total{reason=no_buffer}" "frames find no buffer"
        "rate(nos_network_drops_total{reason=\"no_buffer\"}[1m]) > 1";
    SegmentsMissing "segments_missing" Image 0.02 "event: TCP receive" "segments of streams do not arrive";
    SegmentsOutOfOrder "segments_out_of_order" Image 0.01 "event: TCP receive" "segments arrive behind later ones";
    SegmentsRepeated "segments_repeated" Image 0.01 "event: TCP receive" "segments arrive that had arrived";
    ReceiveStopped "receive_stopped" Image 0.01 "nos_network_receive_packets_total" "no frame arrives while clients wait";
    TransmitStalled "transmit_stalled" Image 0.005 "event: network queue" "frames wait that the device does not take";
    LinkDown "link_down" Image 0.0005 "event: network device" "the network device says that its link is down";
    // Interrupts, time, processor.
    InterruptMissing "interrupt_missing" Image 0.001 "event: device queue" "a device had work done and did not interrupt";
    ClockStepped "clock_stepped" Image 0.0005 "event: clock comparison" "one clock leapt against another";
    ClockDrifts "clock_drifts" Image 0.001 "event: clock comparison" "one clock runs faster than another";
    TimersLate "timers_late" Image 0.03 "nos_scheduler_latency_seconds" "timers fire late";
    SchedulerLatencyHigh "scheduler_latency_high" Image 0.04 "nos_scheduler_latency_seconds" "ready tasks wait long for a CPU"
        "histogram_quantile(0.99, rate(nos_scheduler_latency_seconds_bucket[5m])) > 0.01";
    CpuBusy "cpu_busy" Image 0.05 "nos_cpu_seconds_total" "no CPU has time to spare"
        "min by (cpu) (rate(nos_cpu_seconds_total{mode=\"idle\"}[1m])) < 0.02";
    CpuSlow "cpu_slow" Image 0.005 "event: calibration loop" "the same work takes more time than before";
    // Messages.
    MailboxFull "mailbox_full" Part 0.003 "nos_bus_dropped_total{reason=full}" "messages find a mailbox full"
        "sum by (topic) (rate(nos_bus_dropped_total{reason=\"full\"}[1m])) > 0";
    QueueDepthHigh "queue_depth_high" Part 0.02 "nos_bus_queue_depth" "many messages wait in a mailbox";
    MessagesExpired "messages_expired" Part 0.005 "nos_bus_dropped_total{reason=expired}" "messages are past their deadline when received"
        "sum by (topic) (rate(nos_bus_dropped_total{reason=\"expired\"}[1m])) > 0";
    MessageMissing "message_missing" Part 0.0005 "event: message counts" "a number is left out in a sender's messages";
    MessageRepeated "message_repeated" Part 0.0005 "event: message counts" "a message arrived a second time";
    MessageLate "message_late" Part 0.005 "event: message ages" "messages arrive long after they were sent";
    RequestTimeouts "request_timeouts" Part 0.01 "event: bus service" "a part does not get its answers in time";
    // Parts.
    PartPanicked "part_panicked" Part 0.0002 "event: supervisor" "a part panicked";
    PartAborted "part_aborted" Part 0.0002 "event: supervisor" "a part reached for memory that is not its";
    PartRanUndefined "part_ran_undefined" Part 0.0002 "event: supervisor" "a part ran what is no instruction";
    PartOverflowedStack "part_overflowed_stack" Part 0.0002 "event: supervisor" "a part reached the guard of its stack";
    PartHung "part_hung" Part 0.0005 "event: watchdog" "a part did not come back in time";
    HealthCheckMissed "health_check_missed" Part 0.005 "nos_subsystem_up" "a part did not pass its health check"
        "nos_subsystem_up == 0";
    RestartsRepeated "restarts_repeated" Part 0.001 "nos_subsystem_restarts_total" "a part is started again and again"
        "increase(nos_subsystem_restarts_total[10m]) > 3";
    LockHeldLong "lock_held_long" Part 0.001 "event: lock watch" "a lock is held far longer than it ever was";
    ModuleTrapped "module_trapped" Part 0.0005 "event: module host" "a loaded module trapped";
    HttpRateHigh "http_rate_high" Image 0.02 "nos_http_requests_total" "many more pages are asked for than before";
    HttpRejections "http_rejections" Image 0.02 "nos_http_rejected_total" "requests for pages are refused"
        "sum(rate(nos_http_rejected_total[1m])) > 1";
    QuotaReached "quota_reached" Part 0.0005 "memory accounts" "a part was refused memory beyond its quota";
}

/// Symptoms that there can be: sets of them are one word.
const SYMPTOMS_MAX: usize = 128;

const _: () = assert!(SymptomKind::ALL.len() <= SYMPTOMS_MAX);

/// A set of symptoms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymptomSet(u128);

impl SymptomSet {
    /// No symptom.
    pub const NONE: Self = Self(0);
    /// Every symptom of the table.
    pub const ALL: Self = Self(u128::MAX >> (SYMPTOMS_MAX - SymptomKind::ALL.len()));

    /// Whether it holds that symptom.
    pub const fn has(self, kind: SymptomKind) -> bool {
        self.0 >> (kind as u32) & 1 == 1
    }

    /// The same set with that symptom.
    #[must_use]
    pub const fn with(self, kind: SymptomKind) -> Self {
        Self(self.0 | 1 << (kind as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_symptom_stands_at_its_own_place_under_a_name_of_its_own() {
        for (place, &kind) in SymptomKind::ALL.iter().enumerate() {
            assert_eq!(kind as usize, place);
            let same = SymptomKind::ALL
                .iter()
                .filter(|other| other.row().name == kind.row().name);
            assert_eq!(same.count(), 1, "{}", kind.row().name);
        }
    }

    #[test]
    fn no_symptom_is_certain_or_impossible_without_a_cause() {
        for kind in SymptomKind::ALL {
            let row = kind.row();
            assert!(row.leak > 0.0 && row.leak < 0.2, "{}", row.name);
        }
    }

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let set = SymptomSet::NONE.with(SymptomKind::LinkDown);
        assert!(set.has(SymptomKind::LinkDown) && !set.has(SymptomKind::ClockDrifts));
        assert!(
            SymptomKind::ALL
                .iter()
                .all(|&kind| SymptomSet::ALL.has(kind))
        );
    }

    /// The form of recordings: a symptom that moved would be read as another one.
    #[test]
    fn rows_stay_where_recordings_have_them() {
        for (kind, place) in [
            (SymptomKind::FreeMemoryLow, 0),
            (SymptomKind::ValueChecksumMismatch, 11),
            (SymptomKind::BlockReadFailed, 26),
            (SymptomKind::LinkDown, 43),
            (SymptomKind::PartPanicked, 58),
            (SymptomKind::HttpRejections, 68),
        ] {
            assert_eq!(kind as usize, place, "{}", kind.row().name);
        }
    }
}
