//! The registry: what the image is made of, and how each part stands.
//!
//! The composition root registers each part once, in a fixed order; who needs all parts of a kind walks them
//! in that order, so that two scrapes differ only in values. A part is found by its name or by a capability; who
//! wants to know of changes subscribes to the topic that the registry publishes them on.
//!
//! Always true: a name is there once; what is registered stays for the life of the image. Rows are added
//! before the registry is shared; afterwards only a row's [`Status`] changes, by the supervisor.
//!
//! A few dozen parts at most, so a list is searched from the front.

mod order;
mod status;
#[cfg(all(test, not(loom)))]
mod tests;

pub use order::constant_start_order;
pub use status::{Cause, Fault, State, Status};

use super::envelope::Message;
use super::port::Port;
use super::subsystem::Profile;
use super::tally::Queue;
use super::topic::{Published, Topic};
use crate::error::{Error, Grow, Kind, Result, Subsystem, arc_at_boot};
use crate::metrics::Source;
use crate::platform::time::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a part shows its counters with, as the registry holds it.
pub type SharedSource = Arc<dyn Source + Send + Sync>;

/// A subsystem that went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which subsystem.
    pub name: &'static str,
    /// Where it is now.
    pub state: State,
}

impl Message for Change {}

/// One part.
pub struct Row {
    profile: Profile,
    source: Option<SharedSource>,
    port: Option<Arc<Port>>,
    queues: Vec<Arc<dyn Queue>>,
    status: Arc<Status>,
}

impl Row {
    /// What it is.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Its place on the bus, if it is a subsystem.
    pub fn port(&self) -> Option<&Arc<Port>> {
        self.port.as_ref()
    }

    /// What it reads from.
    pub fn queues(&self) -> &[Arc<dyn Queue>] {
        &self.queues
    }

    /// How it stands.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// How often it was started again.
    pub fn incarnation(&self) -> u64 {
        self.port.as_ref().map_or(0, |port| port.incarnation())
    }
}

/// All registered parts.
#[derive(Default)]
pub struct Registry {
    rows: Vec<Row>,
    changes: Option<Arc<Topic<Change>>>,
}

impl Registry {
    /// An empty registry.
    pub const fn new() -> Self {
        Self {
            rows: Vec::new(),
            changes: None,
        }
    }

    /// Publishes changes on `topic` from now on.
    pub fn publish_on(&mut self, topic: Arc<Topic<Change>>) {
        self.changes = Some(topic);
    }

    /// Registers a part that is not supervised and only shows counters, after those registered before.
    ///
    /// # Errors
    /// `Duplicate` if the name is taken; `OutOfMemory`. The registry is then as before.
    pub fn register(&mut self, name: &'static str, source: SharedSource) -> Result<()> {
        let profile = Profile {
            name,
            ..Profile::default()
        };
        self.add(profile, None, Some(source), Vec::new())
    }

    /// Registers a subsystem, after the parts registered before.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub fn register_subsystem(
        &mut self,
        profile: Profile,
        port: Arc<Port>,
        source: Option<SharedSource>,
        queues: Vec<Arc<dyn Queue>>,
    ) -> Result<()> {
        self.add(profile, Some(port), source, queues)
    }

    fn add(
        &mut self,
        profile: Profile,
        port: Option<Arc<Port>>,
        source: Option<SharedSource>,
        queues: Vec<Arc<dyn Queue>>,
    ) -> Result<()> {
        let name = profile.name;
        if self.find(name).is_some() {
            return Err(Error::new(Subsystem::Bus, Kind::Duplicate { name }));
        }
        self.rows.try_push(Row {
            profile,
            source,
            port,
            queues,
            status: arc_at_boot(Status::default()),
        })?;
        Ok(())
    }

    /// All parts, in the order of their registration.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The part of that name.
    pub fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.profile.name == name)
    }

    /// The parts that do that for others.
    pub fn with_capability<'a>(&'a self, capability: &'a str) -> impl Iterator<Item = &'a Row> {
        let has = move |row: &&Row| row.profile.capabilities.contains(&capability);
        self.rows.iter().filter(has)
    }

    /// The subsystems in the order in which they start: each after those it depends on.
    ///
    /// # Errors
    /// `MissingDependency` or `DependencyCycle`, naming the parts; `OutOfMemory`.
    pub fn start_order(&self) -> Result<Vec<&Row>> {
        let mut profiles = Vec::new();
        profiles.try_reserve_exact(self.rows.len())?;
        profiles.extend_reserved(self.rows.iter().map(|row| row.profile));
        let order = order::start_order(&profiles)?;
        let mut rows = Vec::new();
        rows.try_reserve_exact(order.len())?;
        let subsystems = order.into_iter().map(|at| &self.rows[at]);
        rows.extend_reserved(subsystems.filter(|row| row.port.is_some()));
        Ok(rows)
    }

    /// Notes that a subsystem is in another state now, and tells whoever watches, from the supervisor's `port`.
    ///
    /// # Errors
    /// `Missing` if there is no such part.
    pub fn set_state(&self, port: &Port, name: &'static str, state: State) -> Result<Published> {
        let what = "subsystem of that name";
        let missing = Error::new(Subsystem::Bus, Kind::Missing { what });
        self.find(name).ok_or(missing)?.status.set_state(state);
        let change = Change { name, state };
        let tell = |topic: &Arc<Topic<Change>>| topic.publish_now(port, change);
        Ok(self.changes.as_ref().map(tell).unwrap_or_default())
    }

    /// Notes a death; as [`Registry::set_state`] with [`State::Dead`].
    ///
    /// # Errors
    /// `Missing` if there is no such part.
    pub fn set_dead(
        &self,
        port: &Port,
        name: &'static str,
        cause: Cause,
        at: Instant,
    ) -> Result<Published> {
        if let Some(row) = self.find(name) {
            row.status.set_fault(Fault { cause, at });
        }
        self.set_state(port, name, State::Dead)
    }

    /// The metrics source of the part of that name.
    pub fn source(&self, name: &str) -> Option<&SharedSource> {
        self.find(name).and_then(|row| row.source.as_ref())
    }

    /// All metrics sources, in the order of their registration.
    pub fn sources(&self) -> impl Iterator<Item = &SharedSource> {
        self.rows.iter().filter_map(|row| row.source.as_ref())
    }

    /// The names of all parts, in the order of their registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().map(|row| row.profile.name)
    }
}
