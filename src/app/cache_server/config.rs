//! The cache server's settings: read from boot arguments, shown and changed by CONFIG.
//!
//! What each is called, and how it is read and shown, says the table in [`parameters`].
//!
//! [`parameters`]: super::parameters

use super::parameters::Parameter;
use super::persistence::{SAVE_POINTS_MAX, SavePoint};
use crate::cache::eviction::EvictionPolicy;
use crate::error::Result;
use heapless::Vec;

/// The port of the Redis protocol.
pub const DEFAULT_PORT: u16 = 6379;
/// Redis' default for `maxclients`.
const DEFAULT_CLIENTS_MAX: u64 = 10_000;
/// Commands that took longer are logged (Redis' default, microseconds).
const DEFAULT_SLOWER_THAN_US: i64 = 10_000;
/// Entries of the slow log (Redis' default).
const DEFAULT_SLOWLOG_LEN: u64 = 128;
/// Keys that are remembered for clients that track (Redis' default).
const DEFAULT_TRACKING_KEYS_MAX: u64 = 1_000_000;
/// Redis' default for `save`: seconds and changes.
const DEFAULT_SAVE_POINTS: [(u32, u32); 3] = [(3600, 1), (300, 100), (60, 10_000)];
/// Unconsumed bytes of one client, at most: Redis allows 1 GiB, an image of a few megabytes cannot.
const DEFAULT_QUERY_BYTES_MAX: u64 = 64 << 20;

/// The longest password in bytes (Redis' `CONFIG_AUTHPASS_MAX_LEN`).
pub(super) const PASSWORD_BYTES_MAX: usize = 512;

/// The settings. Nothing of them is on the heap: they outlive it.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The TCP port. Fixed once started.
    pub port: u16,
    /// Memory limit in bytes; 0 for all that the image can spare.
    pub memory_max_bytes: u64,
    /// What leaves when memory is full.
    pub policy: EvictionPolicy,
    /// The password; empty for none.
    pub password: Vec<u8, PASSWORD_BYTES_MAX>,
    /// Seconds after which an idle client is disconnected; 0 for never.
    pub timeout_secs: u64,
    /// Seconds of silence after which the network probes a peer; 0 for never. The network's, and shown only.
    pub keep_alive_secs: u64,
    /// Clients at a time, at most.
    pub clients_max: u64,
    /// Bytes of one argument, at most. What does not fit one block is refused whatever this says.
    pub bulk_bytes_max: u64,
    /// Bytes of one unfinished request, at most.
    pub query_bytes_max: u64,
    /// Bytes of replies to one client that are under way, at most; 0 for no bound.
    pub output_limit: OutputLimit,
    /// Microseconds above which a command is logged; 0 for every one, below 0 for none.
    pub slower_than_us: i64,
    /// Entries of the slow log.
    pub slowlog_len: u64,
    /// Keys that are remembered for clients that track, at most; 0 for no bound but memory's.
    pub tracking_keys_max: u64,
    /// When checkpoints are written, where there is a disk.
    pub save_points: Vec<SavePoint, SAVE_POINTS_MAX>,
    /// The settings that boot arguments gave, each by its bit.
    pub given: u64,
    /// Those that were changed since the first start, each by its bit.
    pub changed: u64,
}

/// How much output a client may have under way (`client-output-buffer-limit normal`).
///
/// No request is run while 64 KiB of replies wait, so what can exceed a limit is a single turn's replies: it is
/// held against the hard limit, and against the soft one if that is to last for 0 seconds. A peer that
/// does not read what little waits is ended by TCP's own timeouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is ended at once; 0 for no bound.
    pub hard_bytes: u64,
    /// Bytes at which it is ended if that lasts; 0 for no bound.
    pub soft_bytes: u64,
    /// Seconds that it has to last.
    pub soft_secs: u64,
}

impl OutputLimit {
    /// True if a client is to be ended with so much under way.
    #[inline]
    pub(super) fn is_passed(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let passes = |limit: u64| limit != 0 && bytes >= limit;
        passes(self.hard_bytes) || self.soft_secs == 0 && passes(self.soft_bytes)
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            memory_max_bytes: 0,
            policy: EvictionPolicy::ALLKEYS_LRU,
            password: Vec::new(),
            timeout_secs: 0,
            keep_alive_secs: 0,
            clients_max: DEFAULT_CLIENTS_MAX,
            bulk_bytes_max: super::store::ENTRY_BYTES_MAX as u64,
            query_bytes_max: DEFAULT_QUERY_BYTES_MAX,
            output_limit: OutputLimit::default(),
            slower_than_us: DEFAULT_SLOWER_THAN_US,
            slowlog_len: DEFAULT_SLOWLOG_LEN,
            tracking_keys_max: DEFAULT_TRACKING_KEYS_MAX,
            save_points: Vec::from_iter(
                DEFAULT_SAVE_POINTS.map(|(seconds, changes)| SavePoint { seconds, changes }),
            ),
            given: 0,
            changed: 0,
        }
    }
}

impl CacheConfig {
    /// Takes a boot argument; `None` if no setting has that name.
    pub fn set(&mut self, key: &str, value: &str) -> Option<Result<()>> {
        let parameter = Parameter::named(key.as_bytes())?;
        self.given |= parameter.bit();
        Some(parameter.set(self, value.as_bytes()))
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
        let mut config = CacheConfig::default();
        let set = |config: &mut CacheConfig, text: &str| config.set("requirepass", text);
        assert!(set(&mut config, "secret").expect("known").is_ok());
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert!(set(&mut config, &long).expect("known").is_err());
        assert!(config.accepts_password(b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!config.accepts_password(wrong));
        }
    }
}
