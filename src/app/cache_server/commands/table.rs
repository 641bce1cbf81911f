//! The command table: a row for each command, by group. What is said of them stands in `documents.txt`.
//!
//! A container's own handler runs only if no subcommand is named, which its arity rules out.

use super::{
    Command, Flags, KeyRange, acl, client, command, config, connection, counters, database, expiry,
    info, introspection, keys, latency, lcs, memory, module, pause, persistence, replication, scan,
    slowlog, strings, tracking,
};

const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const READ_SLOW: Flags = Flags::READONLY.and(Flags::TIMED);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_SLOW: Flags = Flags::WRITE.and(Flags::TIMED);
/// May need memory.
const GROW: Flags = Flags::WRITE.and(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.and(Flags::FAST);
/// Whatever state the server is in.
const ALWAYS: Flags = Flags::LOADING.and(Flags::STALE);
const ALWAYS_FAST: Flags = ALWAYS.and(Flags::FAST);
/// About one's own connection.
const SESSION: Flags = ALWAYS.and(Flags::NOSCRIPT);
/// For operators.
const OPERATOR: Flags = SESSION.and(Flags::ADMIN);
const SAVES: Flags = Flags::ADMIN.and(Flags::NOSCRIPT);
const WATCHER: Flags = ALWAYS.and(Flags::ADMIN);
/// Before authentication.
const HANDSHAKE: Flags = SESSION.and(Flags::FAST).and(Flags::NO_AUTH);

const fn keys_at(first: u8, last: i8, step: u8) -> KeyRange {
    KeyRange { first, last, step }
}

const NO_KEYS: KeyRange = keys_at(0, 0, 0);
const ONE: KeyRange = keys_at(1, 1, 1);
const TWO: KeyRange = keys_at(1, 2, 1);
/// The first argument names a subcommand.
const SECOND: KeyRange = keys_at(2, 2, 1);
const ALL: KeyRange = keys_at(1, -1, 1);
/// Keys and values in turn.
const PAIRS: KeyRange = keys_at(1, -1, 2);

/// How many commands there are, subcommands not counted.
pub(crate) const COMMAND_COUNT: usize = COMMANDS.len();

const NO_SUBCOMMANDS: &[Command] = &[];

/// Rows: the facts in the order of [`Command`]'s fields.
macro_rules! rows {
    ($($name:literal, $arity:literal, $flags:expr, $keys:ident, $handler:expr, $subcommands:ident;)+) => {
        &[$(Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            handler: $handler,
            subcommands: $subcommands,
        }),+]
    };
}

/// The commands.
pub(crate) static COMMANDS: &[Command] = rows! {
    "append", 3, GROW_FAST, ONE, strings::append, NO_SUBCOMMANDS;
    "decr", 2, GROW_FAST, ONE, counters::decr, NO_SUBCOMMANDS;
    "decrby", 3, GROW_FAST, ONE, counters::decrby, NO_SUBCOMMANDS;
    "get", 2, READ_FAST, ONE, strings::get, NO_SUBCOMMANDS;
    "getdel", 2, WRITE_FAST, ONE, strings::getdel, NO_SUBCOMMANDS;
    "getex", -2, WRITE_FAST, ONE, strings::getex, NO_SUBCOMMANDS;
    "getrange", 4, Flags::READONLY, ONE, strings::getrange, NO_SUBCOMMANDS;
    "getset", 3, GROW_FAST, ONE, strings::getset, NO_SUBCOMMANDS;
    "incr", 2, GROW_FAST, ONE, counters::incr, NO_SUBCOMMANDS;
    "incrby", 3, GROW_FAST, ONE, counters::incrby, NO_SUBCOMMANDS;
    "incrbyfloat", 3, GROW_FAST, ONE, counters::incrbyfloat, NO_SUBCOMMANDS;
    "lcs", -3, READ_SLOW, TWO, lcs::lcs, NO_SUBCOMMANDS;
    "mget", -2, READ_FAST, ALL, strings::mget, NO_SUBCOMMANDS;
    "mset", -3, GROW, PAIRS, strings::mset, NO_SUBCOMMANDS;
    "msetnx", -3, GROW, PAIRS, strings::msetnx, NO_SUBCOMMANDS;
    "psetex", 4, GROW, ONE, strings::psetex, NO_SUBCOMMANDS;
    "set", -3, GROW, ONE, strings::set, NO_SUBCOMMANDS;
    "setex", 4, GROW, ONE, strings::setex, NO_SUBCOMMANDS;
    "setnx", 3, GROW_FAST, ONE, strings::setnx, NO_SUBCOMMANDS;
    "setrange", 4, GROW, ONE, strings::setrange, NO_SUBCOMMANDS;
    "strlen", 2, READ_FAST, ONE, strings::strlen, NO_SUBCOMMANDS;
    "substr", 4, Flags::READONLY, ONE, strings::getrange, NO_SUBCOMMANDS;
    "copy", -3, GROW, TWO, keys::copy, NO_SUBCOMMANDS;
    "del", -2, Flags::WRITE, ALL, keys::del, NO_SUBCOMMANDS;
    "exists", -2, READ_FAST, ALL, keys::exists, NO_SUBCOMMANDS;
    "expire", -3, WRITE_FAST, ONE, expiry::expire, NO_SUBCOMMANDS;
    "expireat", -3, WRITE_FAST, ONE, expiry::expireat, NO_SUBCOMMANDS;
    "expiretime", 2, READ_FAST, ONE, expiry::expiretime, NO_SUBCOMMANDS;
    "keys", 2, READ_SLOW, NO_KEYS, scan::keys, NO_SUBCOMMANDS;
    "move", 3, WRITE_FAST, ONE, keys::move_key, NO_SUBCOMMANDS;
    "object", -2, Flags::NONE, NO_KEYS, keys::object_help, OBJECT;
    "persist", 2, WRITE_FAST, ONE, expiry::persist, NO_SUBCOMMANDS;
    "pexpire", -3, WRITE_FAST, ONE, expiry::pexpire, NO_SUBCOMMANDS;
    "pexpireat", -3, WRITE_FAST, ONE, expiry::pexpireat, NO_SUBCOMMANDS;
    "pexpiretime", 2, READ_FAST, ONE, expiry::pexpiretime, NO_SUBCOMMANDS;
    "pttl", 2, READ_FAST, ONE, expiry::pttl, NO_SUBCOMMANDS;
    "randomkey", 1, Flags::READONLY, NO_KEYS, keys::randomkey, NO_SUBCOMMANDS;
    "rename", 3, Flags::WRITE, TWO, keys::rename, NO_SUBCOMMANDS;
    "renamenx", 3, WRITE_FAST, TWO, keys::renamenx, NO_SUBCOMMANDS;
    "scan", -2, READ_SLOW, NO_KEYS, scan::scan, NO_SUBCOMMANDS;
    "touch", -2, READ_FAST, ALL, keys::touch, NO_SUBCOMMANDS;
    "ttl", 2, READ_FAST, ONE, expiry::ttl, NO_SUBCOMMANDS;
    "type", 2, READ_FAST, ONE, keys::type_of, NO_SUBCOMMANDS;
    "unlink", -2, WRITE_FAST, ALL, keys::del, NO_SUBCOMMANDS;
    "wait", 3, Flags::NOSCRIPT, NO_KEYS, replication::wait, NO_SUBCOMMANDS;
    "asking", 1, Flags::FAST, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "auth", -2, HANDSHAKE, NO_KEYS, connection::auth, NO_SUBCOMMANDS;
    "client", -2, Flags::NONE, NO_KEYS, client::help, CLIENT;
    "cluster", -2, Flags::NONE, NO_KEYS, replication::no_cluster, CLUSTER;
    "echo", 2, ALWAYS_FAST, NO_KEYS, connection::echo, NO_SUBCOMMANDS;
    "hello", -1, HANDSHAKE, NO_KEYS, connection::hello, NO_SUBCOMMANDS;
    "ping", -1, Flags::FAST, NO_KEYS, connection::ping, NO_SUBCOMMANDS;
    "quit", -1, HANDSHAKE, NO_KEYS, connection::quit, NO_SUBCOMMANDS;
    "readonly", 1, ALWAYS_FAST, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "readwrite", 1, ALWAYS_FAST, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "reset", 1, HANDSHAKE, NO_KEYS, connection::reset, NO_SUBCOMMANDS;
    "select", 2, ALWAYS_FAST, NO_KEYS, database::select, NO_SUBCOMMANDS;
    "acl", -2, Flags::NONE, NO_KEYS, acl::help, ACL;
    "bgsave", -1, SAVES, NO_KEYS, persistence::bgsave, NO_SUBCOMMANDS;
    "command", -1, ALWAYS, NO_KEYS, command::all, COMMAND;
    "config", -2, Flags::NONE, NO_KEYS, config::help, CONFIG;
    "dbsize", 1, READ_FAST, NO_KEYS, database::dbsize, NO_SUBCOMMANDS;
    "debug", -2, OPERATOR, NO_KEYS, introspection::debug, NO_SUBCOMMANDS;
    "flushall", -1, WRITE_SLOW, NO_KEYS, database::flushall, NO_SUBCOMMANDS;
    "flushdb", -1, WRITE_SLOW, NO_KEYS, database::flushdb, NO_SUBCOMMANDS;
    "info", -1, ALWAYS, NO_KEYS, info::info, NO_SUBCOMMANDS;
    "lastsave", 1, ALWAYS_FAST, NO_KEYS, persistence::lastsave, NO_SUBCOMMANDS;
    "latency", -2, Flags::NONE, NO_KEYS, latency::help, LATENCY;
    "lolwut", -1, READ_FAST, NO_KEYS, introspection::lolwut, NO_SUBCOMMANDS;
    "memory", -2, Flags::NONE, NO_KEYS, memory::help, MEMORY;
    "module", -2, Flags::NONE, NO_KEYS, module::help, MODULE;
    "replicaof", 3, Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE), NO_KEYS, replication::replicaof, NO_SUBCOMMANDS;
    "role", 1, SESSION.and(Flags::FAST), NO_KEYS, replication::role, NO_SUBCOMMANDS;
    "save", 1, SAVES, NO_KEYS, persistence::save, NO_SUBCOMMANDS;
    "shutdown", -1, OPERATOR, NO_KEYS, persistence::shutdown, NO_SUBCOMMANDS;
    "slaveof", 3, Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE), NO_KEYS, replication::replicaof, NO_SUBCOMMANDS;
    "slowlog", -2, Flags::NONE, NO_KEYS, slowlog::help, SLOWLOG;
    "swapdb", 3, WRITE_FAST, NO_KEYS, database::swapdb, NO_SUBCOMMANDS;
    "time", 1, ALWAYS_FAST, NO_KEYS, introspection::time, NO_SUBCOMMANDS;
};

const OBJECT: &[Command] = rows! {
    "object|encoding", 3, Flags::READONLY, SECOND, keys::object_encoding, NO_SUBCOMMANDS;
    "object|freq", 3, Flags::READONLY, SECOND, keys::object_freq, NO_SUBCOMMANDS;
    "object|help", 2, ALWAYS, NO_KEYS, keys::object_help, NO_SUBCOMMANDS;
    "object|idletime", 3, Flags::READONLY, SECOND, keys::object_idletime, NO_SUBCOMMANDS;
    "object|refcount", 3, Flags::READONLY, SECOND, keys::object_refcount, NO_SUBCOMMANDS;
};

const CLIENT: &[Command] = rows! {
    "client|caching", 3, SESSION, NO_KEYS, tracking::caching, NO_SUBCOMMANDS;
    "client|getname", 2, SESSION, NO_KEYS, client::getname, NO_SUBCOMMANDS;
    "client|getredir", 2, SESSION, NO_KEYS, tracking::getredir, NO_SUBCOMMANDS;
    "client|help", 2, ALWAYS, NO_KEYS, client::help, NO_SUBCOMMANDS;
    "client|id", 2, SESSION, NO_KEYS, client::id, NO_SUBCOMMANDS;
    "client|info", 2, SESSION, NO_KEYS, client::info, NO_SUBCOMMANDS;
    "client|kill", -3, OPERATOR, NO_KEYS, client::kill, NO_SUBCOMMANDS;
    "client|list", -2, OPERATOR, NO_KEYS, client::list, NO_SUBCOMMANDS;
    "client|no-evict", 3, OPERATOR, NO_KEYS, client::no_evict, NO_SUBCOMMANDS;
    "client|pause", -3, OPERATOR, NO_KEYS, pause::pause, NO_SUBCOMMANDS;
    "client|reply", 3, SESSION, NO_KEYS, client::reply, NO_SUBCOMMANDS;
    "client|setname", 3, SESSION, NO_KEYS, client::setname, NO_SUBCOMMANDS;
    "client|tracking", -3, SESSION, NO_KEYS, tracking::tracking, NO_SUBCOMMANDS;
    "client|trackinginfo", 2, SESSION, NO_KEYS, tracking::info, NO_SUBCOMMANDS;
    "client|unblock", -3, OPERATOR, NO_KEYS, pause::unblock, NO_SUBCOMMANDS;
    "client|unpause", 2, OPERATOR, NO_KEYS, pause::unpause, NO_SUBCOMMANDS;
};

const CLUSTER: &[Command] = rows! {
    "cluster|help", 2, ALWAYS, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "cluster|info", 2, Flags::STALE, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "cluster|keyslot", 3, Flags::STALE, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "cluster|myid", 2, Flags::STALE, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "cluster|nodes", 2, Flags::STALE, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "cluster|shards", 2, Flags::STALE, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
    "cluster|slots", 2, Flags::STALE, NO_KEYS, replication::no_cluster, NO_SUBCOMMANDS;
};

const ACL: &[Command] = rows! {
    "acl|cat", -2, SESSION, NO_KEYS, acl::cat, NO_SUBCOMMANDS;
    "acl|deluser", -3, OPERATOR, NO_KEYS, acl::deluser, NO_SUBCOMMANDS;
    "acl|dryrun", -4, OPERATOR, NO_KEYS, acl::dryrun, NO_SUBCOMMANDS;
    "acl|getuser", 3, OPERATOR, NO_KEYS, acl::getuser, NO_SUBCOMMANDS;
    "acl|help", 2, ALWAYS, NO_KEYS, acl::help, NO_SUBCOMMANDS;
    "acl|list", 2, OPERATOR, NO_KEYS, acl::list, NO_SUBCOMMANDS;
    "acl|load", 2, OPERATOR, NO_KEYS, acl::load, NO_SUBCOMMANDS;
    "acl|log", -2, OPERATOR, NO_KEYS, acl::log, NO_SUBCOMMANDS;
    "acl|save", 2, OPERATOR, NO_KEYS, acl::load, NO_SUBCOMMANDS;
    "acl|setuser", -3, OPERATOR, NO_KEYS, acl::setuser, NO_SUBCOMMANDS;
    "acl|users", 2, OPERATOR, NO_KEYS, acl::users, NO_SUBCOMMANDS;
    "acl|whoami", 2, SESSION, NO_KEYS, acl::whoami, NO_SUBCOMMANDS;
};

const COMMAND: &[Command] = rows! {
    "command|count", 2, ALWAYS, NO_KEYS, command::count, NO_SUBCOMMANDS;
    "command|docs", -2, ALWAYS, NO_KEYS, command::docs, NO_SUBCOMMANDS;
    "command|getkeys", -4, ALWAYS, NO_KEYS, command::getkeys, NO_SUBCOMMANDS;
    "command|getkeysandflags", -4, ALWAYS, NO_KEYS, command::getkeysandflags, NO_SUBCOMMANDS;
    "command|help", 2, ALWAYS, NO_KEYS, command::help, NO_SUBCOMMANDS;
    "command|info", -2, ALWAYS, NO_KEYS, command::info, NO_SUBCOMMANDS;
    "command|list", -2, ALWAYS, NO_KEYS, command::list, NO_SUBCOMMANDS;
};

const CONFIG: &[Command] = rows! {
    "config|get", -3, OPERATOR, NO_KEYS, config::get, NO_SUBCOMMANDS;
    "config|help", 2, ALWAYS, NO_KEYS, config::help, NO_SUBCOMMANDS;
    "config|resetstat", 2, OPERATOR, NO_KEYS, config::resetstat, NO_SUBCOMMANDS;
    "config|rewrite", 2, OPERATOR, NO_KEYS, config::rewrite, NO_SUBCOMMANDS;
    "config|set", -4, OPERATOR, NO_KEYS, config::set, NO_SUBCOMMANDS;
};

const LATENCY: &[Command] = rows! {
    "latency|doctor", 2, OPERATOR, NO_KEYS, latency::doctor, NO_SUBCOMMANDS;
    "latency|graph", 3, OPERATOR, NO_KEYS, latency::graph, NO_SUBCOMMANDS;
    "latency|help", 2, ALWAYS, NO_KEYS, latency::help, NO_SUBCOMMANDS;
    "latency|histogram", -2, OPERATOR, NO_KEYS, latency::histogram, NO_SUBCOMMANDS;
    "latency|history", 3, OPERATOR, NO_KEYS, latency::history, NO_SUBCOMMANDS;
    "latency|latest", 2, OPERATOR, NO_KEYS, latency::latest, NO_SUBCOMMANDS;
    "latency|reset", -2, OPERATOR, NO_KEYS, latency::reset, NO_SUBCOMMANDS;
};

const MEMORY: &[Command] = rows! {
    "memory|doctor", 2, Flags::NONE, NO_KEYS, memory::doctor, NO_SUBCOMMANDS;
    "memory|help", 2, ALWAYS, NO_KEYS, memory::help, NO_SUBCOMMANDS;
    "memory|malloc-stats", 2, Flags::NONE, NO_KEYS, memory::malloc_stats, NO_SUBCOMMANDS;
    "memory|purge", 2, Flags::NONE, NO_KEYS, memory::purge, NO_SUBCOMMANDS;
    "memory|stats", 2, Flags::NONE, NO_KEYS, memory::stats, NO_SUBCOMMANDS;
    "memory|usage", -3, Flags::READONLY, SECOND, memory::usage, NO_SUBCOMMANDS;
};

const MODULE: &[Command] = rows! {
    "module|help", 2, ALWAYS, NO_KEYS, module::help, NO_SUBCOMMANDS;
    "module|list", 2, Flags::ADMIN.and(Flags::NOSCRIPT), NO_KEYS, module::list, NO_SUBCOMMANDS;
    "module|load", -3, Flags::ADMIN.and(Flags::NOSCRIPT), NO_KEYS, module::not_allowed, NO_SUBCOMMANDS;
    "module|loadex", -3, Flags::ADMIN.and(Flags::NOSCRIPT), NO_KEYS, module::not_allowed, NO_SUBCOMMANDS;
    "module|unload", 3, Flags::ADMIN.and(Flags::NOSCRIPT), NO_KEYS, module::not_allowed, NO_SUBCOMMANDS;
};

const SLOWLOG: &[Command] = rows! {
    "slowlog|get", -2, WATCHER, NO_KEYS, slowlog::get, NO_SUBCOMMANDS;
    "slowlog|help", 2, ALWAYS, NO_KEYS, slowlog::help, NO_SUBCOMMANDS;
    "slowlog|len", 2, WATCHER, NO_KEYS, slowlog::len, NO_SUBCOMMANDS;
    "slowlog|reset", 2, WATCHER, NO_KEYS, slowlog::reset, NO_SUBCOMMANDS;
};
