//! The command table: a row for each command, by group.
//!
//! A container's own handler runs only if no subcommand is named, which its arity rules out.

use super::{
    Command, Flags, Group, KeyRange, client, command, config, connection, counters, database,
    expiry, info, introspection, keys, lcs, scan, strings,
};
use Group::{Connection, Generic, Server, String};

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

/// Rows of two lines: the facts in the order of [`Command`]'s fields, and the summary.
macro_rules! rows {
    ($($name:literal, $arity:literal, $flags:expr, $keys:ident, $group:ident, $since:literal,
       $handler:expr, $subcommands:ident; $summary:literal;)+) => {
        &[$(Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: $group,
            since: $since,
            summary: $summary,
            handler: $handler,
            subcommands: $subcommands,
        }),+]
    };
}

/// The commands.
pub(crate) static COMMANDS: &[Command] = rows! {
    "append", 3, GROW_FAST, ONE, String, "2.0.0", strings::append, NO_SUBCOMMANDS;
        "Append a value to a key";
    "decr", 2, GROW_FAST, ONE, String, "1.0.0", counters::decr, NO_SUBCOMMANDS;
        "Decrement the integer value of a key by one";
    "decrby", 3, GROW_FAST, ONE, String, "1.0.0", counters::decrby, NO_SUBCOMMANDS;
        "Decrement the integer value of a key by the given number";
    "get", 2, READ_FAST, ONE, String, "1.0.0", strings::get, NO_SUBCOMMANDS;
        "Get the value of a key";
    "getdel", 2, WRITE_FAST, ONE, String, "6.2.0", strings::getdel, NO_SUBCOMMANDS;
        "Get the value of a key and delete the key";
    "getex", -2, WRITE_FAST, ONE, String, "6.2.0", strings::getex, NO_SUBCOMMANDS;
        "Get the value of a key and optionally set its expiration";
    "getrange", 4, Flags::READONLY, ONE, String, "2.4.0", strings::getrange, NO_SUBCOMMANDS;
        "Get a substring of the string stored at a key";
    "getset", 3, GROW_FAST, ONE, String, "1.0.0", strings::getset, NO_SUBCOMMANDS;
        "Set the string value of a key and return its old value";
    "incr", 2, GROW_FAST, ONE, String, "1.0.0", counters::incr, NO_SUBCOMMANDS;
        "Increment the integer value of a key by one";
    "incrby", 3, GROW_FAST, ONE, String, "1.0.0", counters::incrby, NO_SUBCOMMANDS;
        "Increment the integer value of a key by the given amount";
    "incrbyfloat", 3, GROW_FAST, ONE, String, "2.6.0", counters::incrbyfloat, NO_SUBCOMMANDS;
        "Increment the float value of a key by the given amount";
    "lcs", -3, READ_SLOW, TWO, String, "7.0.0", lcs::lcs, NO_SUBCOMMANDS;
        "Find longest common substring";
    "mget", -2, READ_FAST, ALL, String, "1.0.0", strings::mget, NO_SUBCOMMANDS;
        "Get the values of all the given keys";
    "mset", -3, GROW, PAIRS, String, "1.0.1", strings::mset, NO_SUBCOMMANDS;
        "Set multiple keys to multiple values";
    "msetnx", -3, GROW, PAIRS, String, "1.0.1", strings::msetnx, NO_SUBCOMMANDS;
        "Set multiple keys to multiple values, only if none of the keys exist";
    "psetex", 4, GROW, ONE, String, "2.6.0", strings::psetex, NO_SUBCOMMANDS;
        "Set the value and expiration in milliseconds of a key";
    "set", -3, GROW, ONE, String, "1.0.0", strings::set, NO_SUBCOMMANDS;
        "Set the string value of a key";
    "setex", 4, GROW, ONE, String, "2.0.0", strings::setex, NO_SUBCOMMANDS;
        "Set the value and expiration of a key";
    "setnx", 3, GROW_FAST, ONE, String, "1.0.0", strings::setnx, NO_SUBCOMMANDS;
        "Set the value of a key, only if the key does not exist";
    "setrange", 4, GROW, ONE, String, "2.2.0", strings::setrange, NO_SUBCOMMANDS;
        "Overwrite part of a string at key starting at the specified offset";
    "strlen", 2, READ_FAST, ONE, String, "2.2.0", strings::strlen, NO_SUBCOMMANDS;
        "Get the length of the value stored in a key";
    "substr", 4, Flags::READONLY, ONE, String, "1.0.0", strings::getrange, NO_SUBCOMMANDS;
        "Get a substring of the string stored at a key";
    "copy", -3, GROW, TWO, Generic, "6.2.0", keys::copy, NO_SUBCOMMANDS;
        "Copy a key";
    "del", -2, Flags::WRITE, ALL, Generic, "1.0.0", keys::del, NO_SUBCOMMANDS;
        "Delete a key";
    "exists", -2, READ_FAST, ALL, Generic, "1.0.0", keys::exists, NO_SUBCOMMANDS;
        "Determine if a key exists";
    "expire", -3, WRITE_FAST, ONE, Generic, "1.0.0", expiry::expire, NO_SUBCOMMANDS;
        "Set a key's time to live in seconds";
    "expireat", -3, WRITE_FAST, ONE, Generic, "1.2.0", expiry::expireat, NO_SUBCOMMANDS;
        "Set the expiration for a key as a UNIX timestamp";
    "expiretime", 2, READ_FAST, ONE, Generic, "7.0.0", expiry::expiretime, NO_SUBCOMMANDS;
        "Get the expiration Unix timestamp for a key";
    "keys", 2, READ_SLOW, NO_KEYS, Generic, "1.0.0", scan::keys, NO_SUBCOMMANDS;
        "Find all keys matching the given pattern";
    "move", 3, WRITE_FAST, ONE, Generic, "1.0.0", keys::move_key, NO_SUBCOMMANDS;
        "Move a key to another database";
    "object", -2, Flags::NONE, NO_KEYS, Generic, "2.2.3", keys::object_help, OBJECT;
        "A container for object introspection commands";
    "persist", 2, WRITE_FAST, ONE, Generic, "2.2.0", expiry::persist, NO_SUBCOMMANDS;
        "Remove the expiration from a key";
    "pexpire", -3, WRITE_FAST, ONE, Generic, "2.6.0", expiry::pexpire, NO_SUBCOMMANDS;
        "Set a key's time to live in milliseconds";
    "pexpireat", -3, WRITE_FAST, ONE, Generic, "2.6.0", expiry::pexpireat, NO_SUBCOMMANDS;
        "Set the expiration for a key as a UNIX timestamp specified in milliseconds";
    "pexpiretime", 2, READ_FAST, ONE, Generic, "7.0.0", expiry::pexpiretime, NO_SUBCOMMANDS;
        "Get the expiration Unix timestamp for a key in milliseconds";
    "pttl", 2, READ_FAST, ONE, Generic, "2.6.0", expiry::pttl, NO_SUBCOMMANDS;
        "Get the time to live for a key in milliseconds";
    "randomkey", 1, Flags::READONLY, NO_KEYS, Generic, "1.0.0", keys::randomkey, NO_SUBCOMMANDS;
        "Return a random key from the keyspace";
    "rename", 3, Flags::WRITE, TWO, Generic, "1.0.0", keys::rename, NO_SUBCOMMANDS;
        "Rename a key";
    "renamenx", 3, WRITE_FAST, TWO, Generic, "1.0.0", keys::renamenx, NO_SUBCOMMANDS;
        "Rename a key, only if the new key does not exist";
    "scan", -2, READ_SLOW, NO_KEYS, Generic, "2.8.0", scan::scan, NO_SUBCOMMANDS;
        "Incrementally iterate the keys space";
    "touch", -2, READ_FAST, ALL, Generic, "3.2.1", keys::touch, NO_SUBCOMMANDS;
        "Alters the last access time of a key(s). Returns the number of existing keys specified.";
    "ttl", 2, READ_FAST, ONE, Generic, "1.0.0", expiry::ttl, NO_SUBCOMMANDS;
        "Get the time to live for a key in seconds";
    "type", 2, READ_FAST, ONE, Generic, "1.0.0", keys::type_of, NO_SUBCOMMANDS;
        "Determine the type stored at key";
    "unlink", -2, WRITE_FAST, ALL, Generic, "4.0.0", keys::del, NO_SUBCOMMANDS;
        "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.";
    "auth", -2, HANDSHAKE, NO_KEYS, Connection, "1.0.0", connection::auth, NO_SUBCOMMANDS;
        "Authenticate to the server";
    "client", -2, Flags::NONE, NO_KEYS, Connection, "2.4.0", client::help, CLIENT;
        "A container for client connection commands";
    "echo", 2, ALWAYS_FAST, NO_KEYS, Connection, "1.0.0", connection::echo, NO_SUBCOMMANDS;
        "Echo the given string";
    "hello", -1, HANDSHAKE, NO_KEYS, Connection, "6.0.0", connection::hello, NO_SUBCOMMANDS;
        "Handshake with Redis";
    "ping", -1, Flags::FAST, NO_KEYS, Connection, "1.0.0", connection::ping, NO_SUBCOMMANDS;
        "Ping the server";
    "quit", -1, HANDSHAKE, NO_KEYS, Connection, "1.0.0", connection::quit, NO_SUBCOMMANDS;
        "Close the connection";
    "reset", 1, HANDSHAKE, NO_KEYS, Connection, "6.2.0", connection::reset, NO_SUBCOMMANDS;
        "Reset the connection";
    "select", 2, ALWAYS_FAST, NO_KEYS, Connection, "1.0.0", database::select, NO_SUBCOMMANDS;
        "Change the selected database for the current connection";
    "command", -1, ALWAYS, NO_KEYS, Server, "2.8.13", command::all, COMMAND;
        "Get array of Redis command details";
    "config", -2, Flags::NONE, NO_KEYS, Server, "2.0.0", config::help, CONFIG;
        "A container for server configuration commands";
    "dbsize", 1, READ_FAST, NO_KEYS, Server, "1.0.0", database::dbsize, NO_SUBCOMMANDS;
        "Return the number of keys in the selected database";
    "flushall", -1, WRITE_SLOW, NO_KEYS, Server, "1.0.0", database::flushall, NO_SUBCOMMANDS;
        "Remove all keys from all databases";
    "flushdb", -1, WRITE_SLOW, NO_KEYS, Server, "1.0.0", database::flushdb, NO_SUBCOMMANDS;
        "Remove all keys from the current database";
    "info", -1, ALWAYS, NO_KEYS, Server, "1.0.0", info::info, NO_SUBCOMMANDS;
        "Get information and statistics about the server";
    "memory", -2, Flags::NONE, NO_KEYS, Server, "4.0.0", keys::memory_help, MEMORY;
        "A container for memory diagnostics commands";
    "shutdown", -1, OPERATOR, NO_KEYS, Server, "1.0.0", introspection::shutdown, NO_SUBCOMMANDS;
        "Synchronously save the dataset to disk and then shut down the server";
    "slowlog", -2, Flags::NONE, NO_KEYS, Server, "2.2.12", introspection::slowlog_help, SLOWLOG;
        "A container for slow log commands";
    "swapdb", 3, WRITE_FAST, NO_KEYS, Server, "4.0.0", database::swapdb, NO_SUBCOMMANDS;
        "Swaps two Redis databases";
    "time", 1, ALWAYS_FAST, NO_KEYS, Server, "2.6.0", introspection::time, NO_SUBCOMMANDS;
        "Return the current server time";
};

const OBJECT: &[Command] = rows! {
    "object|encoding", 3, Flags::READONLY, SECOND, Generic, "2.2.3", keys::object_encoding, NO_SUBCOMMANDS;
        "Inspect the internal encoding of a Redis object";
    "object|freq", 3, Flags::READONLY, SECOND, Generic, "4.0.0", keys::object_freq, NO_SUBCOMMANDS;
        "Get the logarithmic access frequency counter of a Redis object";
    "object|help", 2, ALWAYS, NO_KEYS, Generic, "6.2.0", keys::object_help, NO_SUBCOMMANDS;
        "Show helpful text about the different subcommands";
    "object|idletime", 3, Flags::READONLY, SECOND, Generic, "2.2.3", keys::object_idletime, NO_SUBCOMMANDS;
        "Get the time since a Redis object was last accessed";
    "object|refcount", 3, Flags::READONLY, SECOND, Generic, "2.2.3", keys::object_refcount, NO_SUBCOMMANDS;
        "Get the number of references to the value of the key";
};

const CLIENT: &[Command] = rows! {
    "client|getname", 2, SESSION, NO_KEYS, Connection, "2.6.9", client::getname, NO_SUBCOMMANDS;
        "Get the current connection name";
    "client|getredir", 2, SESSION, NO_KEYS, Connection, "6.0.0", client::getredir, NO_SUBCOMMANDS;
        "Get tracking notifications redirection client ID if any";
    "client|help", 2, ALWAYS, NO_KEYS, Connection, "5.0.0", client::help, NO_SUBCOMMANDS;
        "Show helpful text about the different subcommands";
    "client|id", 2, SESSION, NO_KEYS, Connection, "5.0.0", client::id, NO_SUBCOMMANDS;
        "Returns the client ID for the current connection";
    "client|info", 2, SESSION, NO_KEYS, Connection, "6.2.0", client::info, NO_SUBCOMMANDS;
        "Returns information about the current client connection.";
    "client|kill", -3, OPERATOR, NO_KEYS, Connection, "2.4.0", client::kill, NO_SUBCOMMANDS;
        "Kill the connection of a client";
    "client|list", -2, OPERATOR, NO_KEYS, Connection, "2.4.0", client::list, NO_SUBCOMMANDS;
        "Get the list of client connections";
    "client|no-evict", 3, OPERATOR, NO_KEYS, Connection, "7.0.0", client::no_evict, NO_SUBCOMMANDS;
        "Set client eviction mode for the current connection";
    "client|reply", 3, SESSION, NO_KEYS, Connection, "3.2.0", client::reply, NO_SUBCOMMANDS;
        "Instruct the server whether to reply to commands";
    "client|setinfo", 4, SESSION, NO_KEYS, Connection, "7.2.0", client::setinfo, NO_SUBCOMMANDS;
        "Set client or connection specific info";
    "client|setname", 3, SESSION, NO_KEYS, Connection, "2.6.9", client::setname, NO_SUBCOMMANDS;
        "Set the current connection name";
    "client|unblock", -3, OPERATOR, NO_KEYS, Connection, "5.0.0", client::unblock, NO_SUBCOMMANDS;
        "Unblock a client blocked in a blocking command from a different connection";
};

const COMMAND: &[Command] = rows! {
    "command|count", 2, ALWAYS, NO_KEYS, Server, "2.8.13", command::count, NO_SUBCOMMANDS;
        "Get total number of Redis commands";
    "command|docs", -2, ALWAYS, NO_KEYS, Server, "7.0.0", command::docs, NO_SUBCOMMANDS;
        "Get array of specific Redis command documentation";
    "command|getkeys", -4, ALWAYS, NO_KEYS, Server, "2.8.13", command::getkeys, NO_SUBCOMMANDS;
        "Extract keys given a full Redis command";
    "command|help", 2, ALWAYS, NO_KEYS, Server, "5.0.0", command::help, NO_SUBCOMMANDS;
        "Show helpful text about the different subcommands";
    "command|info", -2, ALWAYS, NO_KEYS, Server, "2.8.13", command::info, NO_SUBCOMMANDS;
        "Get array of specific Redis command details, or all when no argument is given.";
    "command|list", -2, ALWAYS, NO_KEYS, Server, "7.0.0", command::list, NO_SUBCOMMANDS;
        "Get an array of Redis command names";
};

const CONFIG: &[Command] = rows! {
    "config|get", -3, OPERATOR, NO_KEYS, Server, "2.0.0", config::get, NO_SUBCOMMANDS;
        "Get the values of configuration parameters";
    "config|help", 2, ALWAYS, NO_KEYS, Server, "5.0.0", config::help, NO_SUBCOMMANDS;
        "Show helpful text about the different subcommands";
    "config|resetstat", 2, OPERATOR, NO_KEYS, Server, "2.0.0", config::resetstat, NO_SUBCOMMANDS;
        "Reset the stats returned by INFO";
    "config|rewrite", 2, OPERATOR, NO_KEYS, Server, "2.8.0", config::rewrite, NO_SUBCOMMANDS;
        "Rewrite the configuration file with the in memory configuration";
    "config|set", -4, OPERATOR, NO_KEYS, Server, "2.0.0", config::set, NO_SUBCOMMANDS;
        "Set configuration parameters to the given values";
};

const MEMORY: &[Command] = rows! {
    "memory|help", 2, ALWAYS, NO_KEYS, Server, "4.0.0", keys::memory_help, NO_SUBCOMMANDS;
        "Show helpful text about the different subcommands";
    "memory|purge", 2, Flags::NONE, NO_KEYS, Server, "4.0.0", keys::memory_purge, NO_SUBCOMMANDS;
        "Ask the allocator to release memory";
    "memory|usage", -3, Flags::READONLY, SECOND, Server, "4.0.0", keys::memory_usage, NO_SUBCOMMANDS;
        "Estimate the memory usage of a key";
};

const SLOWLOG: &[Command] = rows! {
    "slowlog|get", -2, WATCHER, NO_KEYS, Server, "2.2.12", introspection::slowlog_get, NO_SUBCOMMANDS;
        "Get the slow log's entries";
    "slowlog|help", 2, ALWAYS, NO_KEYS, Server, "6.2.0", introspection::slowlog_help, NO_SUBCOMMANDS;
        "Show helpful text about the different subcommands";
    "slowlog|len", 2, WATCHER, NO_KEYS, Server, "2.2.12", introspection::slowlog_len, NO_SUBCOMMANDS;
        "Get the slow log's length";
    "slowlog|reset", 2, WATCHER, NO_KEYS, Server, "2.2.12", introspection::slowlog_reset, NO_SUBCOMMANDS;
        "Clear all entries from the slow log";
};
