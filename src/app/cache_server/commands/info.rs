//! INFO: the fields that operators and exporters read, in Redis' sections. What the image cannot have
//! (replication, persistence) is told as Redis tells it when it is off.

use super::connection::REDIS_VERSION;
use super::{COMMANDS, Context};
use crate::app::cache_server::reply::Reply;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::server::Server;
use crate::app::cache_server::store::DATABASES;
use crate::error::Result;
use core::fmt::Write;

/// Writes the lines of a section after its title.
type Writer = fn(&mut Reply<'_>, &Server) -> Result<()>;

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

const SECTIONS: [Section; 11] = [
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
    section("Cluster", "cluster", cluster),
    section("Keyspace", "keyspace", keyspace),
];

/// `INFO [section ...]`
pub(super) fn info(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let asked = |name: &str| {
        args.from(1)
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let all = asked("all") || asked("everything");
    let default = args.len() == 1 || asked("default");
    let Context { server, reply, .. } = context;
    let start = reply.begin_text();
    for section in &SECTIONS {
        if !(all || default && section.by_default || asked(section.name)) {
            continue;
        }
        if reply.output.len() > start {
            reply.raw(&[b"\r\n"]);
        }
        reply.raw(&[b"# ", section.title.as_bytes(), b"\r\n"]);
        (section.write)(reply, server)?;
    }
    reply.end_text(start);
    Ok(())
}

/// Writes `name:value` lines.
macro_rules! lines {
    ($reply:expr, $($name:literal: $value:expr),+ $(,)?) => {{
        $(write!($reply, concat!($name, ":{}\r\n"), $value)?;)+
    }};
}

fn nothing(_: &mut Reply<'_>, _: &Server) -> Result<()> {
    Ok(())
}

fn server(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
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

fn clients(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
    // The client that asks is out for its turn.
    lines!(reply,
        "connected_clients": server.sessions.len(),
        "cluster_connections": 0,
        "maxclients": server.config.clients_max,
        "client_recent_max_input_buffer": server
            .sessions
            .iter()
            .map(|session| session.query_bytes)
            .max()
            .unwrap_or(0),
        "client_recent_max_output_buffer": 0,
        "blocked_clients": 0,
        "tracking_clients": 0,
        "clients_in_timeout_table": 0,
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

fn memory(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
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
        "used_memory_scripts": 0,
        "maxmemory": sizes.limit_bytes,
        "maxmemory_human": Human(sizes.limit_bytes),
        "maxmemory_policy": server.config.policy.name(),
        "allocator_frag_ratio": Hundredths(used, sizes.entry_bytes),
        "allocator_frag_bytes": overhead,
        "mem_fragmentation_ratio": "1.00",
        "mem_fragmentation_bytes": 0,
        "mem_not_counted_for_evict": 0,
        "mem_replication_backlog": 0,
        "mem_clients_slaves": 0,
        "mem_clients_normal": 0,
        "mem_cluster_links": 0,
        "mem_aof_buffer": 0,
        "mem_allocator": "nos-slab",
        "active_defrag_running": 0,
        "lazyfree_pending_objects": 0,
        "lazyfreed_objects": 0,
    );
    Ok(())
}

fn persistence(reply: &mut Reply<'_>, _: &Server) -> Result<()> {
    lines!(reply,
        "loading": 0,
        "async_loading": 0,
        "rdb_changes_since_last_save": 0,
        "rdb_bgsave_in_progress": 0,
        "rdb_last_save_time": 0,
        "rdb_last_bgsave_status": "ok",
        "rdb_last_bgsave_time_sec": -1,
        "rdb_current_bgsave_time_sec": -1,
        "rdb_saves": 0,
        "aof_enabled": 0,
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 0,
        "aof_last_rewrite_time_sec": -1,
        "aof_current_rewrite_time_sec": -1,
        "aof_last_bgrewrite_status": "ok",
        "aof_last_write_status": "ok",
    );
    Ok(())
}

fn stats(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
    let totals = server.totals_since_reset();
    lines!(reply,
        "total_connections_received": totals.connections,
        "total_commands_processed": totals.commands,
        "instantaneous_ops_per_sec": 0,
        "total_net_input_bytes": totals.input_bytes,
        "total_net_output_bytes": totals.output_bytes,
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": "0.00",
        "instantaneous_output_kbps": "0.00",
        "rejected_connections": totals.connections_rejected,
        "sync_full": 0,
        "sync_partial_ok": 0,
        "sync_partial_err": 0,
        "expired_keys": totals.events.expired_lazily + totals.events.expired_actively,
        "expired_stale_perc": "0.00",
        "expired_time_cap_reached_count": 0,
        "evicted_keys": totals.events.evicted,
        "evicted_clients": 0,
        "keyspace_hits": totals.hits,
        "keyspace_misses": totals.misses,
        "pubsub_channels": 0,
        "pubsub_patterns": 0,
        "latest_fork_usec": 0,
        "total_forks": 0,
        "migrate_cached_sockets": 0,
        "slave_expires_tracked_keys": 0,
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "tracking_total_keys": 0,
        "unexpected_error_replies": 0,
        "total_error_replies": totals.errors,
        "dump_payload_sanitizations": 0,
        "total_reads_processed": totals.commands,
        "total_writes_processed": totals.commands,
        "io_threaded_reads_processed": 0,
        "io_threaded_writes_processed": 0,
    );
    Ok(())
}

fn replication(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
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
fn cpu(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
    let nanos: u64 = server.commands.iter().map(|command| command.nanos).sum();
    let (secs, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
    lines!(reply,
        "used_cpu_sys": "0.000000",
        "used_cpu_user": format_args!("{secs}.{micros:06}"),
        "used_cpu_sys_children": "0.000000",
        "used_cpu_user_children": "0.000000",
    );
    Ok(())
}

fn cluster(reply: &mut Reply<'_>, _: &Server) -> Result<()> {
    lines!(reply, "cluster_enabled": 0);
    Ok(())
}

fn commandstats(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
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

fn keyspace(reply: &mut Reply<'_>, server: &Server) -> Result<()> {
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
