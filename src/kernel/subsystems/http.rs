//! The HTTP subsystem: it serves the pages of port 9100 over messages from the data plane.

use crate::app::Application;
use crate::arch::aarch64::cpu;
use crate::bus::subsystem::Never;
use crate::bus::{Envelope, Profile, Subsystem};
use crate::error::Result;
use crate::kernel::pages::PageMaker;
use crate::kernel::scheduler::{FiberId, Fibers};
use crate::kernel::supervision::{Body, Ward};
use crate::net::http::relay::{Parcels, Wires};
use crate::net::http::{AdminToken, Host, HttpServer, Limits};
use crate::platform::time::Clock;
use core::convert::Infallible;

/// What it is.
pub(in crate::kernel) const PROFILE: Profile = Profile {
    name: super::HTTP.name,
    version: env!("CARGO_PKG_VERSION"),
    dependencies: &[super::DATA_PLANE.name],
    capabilities: &["pages"],
    topics: &[],
};

/// What every incarnation is made from.
pub(in crate::kernel) struct HttpBody {
    pub(in crate::kernel) fibers: Fibers,
    pub(in crate::kernel) clock: &'static dyn Clock,
    pub(in crate::kernel) application: &'static dyn Application,
    pub(in crate::kernel) pages: PageMaker,
    pub(in crate::kernel) port: u16,
    pub(in crate::kernel) admin_token: AdminToken,
    pub(in crate::kernel) data_plane: FiberId,
    pub(in crate::kernel) wires: Wires,
    pub(in crate::kernel) parcels: Parcels,
}

/// One incarnation.
struct Http {
    host: Host<HttpServer>,
}

impl Subsystem for Http {
    // The host takes what the data plane sends.
    type Message = Never;

    fn profile(&self) -> Profile {
        PROFILE
    }

    fn handle(&mut self, message: Envelope<Never>) -> Result<()> {
        match message.body {}
    }
}

impl Body for HttpBody {
    fn run(&'static self, ward: &'static Ward) -> Result<Infallible> {
        let routes = self.pages.routes(self.application.parts()?.pages)?;
        let counters = self.pages.counters.clone();
        let server = HttpServer::new(self.clock, self.port, Limits::DEFAULT, routes, counters)?
            .with_admin_token(self.admin_token.clone());
        let host = Host::new(&self.wires, self.parcels, server);
        ward.is_up();
        let mut http = Http { host };
        loop {
            ward.begin_turn();
            if ward.attend(&mut http) {
                self.fibers.rest();
            }
            let deadline = http.host.step(self.clock.now());
            // Masked, the bell does not switch to the data plane at once: this parks first, and need not be run again
            // only to do that.
            cpu::mask_interrupts();
            http.host.ring();
            self.fibers.park(deadline);
        }
    }

    fn mourn(&self) {
        // It looks at this subsystem's incarnation when it runs.
        self.fibers.wake(self.data_plane);
    }
}
