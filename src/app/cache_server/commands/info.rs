//! INFO: the fields that operators and exporters read, in Redis' sections. What the image cannot have
//! (replication, persistence) is told as Redis tells it when it is off.

use super::connection::REDIS_VERSION;
use super::{COMMANDS, Context};
use crate::app::cache_server::gate::Held;
use crate::app::cache_server::reply::Reply;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::server::{ERROR_WORDS, Server};
use crate::app::cache_server::session::Session;
use crate::app::cache_server::store::DATABASES;
use crate::app::cache_server::word::Word;
use crate::error::Result;
use core::fmt::Write;

/// Writes the lines of a section after its title.
type Writer = fn(&mut Reply<'_>, &Server, &Session) -> Result<()>;

/// A section: its name, its title, whether INFO shows it unasked, and what writes it.
struct Section {
    name: &'static str,
    title: &'static str,
    by_default: bool,
    write: Writer,
}

const fn section(title: &'static str, name: &'static str, write: Writer) -> Section {
    Section {
        name,
        title,
        by_default: true,
        write,
    }
}

const SECTIONS: [Section; 13] = [
    section("Server", "server", server),
    section("Clients", "clients", clients),
    section("Memory", "memory", memory),
    section("Persistence", "persistence", persistence),
    section("Stats", "stats", stats),
    section("Replication", "replication", replication),
    section("CPU", "cpu", cpu),
    section("Modules", "modules", nothing),
    Section {
        by_default: false,
        ..section("Commandstats", "commandstats", commandstats)
    },
    section("Errorstats", "errorstats", errorstats),
    Section {
        by_default: false,
        ..section("Latencystats", "latencystats", latencystats)
    },
    section("Cluster", "cluster", cluster),
    section("Keyspace", "keyspace", keyspace),
];

/// `INFO [section ...]`
pub(super) fn info(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let asked = |name: &str| args.from(1).any(|word| word.is_word(name.as_bytes()));
    let all = asked("all") || asked("everything");
    let default = args.len() == 1 || asked("default");
    let Context {
        server,
        session,
        reply,
    } = context;
    let start = reply.begin_text();
    for section in &SECTIONS {
        if !(all || default && section.by_default || asked(section.name)) {
            continue;
        }
        if reply.output.len() > start {
            reply.raw(&[b"\r\n"]);
        }
        reply.raw(&[b"# ", section.title.as_bytes(), b"\r\n"]);
        (section.write)(reply, server, session)?;
    }
    reply.end_text(start)
}

/// Writes `name:value` lines.
macro_rules! lines {
    ($reply:expr, $($name:literal: $value:expr),+ $(,)?) => {{
        $(write!($reply, concat!($name, ":{}\r\n"), $value)?;)+
    }};
}

fn nothing(_: &mut Reply<'_>, _: &Server, _: &Session) -> Result<()> {
    Ok(())
}

fn server(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    let uptime = server.now.since(server.started).as_secs();
    lines!(reply,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": "0",
        "redis_mode": "standalone",
        "os": concat!("nos ", env!("CARGO_PKG_VERSION"), " aarch64"),
        "arch_bits": 64,
        "monotonic_clock": "ARM CNTVCT",
        "multiplexing_api": "nos",
        "process_id": 1,
        "process_supervised": "no",
        "run_id": core::str::from_utf8(&server.run_id).unwrap_or_default(),
        "tcp_port": server.config.port,
        "server_time_usec": server.store.now_ms() * 1000,
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime / 86_400,
        "hz": 10,
        "configured_hz": 10,
        "lru_clock": (server.store.now_ms() / 1000) & 0xff_ffff,
        "executable": "/nos",
        "config_file": "",
        "io_threads_active": 0,
    );
    Ok(())
}

fn clients(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    let peak = server.recent.peak(server.now);
    let held = |is: fn(&Held) -> bool| {
        let sessions = server.sessions.iter();
        sessions.filter(|one| is(&one.held)).count()
    };
    // The client that asks is out for its turn.
    lines!(reply,
        "connected_clients": server.sessions.len(),
        "cluster_connections": 0,
        "maxclients": server.config.clients_max,
        "client_recent_max_input_buffer": peak.input_bytes,
        "client_recent_max_output_buffer": peak.output_bytes,
        "blocked_clients": held(|held| *held != Held::Free),
        "tracking_clients": server.tracking.clients(),
        "clients_in_timeout_table": held(|held| matches!(held, Held::Waiting(Some(_)))),
    );
    Ok(())
}

/// A number of bytes as people read it.
struct Human(u64);

impl core::fmt::Display for Human {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (unit, letter) = match self.0 {
            0..0x400 => return write!(f, "{}B", self.0),
            0x400..0x10_0000 => (1_u64 << 10, 'K'),
            0x10_0000..0x4000_0000 => (1 << 20, 'M'),
            _ => (1 << 30, 'G'),
        };
        write!(f, "{}{letter}", Hundredths(self.0, unit))
    }
}

/// A quotient with two decimals.
struct Hundredths(u64, u64);

impl core::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let hundredths = u128::from(self.0) * 100 / u128::from(self.1.max(1));
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

fn memory(reply: &mut Reply<'_>, server: &Server, asking: &Session) -> Result<()> {
    let sizes = server.store.sizes();
    let used = sizes.used_bytes;
    let overhead = used - sizes.entry_bytes.min(used);
    lines!(reply,
        "used_memory": used,
        "used_memory_human": Human(used),
        "used_memory_rss": used,
        "used_memory_rss_human": Human(used),
        "used_memory_peak": sizes.peak_bytes,
        "used_memory_peak_human": Human(sizes.peak_bytes),
        "used_memory_peak_perc": format_args!("{}%", Hundredths(used * 100, sizes.peak_bytes)),
        "used_memory_overhead": overhead,
        "used_memory_startup": 0,
        "used_memory_dataset": sizes.entry_bytes,
        "used_memory_dataset_perc": format_args!("{}%", Hundredths(sizes.entry_bytes * 100, used)),
        "allocator_allocated": sizes.entry_bytes,
        "allocator_active": used,
        "allocator_resident": used,
        "total_system_memory": server.budget_bytes,
        "total_system_memory_human": Human(server.budget_bytes),
        "used_memory_lua": 0,
        "used_memory_vm_eval": 0,
        "used_memory_lua_human": "0B",
        "used_memory_scripts_eval": 0,
        "number_of_cached_scripts": 0,
        "number_of_functions": 0,
        "number_of_libraries": 0,
        "used_memory_vm_functions": 0,
        "used_memory_vm_total": 0,
        "used_memory_vm_total_human": "0B",
        "used_memory_functions": 0,
        "used_memory_scripts": 0,
        "used_memory_scripts_human": "0B",
        "maxmemory": sizes.limit_bytes,
        "maxmemory_human": Human(sizes.limit_bytes),
        "maxmemory_policy": server.config.policy.name(),
        "allocator_frag_ratio": Hundredths(used, sizes.entry_bytes),
        "allocator_frag_bytes": overhead,
        "allocator_rss_ratio": "1.00",
        "allocator_rss_bytes": 0,
        "rss_overhead_ratio": "1.00",
        "rss_overhead_bytes": 0,
        "mem_fragmentation_ratio": Hundredths(used, sizes.entry_bytes),
        "mem_fragmentation_bytes": overhead,
        "mem_not_counted_for_evict": 0,
        "mem_replication_backlog": 0,
        "mem_total_replication_buffers": 0,
        "mem_clients_slaves": 0,
        "mem_clients_normal": server.client_bytes(asking),
        "mem_cluster_links": 0,
        "mem_aof_buffer": 0,
        "mem_allocator": "nos-slab",
        "active_defrag_running": 0,
        "lazyfree_pending_objects": 0,
        "lazyfreed_objects": 0,
    );
    Ok(())
}

fn persistence(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    let known = &server.persistence;
    let current = known
        .saving_since
        .map(|since| server.now.since(since).as_nanos() / 1_000_000_000);
    let status = ["err", "ok"][usize::from(known.is_last_ok)];
    lines!(reply,
        "loading": 0,
        "async_loading": 0,
        "current_cow_peak": 0,
        "current_cow_size": 0,
        "current_cow_size_age": 0,
        "current_fork_perc": "0.00",
        "current_save_keys_processed": current.map_or(0, |_| known.keys_saved),
        "current_save_keys_total": current.map_or(0, |_| known.keys_to_save),
        "rdb_changes_since_last_save": known.changes(&server.counters),
        "rdb_bgsave_in_progress": u8::from(current.is_some() || known.asked.save),
        "rdb_last_save_time": server.last_save_secs(),
        "rdb_last_bgsave_status": status,
        "rdb_last_bgsave_time_sec": known.last_seconds,
        "rdb_current_bgsave_time_sec": current.map_or(-1, |seconds| seconds as i64),
        "rdb_saves": known.saves,
        "rdb_longest_turn_usec": known.longest_turn.as_nanos() / 1000,
        "rdb_last_cow_size": 0,
        "rdb_last_load_keys_expired": known.keys_expired,
        "rdb_last_load_keys_loaded": known.keys_loaded,
        "aof_enabled": 0,
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 0,
        "aof_last_rewrite_time_sec": -1,
        "aof_current_rewrite_time_sec": -1,
        "aof_last_bgrewrite_status": "ok",
        "aof_rewrites": 0,
        "aof_rewrites_consecutive_failures": 0,
        "aof_last_write_status": "ok",
        "aof_last_cow_size": 0,
        "module_fork_in_progress": 0,
        "module_fork_last_cow_size": 0,
    );
    Ok(())
}

fn stats(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    let totals = server.totals_since_reset();
    let rates = server.recent.rates(server.now, &server.totals);
    lines!(reply,
        "total_connections_received": totals.connections,
        "total_commands_processed": totals.commands,
        "instantaneous_ops_per_sec": rates.commands,
        "total_net_input_bytes": totals.input_bytes,
        "total_net_output_bytes": totals.output_bytes,
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": Hundredths(rates.input_bytes, 1024),
        "instantaneous_output_kbps": Hundredths(rates.output_bytes, 1024),
        "instantaneous_input_repl_kbps": "0.00",
        "instantaneous_output_repl_kbps": "0.00",
        "rejected_connections": totals.connections_rejected,
        "sync_full": 0,
        "sync_partial_ok": 0,
        "sync_partial_err": 0,
        "expired_keys": totals.events.expired_lazily + totals.events.expired_actively,
        "expired_stale_perc": "0.00",
        "expired_time_cap_reached_count": 0,
        "expire_cycle_cpu_milliseconds": 0,
        "evicted_keys": totals.events.evicted,
        "evicted_clients": 0,
        "total_eviction_exceeded_time": 0,
        "current_eviction_exceeded_time": 0,
        "keyspace_hits": totals.hits,
        "keyspace_misses": totals.misses,
        "pubsub_channels": 0,
        "pubsub_patterns": 0,
        "pubsubshard_channels": 0,
        "latest_fork_usec": 0,
        "total_forks": 0,
        "migrate_cached_sockets": 0,
        "slave_expires_tracked_keys": 0,
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "active_defrag_key_hits": 0,
        "active_defrag_key_misses": 0,
        "total_active_defrag_time": 0,
        "current_active_defrag_time": 0,
        "tracking_total_keys": server.tracking.keys(),
        "tracking_total_items": server.tracking.items(),
        "tracking_total_prefixes": server.tracking.prefixes(),
        "unexpected_error_replies": 0,
        "total_error_replies": totals.errors,
        "dump_payload_sanitizations": 0,
        "total_reads_processed": totals.turns,
        "total_writes_processed": totals.turns,
        "io_threaded_reads_processed": 0,
        "io_threaded_writes_processed": 0,
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
    );
    Ok(())
}

fn replication(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    lines!(reply,
        "role": "master",
        "connected_slaves": 0,
        "master_failover_state": "no-failover",
        "master_replid": core::str::from_utf8(&server.run_id).unwrap_or_default(),
        "master_replid2": "0000000000000000000000000000000000000000",
        "master_repl_offset": 0,
        "second_repl_offset": -1,
        "repl_backlog_active": 0,
        "repl_backlog_size": 0,
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    );
    Ok(())
}

/// The time spent in commands: all that the server itself can tell of the processor.
fn cpu(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    let nanos: u64 = server.commands.iter().map(|command| command.nanos).sum();
    let (secs, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
    lines!(reply,
        "used_cpu_sys": "0.000000",
        "used_cpu_user": format_args!("{secs}.{micros:06}"),
        "used_cpu_sys_children": "0.000000",
        "used_cpu_user_children": "0.000000",
        "used_cpu_sys_main_thread": "0.000000",
        "used_cpu_user_main_thread": format_args!("{secs}.{micros:06}"),
    );
    Ok(())
}

fn cluster(reply: &mut Reply<'_>, _: &Server, _: &Session) -> Result<()> {
    lines!(reply, "cluster_enabled": 0);
    Ok(())
}

fn commandstats(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    for (command, totals) in COMMANDS.iter().zip(&server.commands) {
        if totals.calls + totals.rejected == 0 {
            continue;
        }
        let micros = totals.nanos / 1000;
        write!(
            reply,
            "cmdstat_{}:calls={},usec={micros},usec_per_call={},rejected_calls={},failed_calls={}\r\n",
            command.name,
            totals.calls,
            Hundredths(micros, totals.calls),
            totals.rejected,
            totals.failed,
        )?;
    }
    Ok(())
}

fn errorstats(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    for (word, count) in ERROR_WORDS.iter().zip(server.error_words) {
        if count > 0 {
            write!(reply, "errorstat_{word}:count={count}\r\n")?;
        }
    }
    Ok(())
}

/// Percentiles, each the upper bound of the bucket that holds it.
fn latencystats(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    for (command, totals) in COMMANDS.iter().zip(&server.commands) {
        if totals.calls == 0 {
            continue;
        }
        write!(reply, "latency_percentiles_usec_{}:", command.name)?;
        for (mark, thousandths) in [("p50", 500), (",p99", 990), (",p99.9", 999)] {
            let nanos = totals.percentile_nanos(thousandths);
            write!(reply, "{mark}={}.{:03}", nanos / 1000, nanos % 1000)?;
        }
        reply.raw(&[b"\r\n"]);
    }
    Ok(())
}

fn keyspace(reply: &mut Reply<'_>, server: &Server, _: &Session) -> Result<()> {
    for database in 0..DATABASES {
        let keys = server.store.len(database);
        if keys > 0 {
            let expires = server.store.expiring_len(database);
            let average = server.store.average_ttl_ms();
            let average = if expires == 0 { 0 } else { average };
            write!(
                reply,
                "db{database}:keys={keys},expires={expires},avg_ttl={average}\r\n"
            )?;
        }
    }
    Ok(())
}
