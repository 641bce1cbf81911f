//! The table of settings ([`PARAMETERS`]): the name of each, how it is read and how it is shown, so that
//! boot arguments, CONFIG GET and CONFIG SET cannot disagree. Rows of kind `Fixed` and `Immutable` exist
//! because clients ask for them; they can be set to what they are, or to nothing.

use super::config::{CacheConfig, OutputLimit};
use super::number::{parse_i64, parse_size};
use super::persistence::{SAVE_POINTS_MAX, SavePoint};
use super::word::Word;
use crate::error::{Error, Kind, Result, ShortText, Subsystem};
use core::fmt::Write;

const NOT_A_NUMBER: &str = "argument couldn't be parsed into an integer";
/// Why a setting that cannot change does not.
pub(super) const IMMUTABLE: &str = "can't set immutable config";

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
    /// What the network was told at boot.
    KeepAlive,
    /// What replies to one client may take.
    Output,
    /// When checkpoints are written.
    Save,
    /// Always this, though Redis could change it.
    Fixed(&'static str),
    /// Always this, in Redis too while it runs.
    Immutable(&'static str),
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
    let is_memory = false;
    let access = Access::Number {
        get,
        set,
        range,
        is_memory,
    };
    Parameter { name, access }
}

/// A [`number`] that may be written with a suffix.
const fn memory(
    name: &'static str,
    range: Range,
    get: fn(&CacheConfig) -> u64,
    set: fn(&mut CacheConfig, u64),
) -> Parameter {
    let mut parameter = number(name, range, get, set);
    if let Access::Number { is_memory, .. } = &mut parameter.access {
        *is_memory = true;
    }
    parameter
}

const fn fixed(name: &'static str, value: &'static str) -> Parameter {
    Parameter {
        name,
        access: Access::Fixed(value),
    }
}

/// Its words are more than one boot argument, so only CONFIG SET can set it.
const fn output(name: &'static str) -> Parameter {
    Parameter {
        name,
        access: Access::Output,
    }
}

const fn immutable(name: &'static str, value: &'static str) -> Parameter {
    Parameter {
        name,
        access: Access::Immutable(value),
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
        range!(1, 2147483647),
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
    number(
        "tracking-table-max-keys",
        range!(0, 9223372036854775807),
        |c| c.tracking_keys_max,
        |c, v| c.tracking_keys_max = v,
    ),
    Parameter {
        name: "port",
        access: Access::Port,
    },
    output("client-output-buffer-limit"),
    fixed("active-expire-effort", "1"),
    fixed("activedefrag", "yes"),
    fixed("appendfsync", "no"),
    fixed("appendonly", "no"),
    fixed("bind", "*"),
    fixed("dbfilename", ""),
    fixed("dir", "/"),
    fixed("dynamic-hz", "yes"),
    fixed("hz", "10"),
    fixed("latency-monitor-threshold", "0"),
    fixed("latency-tracking", "yes"),
    fixed("latency-tracking-info-percentiles", "50 99 99.9"),
    fixed("lazyfree-lazy-eviction", "no"),
    fixed("lazyfree-lazy-expire", "no"),
    fixed("lazyfree-lazy-server-del", "no"),
    fixed("lazyfree-lazy-user-del", "no"),
    fixed("lazyfree-lazy-user-flush", "no"),
    fixed("masterauth", ""),
    fixed("maxmemory-clients", "0"),
    fixed("notify-keyspace-events", ""),
    fixed("protected-mode", "no"),
    fixed("repl-backlog-size", "0"),
    Parameter {
        name: "save",
        access: Access::Save,
    },
    Parameter {
        name: "tcp-keepalive",
        access: Access::KeepAlive,
    },
    fixed("tls-port", "0"),
    immutable("aclfile", ""),
    immutable("always-show-logo", "no"),
    immutable("cluster-enabled", "no"),
    immutable("daemonize", "no"),
    immutable("databases", "16"),
    immutable("enable-debug-command", "no"),
    immutable("enable-module-command", "no"),
    immutable("enable-protected-configs", "no"),
    immutable("io-threads", "1"),
    immutable("io-threads-do-reads", "no"),
    immutable("logfile", ""),
    immutable("pidfile", ""),
    immutable("supervised", "no"),
    immutable("unixsocket", ""),
];

const _: () = assert!(PARAMETERS.len() <= u64::BITS as usize);

impl Parameter {
    /// The setting of that name.
    pub(super) fn named(name: &[u8]) -> Option<&'static Self> {
        PARAMETERS
            .iter()
            .find(|parameter| name.is_word(parameter.name.as_bytes()))
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
            Access::KeepAlive => show(buffer.format(config.keep_alive_secs).as_bytes()),
            Access::Output => show(shown_output(&config.output_limit).as_bytes()),
            Access::Save => show(shown_save_points(&config.save_points).as_bytes()),
            Access::Fixed(value) | Access::Immutable(value) => show(value.as_bytes()),
        }
    }

    /// Its bit in the sets of settings ([`CacheConfig::given`]).
    pub(super) fn bit(&self) -> u64 {
        let place = PARAMETERS.iter().position(|one| one.name == self.name);
        1 << place.expect("it is one of them")
    }

    /// True if it cannot be set while the server runs, not even to what it is.
    pub(super) fn is_immutable(&self) -> bool {
        matches!(self.access, Access::Port | Access::Immutable(_))
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
                let password = heapless::Vec::from_slice(value);
                config.password = password.map_err(|_| bad("a password has at most 512 bytes"))?;
            }
            Access::Port => {
                let port = parse_i64(value).and_then(|port| u16::try_from(port).ok());
                config.port = port
                    .filter(|&port| port != 0)
                    .ok_or(bad("a port, 1 to 65535"))?;
            }
            Access::KeepAlive => {
                let parsed = parse_i64(value).ok_or(bad(NOT_A_NUMBER))?;
                if u64::try_from(parsed) != Ok(config.keep_alive_secs) {
                    return Err(bad(IMMUTABLE));
                }
            }
            Access::Output => {
                if let Some(why) = set_output(&mut config.output_limit, value) {
                    return Err(bad(why));
                }
            }
            Access::Save => {
                let points = save_points(value);
                config.save_points = points.ok_or(bad("Invalid save parameters"))?;
            }
            Access::Fixed("yes" | "no") if !is_switch(value) => {
                return Err(bad("argument must be 'yes' or 'no'"));
            }
            Access::Fixed(fixed) | Access::Immutable(fixed) => {
                if value != fixed.as_bytes() {
                    return Err(bad(IMMUTABLE));
                }
            }
        }
        Ok(())
    }
}

type SavePoints = heapless::Vec<SavePoint, SAVE_POINTS_MAX>;

/// Reads pairs of seconds and changes, all of them separated by blanks, or, as boot arguments cannot have those, by
/// colons and commas; nothing for none.
fn save_points(text: &[u8]) -> Option<SavePoints> {
    let words = text.split(|byte| byte.is_ascii_whitespace() || b":,".contains(byte));
    let mut numbers = words
        .filter(|word| !word.is_empty())
        .map(|word| parse_i64(word).and_then(|number| u32::try_from(number).ok()));
    let mut points = SavePoints::new();
    while let Some(seconds) = numbers.next() {
        let (seconds, changes) = (seconds.filter(|&seconds| seconds > 0)?, numbers.next()??);
        points.push(SavePoint { seconds, changes }).ok()?;
    }
    Some(points)
}

fn shown_save_points(points: &SavePoints) -> heapless::String<192> {
    let mut text = heapless::String::new();
    for (number, SavePoint { seconds, changes }) in points.iter().enumerate() {
        let gap = if number == 0 { "" } else { " " };
        // Eight pairs of numbers of at most 10 digits fit.
        let _ = write!(text, "{gap}{seconds} {changes}");
    }
    text
}

fn is_switch(value: &[u8]) -> bool {
    [b"yes", &b"no"[..]].iter().any(|word| value.is_word(word))
}

/// What Redis shows of clients that there are none of here.
const OTHER_CLASSES: &str = "slave 268435456 67108864 60 pubsub 33554432 8388608 60";

fn shown_output(limit: &OutputLimit) -> heapless::String<128> {
    let OutputLimit {
        hard_bytes,
        soft_bytes,
        soft_secs,
    } = limit;
    let mut text = heapless::String::new();
    // Three numbers of at most 20 digits each fit.
    let _ = write!(
        text,
        "normal {hard_bytes} {soft_bytes} {soft_secs} {OTHER_CLASSES}"
    );
    text
}

/// Reads groups of a class, a hard limit, a soft limit and its seconds. Limits of replicas and subscribers
/// are checked, and bound nobody. Returns what is wrong, if anything is.
fn set_output(limit: &mut OutputLimit, value: &[u8]) -> Option<&'static str> {
    let words = || {
        value
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
    };
    if !words().count().is_multiple_of(4) {
        return Some("Wrong number of arguments in buffer limit configuration.");
    }
    let mut rest = words();
    while let Some(class) = rest.next() {
        let is = |name: &str| class.is_word(name.as_bytes());
        if !["normal", "slave", "replica", "pubsub"].into_iter().any(is) {
            return Some("Invalid client class specified in buffer limit configuration.");
        }
        let mut number = |read: fn(&[u8]) -> Option<u64>| rest.next().and_then(read);
        let seconds = |word: &[u8]| parse_i64(word).and_then(|secs| u64::try_from(secs).ok());
        let (hard, soft, secs) = (number(parse_size), number(parse_size), number(seconds));
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_secs)) = (hard, soft, secs) else {
            return Some(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            );
        };
        if is("normal") {
            *limit = OutputLimit {
                hard_bytes,
                soft_bytes,
                soft_secs,
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_and_a_fixed_value_can_be_set_to_itself_only() {
        for (number, parameter) in PARAMETERS.iter().enumerate() {
            let first = PARAMETERS.iter().position(|one| one.name == parameter.name);
            assert_eq!(first, Some(number), "{}", parameter.name);
            if let Access::Fixed(value) = parameter.access {
                let mut config = CacheConfig::default();
                assert!(parameter.set(&mut config, value.as_bytes()).is_ok());
                assert!(parameter.set(&mut config, b"another").is_err());
            }
        }
    }

    #[test]
    fn output_limits_are_read_by_class_and_shown_for_all() {
        let mut limit = OutputLimit::default();
        assert_eq!(
            set_output(&mut limit, b"normal 1mb 64kb 5 replica 0 0 0"),
            None
        );
        let (hard_bytes, soft_bytes, soft_secs) = (1 << 20, 64 << 10, 5);
        let wanted = OutputLimit {
            hard_bytes,
            soft_bytes,
            soft_secs,
        };
        assert_eq!(limit, wanted);
        assert!(shown_output(&limit).starts_with("normal 1048576 65536 5 slave "));
        for (text, why) in [
            ("normal 1 2", "Wrong number"),
            ("other 1 2 3", "Invalid client class"),
            ("normal 1 x 3", "Error in hard"),
            ("normal 1 2 -3", "Error in hard"),
        ] {
            let error = set_output(&mut limit, text.as_bytes()).expect("refused");
            assert!(error.starts_with(why), "{text}: {error}");
        }
        assert_eq!(limit, wanted, "a refusal changes nothing");
        assert!(limit.is_passed(1 << 20) && !limit.is_passed(1 << 19));
    }
}
