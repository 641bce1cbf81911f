//! The address of the image, its announcement, and the socket set for frames that belong to no flow.
//!
//! The set holds the DHCP client, if there is one. ARP, ICMP echo, and segments for ports that nobody
//! listens on are shown to it as well: smoltcp answers those without a socket.

use super::arp::Announcements;
use super::config::{AddressConfig, is_host};
use super::link::{Moment, from_smoltcp};
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::platform::time::{Duration, Instant};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::iface::{Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::dhcpv4::{Event, Socket};
use smoltcp::wire::{IpCidr, Ipv4Cidr};

/// Time after which a DHCP DISCOVER is sent again: short, since boot waits for it.
const DISCOVER_AGAIN: Duration = Duration::from_secs(2);

/// Whether the address is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// It is.
    Kept,
    /// It is another one, or none.
    Changed,
}

/// The system's sockets and our address.
pub(super) struct System {
    pub(super) sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    address: Option<Ipv4Cidr>,
    announcements: Announcements,
    /// When the DHCP client has something to do; [`Instant::NEVER`] if there is none.
    deadline: Instant,
}

impl System {
    /// Sets up `interface` as configured.
    ///
    /// # Errors
    /// `OutOfMemory`, or `LimitReached` if smoltcp was built without room for a route.
    pub(super) fn new(
        config: &AddressConfig,
        interface: &mut Interface,
        at: Moment,
    ) -> Result<Self> {
        let mut storage = Vec::new();
        storage.try_reserve_exact(1)?;
        storage.push_reserved(SocketStorage::EMPTY);
        let mut system = Self {
            sockets: SocketSet::new(storage),
            dhcp: None,
            address: None,
            announcements: Announcements::NONE,
            deadline: Instant::NEVER,
        };
        match *config {
            AddressConfig::Dhcp => {
                let mut client = Socket::new();
                let mut retry = client.get_retry_config();
                retry.discover_timeout =
                    smoltcp::time::Duration::from_secs(DISCOVER_AGAIN.as_secs());
                client.set_retry_config(retry);
                system.dhcp = Some(system.sockets.add(client));
            }
            AddressConfig::Static {
                address,
                prefix_len,
                gateway,
            } => {
                let network = Ipv4Cidr::new(address, prefix_len);
                system.assign(interface, Some(network), gateway, at)?;
                log::info!("address {address}/{prefix_len}, gateway {}", Shown(gateway));
            }
        }
        system.arm(interface, at);
        Ok(system)
    }

    /// Our address.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        self.address.map(|network| network.address())
    }

    /// Our address and network.
    pub(super) fn network(&self) -> Option<Ipv4Cidr> {
        self.address
    }

    /// When the DHCP client has something to do, or our address is to be announced; [`Instant::NEVER`] if neither.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        self.deadline.min(self.announcements.deadline())
    }

    /// The address that is to be announced now, and its network.
    pub(super) fn owes_announcement(&self, now: Instant) -> Option<Ipv4Cidr> {
        let is_due = self.announcements.deadline() <= now;
        self.network().filter(|_| is_due)
    }

    /// Our address has been announced.
    pub(super) fn note_announced(&mut self, now: Instant) {
        self.announcements.note_sent(now);
    }

    fn arm(&mut self, interface: &mut Interface, at: Moment) {
        if self.dhcp.is_some() {
            let deadline = interface.poll_at(at.smoltcp, &self.sockets);
            self.deadline = deadline.map_or(Instant::NEVER, from_smoltcp);
        }
    }

    /// Follows what the DHCP client has learnt.
    ///
    /// # Errors
    /// As [`System::new`].
    pub(super) fn follow_lease(
        &mut self,
        interface: &mut Interface,
        at: Moment,
    ) -> Result<Address> {
        let Some(handle) = self.dhcp else {
            return Ok(Address::Kept);
        };
        self.arm(interface, at);
        let (network, gateway) = match self.sockets.get_mut::<Socket<'_>>(handle).poll() {
            None => return Ok(Address::Kept),
            Some(Event::Configured(lease)) => {
                let (address, server) = (lease.address, lease.server.address);
                // The server is believed no more than any peer: smoltcp panics on a router at 224.0.0.1.
                let gateway = lease.router.filter(|&router| is_host(router));
                log::info!(
                    "address {address} from DHCP server {server}, gateway {}",
                    Shown(gateway)
                );
                (Some(address), gateway)
            }
            Some(Event::Deconfigured) => (None, None),
        };
        if network.is_none() && self.address.is_some() {
            log::warn!("the DHCP lease is lost, looking for another");
        }
        let is_same = network == self.address;
        self.assign(interface, network, gateway, at)?;
        Ok(if is_same {
            Address::Kept
        } else {
            Address::Changed
        })
    }

    fn assign(
        &mut self,
        interface: &mut Interface,
        network: Option<Ipv4Cidr>,
        gateway: Option<Ipv4Addr>,
        at: Moment,
    ) -> Result<()> {
        // A lease that is renewed is no news to anyone.
        if network != self.address {
            self.announcements = match network {
                Some(_) => Announcements::begin(at.now),
                None => Announcements::NONE,
            };
        }
        self.address = network;
        set_address(interface, network);
        interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            let (what, limit) = ("routes", 0);
            let full = Error::new(Subsystem::Network, Kind::LimitReached { what, limit });
            interface
                .routes_mut()
                .add_default_ipv4_route(gateway)
                .map_err(|_| full)?;
        }
        Ok(())
    }
}

/// Gives `interface` that address and no other.
pub(super) fn set_address(interface: &mut Interface, network: Option<Ipv4Cidr>) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        if let Some(network) = network {
            let pushed = addresses.push(IpCidr::Ipv4(network));
            pushed.expect("smoltcp has room for at least one address");
        }
    });
}

/// A gateway, or `none`.
struct Shown(Option<Ipv4Addr>);

impl core::fmt::Display for Shown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(gateway) => write!(f, "{gateway}"),
            None => f.write_str("none"),
        }
    }
}
