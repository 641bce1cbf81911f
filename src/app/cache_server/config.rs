//! The cache server's settings: read from boot arguments, shown and changed by CONFIG.
//!
//! One table ([`PARAMETERS`]) has a row for each: its name, how it is read and how it is shown, so boot
//! arguments, CONFIG GET and CONFIG SET cannot disagree. Rows of kind `Fixed` exist because clients ask
//! for them; they can be set to what they are and to nothing else.

use super::number::{parse_i64, parse_size};
use crate::cache::eviction::EvictionPolicy;
use crate::error::{Error, Kind, Result, ShortText, Subsystem};
use alloc::vec::Vec;

/// The port of the Redis protocol.
pub const DEFAULT_PORT: u16 = 6379;
/// Redis' default for `maxclients`.
const DEFAULT_CLIENTS_MAX: u64 = 10_000;
/// Commands that took longer are logged (Redis' default, microseconds).
const DEFAULT_SLOWER_THAN_US: i64 = 10_000;
/// Entries of the slow log (Redis' default).
const DEFAULT_SLOWLOG_LEN: u64 = 128;
/// Unconsumed bytes of one client, at most: Redis allows 1 GiB, an image of a few megabytes cannot.
const DEFAULT_QUERY_BYTES_MAX: u64 = 64 << 20;

/// The settings.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The TCP port. Fixed once started.
    pub port: u16,
    /// Memory limit in bytes; 0 for all that the image can spare.
    pub memory_max_bytes: u64,
    /// What leaves when memory is full.
    pub policy: EvictionPolicy,
    /// The password; empty for none.
    pub password: Vec<u8>,
    /// Seconds after which an idle client is disconnected; 0 for never.
    pub timeout_secs: u64,
    /// Clients at a time, at most.
    pub clients_max: u64,
    /// Bytes of one argument, at most. What does not fit one block is refused whatever this says.
    pub bulk_bytes_max: u64,
    /// Bytes of one unfinished request, at most.
    pub query_bytes_max: u64,
    /// Microseconds above which a command is logged; 0 for every one, below 0 for none.
    pub slower_than_us: i64,
    /// Entries of the slow log.
    pub slowlog_len: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            memory_max_bytes: 0,
            policy: EvictionPolicy::ALLKEYS_LRU,
            password: Vec::new(),
            timeout_secs: 0,
            clients_max: DEFAULT_CLIENTS_MAX,
            bulk_bytes_max: super::store::ENTRY_BYTES_MAX as u64,
            query_bytes_max: DEFAULT_QUERY_BYTES_MAX,
            slower_than_us: DEFAULT_SLOWER_THAN_US,
            slowlog_len: DEFAULT_SLOWLOG_LEN,
        }
    }
}

const NOT_A_NUMBER: &str = "argument couldn't be parsed into an integer";
const IMMUTABLE: &str = "can't set immutable config";

/// How a setting is read and shown.
enum Access {
    /// A number in a range, `memory` ones with a suffix.
    Number {
        get: fn(&CacheConfig) -> u64,
        set: fn(&mut CacheConfig, u64),
        range: Range,
        is_memory: bool,
    },
    /// A number that may be negative.
    Signed {
        get: fn(&CacheConfig) -> i64,
        set: fn(&mut CacheConfig, i64),
    },
    /// The eviction policy.
    Policy,
    /// The password.
    Password,
    /// The port: set at boot only.
    Port,
    /// Always this.
    Fixed(&'static str),
}

/// The values a number may have, and how a refusal tells them.
#[derive(Clone, Copy)]
struct Range {
    least: u64,
    most: u64,
    text: &'static str,
}

/// A range of literals.
macro_rules! range {
    ($least:literal, $most:literal) => {
        Range {
            least: $least,
            most: $most,
            text: concat!(
                "argument must be between ",
                $least,
                " and ",
                $most,
                " inclusive"
            ),
        }
    };
}

const ANY: Range = range!(0, 18446744073709551615);
const INTEGER: Range = range!(0, 2147483647);
/// Redis has no smaller buffers.
const BUFFER: Range = range!(1048576, 9223372036854775807);

/// A setting.
pub(super) struct Parameter {
    /// Its name, as in redis.conf.
    pub name: &'static str,
    access: Access,
}

const fn number(
    name: &'static str,
    range: Range,
    get: fn(&CacheConfig) -> u64,
    set: fn(&mut CacheConfig, u64),
) -> Parameter {
    Parameter {
        name,
        access: Access::Number {
            get,
            set,
            range,
            is_memory: false,
        },
    }
}

const fn memory(
    name: &'static str,
    range: Range,
    get: fn(&CacheConfig) -> u64,
    set: fn(&mut CacheConfig, u64),
) -> Parameter {
    Parameter {
        name,
        access: Access::Number {
            get,
            set,
            range,
            is_memory: true,
        },
    }
}

const fn fixed(name: &'static str, value: &'static str) -> Parameter {
    Parameter {
        name,
        access: Access::Fixed(value),
    }
}

/// All settings.
pub(super) const PARAMETERS: &[Parameter] = &[
    memory(
        "maxmemory",
        ANY,
        |c| c.memory_max_bytes,
        |c, v| c.memory_max_bytes = v,
    ),
    Parameter {
        name: "maxmemory-policy",
        access: Access::Policy,
    },
    number(
        "maxmemory-samples",
        range!(1, 64),
        |c| u64::from(c.policy.samples),
        |c, v| c.policy.samples = v as u32,
    ),
    number(
        "lfu-log-factor",
        INTEGER,
        |c| u64::from(c.policy.lfu_log_factor),
        |c, v| c.policy.lfu_log_factor = v as u32,
    ),
    number(
        "lfu-decay-time",
        INTEGER,
        |c| u64::from(c.policy.lfu_decay_minutes),
        |c, v| c.policy.lfu_decay_minutes = v as u32,
    ),
    Parameter {
        name: "requirepass",
        access: Access::Password,
    },
    number(
        "timeout",
        INTEGER,
        |c| c.timeout_secs,
        |c, v| c.timeout_secs = v,
    ),
    number(
        "maxclients",
        range!(1, 4294967295),
        |c| c.clients_max,
        |c, v| c.clients_max = v,
    ),
    memory(
        "proto-max-bulk-len",
        BUFFER,
        |c| c.bulk_bytes_max,
        |c, v| c.bulk_bytes_max = v,
    ),
    memory(
        "client-query-buffer-limit",
        BUFFER,
        |c| c.query_bytes_max,
        |c, v| c.query_bytes_max = v,
    ),
    Parameter {
        name: "slowlog-log-slower-than",
        access: Access::Signed {
            get: |c| c.slower_than_us,
            set: |c, v| c.slower_than_us = v,
        },
    },
    number(
        "slowlog-max-len",
        range!(0, 9223372036854775807),
        |c| c.slowlog_len,
        |c, v| c.slowlog_len = v,
    ),
    Parameter {
        name: "port",
        access: Access::Port,
    },
    fixed("save", ""),
    fixed("appendonly", "no"),
    fixed("databases", "16"),
    fixed("bind", "*"),
    fixed("tcp-keepalive", "300"),
    fixed("daemonize", "no"),
    fixed("cluster-enabled", "no"),
    fixed("io-threads", "1"),
    fixed("appendfsync", "no"),
    fixed("notify-keyspace-events", ""),
    fixed("lazyfree-lazy-eviction", "no"),
    fixed("lazyfree-lazy-expire", "no"),
    fixed("activedefrag", "yes"),
    fixed("hz", "10"),
    fixed("tls-port", "0"),
    fixed("dir", "/"),
    fixed("dbfilename", ""),
];

impl Parameter {
    /// The setting of that name.
    pub(super) fn named(name: &[u8]) -> Option<&'static Self> {
        PARAMETERS
            .iter()
            .find(|parameter| name.eq_ignore_ascii_case(parameter.name.as_bytes()))
    }

    /// Hands its value, as text, to `show`.
    pub(super) fn show(&self, config: &CacheConfig, show: impl FnOnce(&[u8])) {
        let mut buffer = itoa::Buffer::new();
        match self.access {
            Access::Number { get, .. } => show(buffer.format(get(config)).as_bytes()),
            Access::Signed { get, .. } => show(buffer.format(get(config)).as_bytes()),
            Access::Policy => show(config.policy.name().as_bytes()),
            Access::Password => show(&config.password),
            Access::Port => show(buffer.format(config.port).as_bytes()),
            Access::Fixed(value) => show(value.as_bytes()),
        }
    }

    /// Changes it while the server runs.
    ///
    /// # Errors
    /// `BadValue`, which says what the value must be, or that it cannot change.
    pub(crate) fn change(&self, config: &mut CacheConfig, value: &[u8]) -> Result<()> {
        match self.access {
            Access::Port => Err(self.bad(IMMUTABLE)),
            _ => self.set(config, value),
        }
    }

    fn bad(&self, expected: &'static str) -> Error {
        let key = ShortText::new(self.name);
        Error::new(Subsystem::Cache, Kind::BadValue { key, expected })
    }

    /// Sets it.
    ///
    /// # Errors
    /// `BadValue`, which says what the value must be.
    pub(super) fn set(&self, config: &mut CacheConfig, value: &[u8]) -> Result<()> {
        let bad = |expected| self.bad(expected);
        match self.access {
            Access::Number {
                set,
                range,
                is_memory,
                ..
            } => {
                let parsed = if is_memory {
                    parse_size(value).ok_or(bad("argument must be a memory value"))?
                } else {
                    let number = parse_i64(value).ok_or(bad(NOT_A_NUMBER))?;
                    u64::try_from(number).map_err(|_| bad(range.text))?
                };
                if !(range.least..=range.most).contains(&parsed) {
                    return Err(bad(range.text));
                }
                set(config, parsed);
            }
            Access::Signed { set, .. } => {
                let parsed = parse_i64(value).ok_or(bad(NOT_A_NUMBER))?;
                set(config, parsed);
            }
            Access::Policy => {
                let name = core::str::from_utf8(value).unwrap_or_default();
                config.policy = config.policy.renamed(name).ok_or(bad(
                    "argument(s) must be one of the following: volatile-lru, volatile-lfu, \
                     volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, \
                     noeviction",
                ))?;
            }
            Access::Password => {
                let mut password = Vec::new();
                password.try_reserve_exact(value.len())?;
                password.extend_from_slice(value);
                config.password = password;
            }
            Access::Port => {
                let port = parse_i64(value).and_then(|port| u16::try_from(port).ok());
                config.port = port
                    .filter(|&port| port != 0)
                    .ok_or(bad("a port, 1 to 65535"))?;
            }
            Access::Fixed(fixed) => {
                if value != fixed.as_bytes() {
                    return Err(bad(IMMUTABLE));
                }
            }
        }
        Ok(())
    }
}

impl CacheConfig {
    /// Takes a boot argument; `None` if no setting has that name.
    pub fn set(&mut self, key: &str, value: &str) -> Option<Result<()>> {
        Parameter::named(key.as_bytes()).map(|parameter| parameter.set(self, value.as_bytes()))
    }

    /// True if clients have to authenticate.
    pub fn requires_password(&self) -> bool {
        !self.password.is_empty()
    }

    /// Compares a password in a time that does not tell how much of it is right.
    pub fn accepts_password(&self, given: &[u8]) -> bool {
        let known = &self.password;
        let differing = given.iter().enumerate().fold(0, |differing, (i, &byte)| {
            differing | (byte ^ known.get(i).copied().unwrap_or(!byte))
        });
        differing == 0 && given.len() == known.len()
    }

    /// The bytes an argument may have.
    pub fn argument_bytes_max(&self) -> i64 {
        i64::try_from(self.bulk_bytes_max).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn boot_arguments_have_the_names_and_units_of_redis_conf() {
        let mut config = CacheConfig::default();
        assert!(
            config
                .set("maxmemory", "100mb")
                .is_some_and(|set| set.is_ok())
        );
        assert!(
            config
                .set("maxmemory-policy", "volatile-ttl")
                .is_some_and(|set| set.is_ok())
        );
        assert!(
            config
                .set("requirepass", "secret")
                .is_some_and(|set| set.is_ok())
        );
        assert!(config.set("port", "7000").is_some_and(|set| set.is_ok()));
        assert_eq!((config.memory_max_bytes, config.port), (100 << 20, 7000));
        assert_eq!(config.policy.name(), "volatile-ttl");
        assert!(config.set("http-port", "1").is_none());
    }

    #[test]
    fn a_bad_value_is_refused_by_name_and_changes_nothing() {
        let mut config = CacheConfig::default();
        for (key, value) in [
            ("maxmemory", "lots"),
            ("port", "0"),
            ("timeout", "-1"),
            ("maxclients", "0"),
        ] {
            let error = config.set(key, value).expect("known").expect_err("bad");
            assert!(error.to_string().contains(key), "{error}");
        }
        assert_eq!((config.port, config.memory_max_bytes), (DEFAULT_PORT, 0));
    }

    #[test]
    fn a_password_is_accepted_whole_or_not_at_all() {
        let config = CacheConfig {
            password: b"secret".to_vec(),
            ..CacheConfig::default()
        };
        assert!(config.accepts_password(b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!config.accepts_password(wrong));
        }
    }
}
