//! Settings of the network stack, and the boot arguments that set them.
//!
//! Policy only: every number here is obeyed elsewhere. Defaults are for 10,000 connections in 256 MB.

use crate::error::{Error, Kind, Result, ShortText, Subsystem};
use crate::platform::time::Duration;
use core::net::Ipv4Addr;
use core::str::FromStr;

/// Where the address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressConfig {
    /// A DHCP server on the link.
    Dhcp,
    /// The operator.
    Static {
        /// Our address.
        address: Ipv4Addr,
        /// Leading one-bits of the network mask.
        prefix_len: u8,
        /// The router for everything outside the network, if there is one.
        gateway: Option<Ipv4Addr>,
    },
}

/// Settings of the network stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackConfig {
    /// Where the address comes from.
    pub address: AddressConfig,
    /// Bytes of a connection's receive ring, which is its largest window. A guess: a request at pipeline
    /// 16 with 64 B values is 1.5 KB, and 10,000 connections have to fit in 256 MB.
    pub receive_ring_bytes: usize,
    /// Bytes of a connection's transmit ring, which bounds what is in flight. As above.
    pub transmit_ring_bytes: usize,
    /// Connections at once, in whatever state but TIME-WAIT; a SYN beyond is answered with a reset.
    pub connection_limit: u32,
    /// Connections whose handshake is not complete; beyond, the oldest of them is dropped. A guess: that
    /// many clients may connect at once, and one is served through a flood of `limit / round-trip time`
    /// SYNs a second.
    pub half_open_limit: u32,
    /// Connections remembered in TIME-WAIT (10 s each), without a socket; beyond, the oldest of them is forgotten early.
    pub time_wait_limit: u32,
    /// Sockets of closed connections that keep their rings for the next connection, so that a peer which
    /// connects for each request costs no allocation. A guess.
    pub spare_sockets: usize,
    /// Silence after which a peer is probed (Redis: `tcp-keepalive 300`); one that answers neither of two
    /// probes is dropped. `None` for never.
    pub keep_alive: Option<Duration>,
    /// Time without a byte from the peer after which its connection is closed. `None` for never (Redis:
    /// `timeout 0`); a service may have a shorter one of its own.
    pub idle_timeout: Option<Duration>,
    /// Time without a sign of life after which a peer that owes us an ACK is dropped: six or seven
    /// retransmissions.
    pub unanswered_timeout: Duration,
    /// Time for a handshake: the SYN|ACK is sent at 0, 1, 3 and 7 s.
    pub handshake_timeout: Duration,
    /// Time for a peer to take the last bytes and to close its side, once we have closed ours (Linux:
    /// `tcp_fin_timeout` 60 s).
    pub linger_timeout: Duration,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            address: AddressConfig::Dhcp,
            receive_ring_bytes: 8 * 1024,
            transmit_ring_bytes: 8 * 1024,
            connection_limit: 10_240,
            half_open_limit: 1_024,
            time_wait_limit: 128,
            spare_sockets: 16,
            keep_alive: Some(Duration::from_secs(300)),
            idle_timeout: None,
            unanswered_timeout: Duration::from_secs(120),
            handshake_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(60),
        }
    }
}

impl StackConfig {
    /// Memory of one connection, beside its rings: the socket, its slot, its timer.
    const CONNECTION_BYTES: usize = 1_536;

    /// Lowers the limits to what fits in eleven sixteenths of `memory_bytes`, which is what 10,000
    /// connections take of 256 MB, and half-open ones to an eighth of that.
    pub fn fit(&mut self, memory_bytes: u64) {
        let each = self.receive_ring_bytes + self.transmit_ring_bytes + Self::CONNECTION_BYTES;
        let fitting = (memory_bytes / 16 * 11 / each as u64).max(1);
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
        self.connection_limit = self.connection_limit.min(fitting);
        self.half_open_limit = self.half_open_limit.min(fitting.div_ceil(8));
        self.time_wait_limit = self.time_wait_limit.min(fitting.div_ceil(8));
        self.spare_sockets = self.spare_sockets.min(fitting.div_ceil(64) as usize);
    }

    /// Takes the boot argument `key=value` (with or without `nos.` before the key); `None` if it is not
    /// one of this part: `ip`, `tcp-keepalive`, `tcp-idle-timeout`, `tcp-connections`.
    pub fn set(&mut self, key: &str, value: &str) -> Option<Result<()>> {
        Some(match key.strip_prefix("nos.").unwrap_or(key) {
            "ip" => AddressConfig::parse(value).map(|address| self.address = address),
            "tcp-keepalive" => seconds(key, value).map(|length| self.keep_alive = length),
            "tcp-idle-timeout" => seconds(key, value).map(|length| self.idle_timeout = length),
            "tcp-connections" => match value.parse() {
                Ok(limit) if limit > 0 => {
                    self.connection_limit = limit;
                    Ok(())
                }
                _ => Err(bad_value(key, "a number of connections above 0")),
            },
            _ => return None,
        })
    }
}

impl AddressConfig {
    /// Reads `dhcp`, `ADDR/LEN` or `ADDR/LEN,GATEWAY`.
    ///
    /// # Errors
    /// `BadValue` if it is none of them, or the addresses cannot be used by a host.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "dhcp" {
            return Ok(Self::Dhcp);
        }
        let (network, gateway) = match text.split_once(',') {
            Some((network, gateway)) => (network, Some(number(gateway)?)),
            None => (text, None),
        };
        let (address, prefix_len) = network.split_once('/').ok_or_else(bad_address)?;
        let (address, prefix_len) = (number(address)?, number(prefix_len)?);
        if prefix_len > 32 || !is_host(address) || !gateway.is_none_or(is_host) {
            return Err(bad_address());
        }
        Ok(Self::Static {
            address,
            prefix_len,
            gateway,
        })
    }
}

/// True for an address that a host can have.
pub(super) fn is_host(address: Ipv4Addr) -> bool {
    !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| bad_address())
}

/// Reads whole seconds; 0 is never.
fn seconds(key: &str, value: &str) -> Result<Option<Duration>> {
    match value.parse() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err(bad_value(key, "whole seconds, 0 for never")),
    }
}

fn bad_address() -> Error {
    bad_value("nos.ip", "dhcp or ADDR/LEN or ADDR/LEN,GATEWAY")
}

fn bad_value(key: &str, expected: &'static str) -> Error {
    let key = ShortText::new(key);
    Error::new(Subsystem::Network, Kind::BadValue { key, expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_address_is_read_with_and_without_a_gateway() {
        let address = Ipv4Addr::new(10, 0, 2, 15);
        assert_eq!(
            AddressConfig::parse("10.0.2.15/24"),
            Ok(AddressConfig::Static {
                address,
                prefix_len: 24,
                gateway: None
            })
        );
        assert_eq!(
            AddressConfig::parse("10.0.2.15/24,10.0.2.2"),
            Ok(AddressConfig::Static {
                address,
                prefix_len: 24,
                gateway: Some(Ipv4Addr::new(10, 0, 2, 2))
            })
        );
        assert_eq!(AddressConfig::parse("dhcp"), Ok(AddressConfig::Dhcp));
    }

    #[test]
    fn an_address_that_no_host_can_have_is_refused_by_the_name_of_the_key() {
        for bad in [
            "",
            "10.0.2.15",
            "10.0.2.15/33",
            "10.0.2/24",
            "224.0.0.1/24",
            "0.0.0.0/0",
            "255.255.255.255/8",
            "10.0.2.15/24,",
            "10.0.2.15/24,x",
            "10.0.2.15/24,239.0.0.1",
            "10.0.2.15/-1",
        ] {
            let refused = AddressConfig::parse(bad).expect_err(bad).to_string();
            assert!(refused.contains("nos.ip"), "{refused}");
        }
    }

    #[test]
    fn ten_thousand_connections_fit_in_256_mb_and_some_in_8() {
        let mut config = StackConfig::default();
        config.fit(256 << 20);
        assert!(config.connection_limit >= 10_000, "{config:?}");
        config.fit(8 << 20);
        assert!((200..400).contains(&config.connection_limit), "{config:?}");
        assert!(config.half_open_limit < 50, "{config:?}");
    }

    #[test]
    fn boot_arguments_of_other_parts_are_left_to_them() {
        let mut config = StackConfig::default();
        assert_eq!(config.set("nos.maxmemory", "1"), None);
        assert_eq!(config.set("nos.tcp-keepalive", "0"), Some(Ok(())));
        assert_eq!(config.keep_alive, None);
        assert_eq!(config.set("tcp-idle-timeout", "7"), Some(Ok(())));
        assert_eq!(config.idle_timeout, Some(Duration::from_secs(7)));
        assert!(
            config
                .set("nos.tcp-connections", "0")
                .is_some_and(|set| set.is_err())
        );
        assert!(
            config
                .set("nos.tcp-keepalive", "soon")
                .is_some_and(|set| set.is_err())
        );
    }
}
