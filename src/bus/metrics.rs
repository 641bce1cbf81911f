//! What a scrape shows of the bus and of the subsystems (METRICS.md, "bus and registry").

use super::registry::{Registry, Row, Status};
use super::tally::{Queue, Reason, Tally};
use crate::error::{Grow, Result};
use crate::metrics::{Encoder, Label, Source, Value, heading};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// All queues, by topic in the order in which topics came; queues of one topic are added up.
#[derive(Default)]
pub struct BusMetrics {
    queues: Vec<Arc<dyn Queue>>,
    /// For each topic the place of its first queue.
    topics: Vec<usize>,
}

impl BusMetrics {
    /// Shows nothing yet.
    pub const fn new() -> Self {
        Self {
            queues: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// Shows that queue as well. A topic counts its subscribers' mailboxes: do not add those, too.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn add(&mut self, queue: Arc<dyn Queue>) -> Result<()> {
        self.queues.try_reserve(1)?;
        self.topics.try_reserve(1)?;
        let name = queue.topic();
        if self.names().all(|(_, other)| other != name) {
            self.topics.push_reserved(self.queues.len());
        }
        self.queues.push_reserved(queue);
        Ok(())
    }

    fn names(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let name = |&first: &usize| (first, self.queues[first].topic());
        self.topics.iter().map(name)
    }

    fn tallies(&self) -> impl Iterator<Item = (&'static str, Tally)> {
        self.names().map(|(first, name)| {
            let mut sum = Tally::default();
            let queues = self.queues[first..].iter();
            for queue in queues.filter(|queue| queue.topic() == name) {
                sum.add(queue.tally());
            }
            (name, sum)
        })
    }
}

impl Source for BusMetrics {
    fn collect(&self, page: &mut Encoder<'_>) {
        let mut family = page.family(heading!(
            Counter,
            "nos_bus_messages_total",
            "Messages delivered, by topic."
        ));
        for (topic, tally) in self.tallies() {
            let labels = [("topic", Label::Word(topic))];
            family.sample(&labels, Value::Whole(tally.delivered));
        }
        let mut family = page.family(heading!(
            Counter,
            "nos_bus_dropped_total",
            "Messages lost, by topic and reason; their senders were told."
        ));
        for (topic, tally) in self.tallies() {
            for reason in Reason::ALL {
                let reason_label = Label::Word(reason.label());
                let labels = [("topic", Label::Word(topic)), ("reason", reason_label)];
                family.sample(&labels, Value::Whole(tally.dropped(reason)));
            }
        }
        let mut family = page.family(heading!(
            Gauge,
            "nos_bus_queue_depth",
            "Messages waiting, by topic."
        ));
        for (topic, tally) in self.tallies() {
            let labels = [("topic", Label::Word(topic))];
            family.sample(&labels, Value::Whole(tally.depth));
        }
    }
}

/// The subsystems of a registry.
pub struct SubsystemMetrics(Vec<(&'static str, Arc<Status>)>);

impl SubsystemMetrics {
    /// Shows the subsystems that are registered by now.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn of(registry: &Registry) -> Result<Self> {
        let mut rows = Vec::new();
        rows.try_reserve_exact(registry.rows().len())?;
        let subsystems = registry.rows().iter().filter(|row| row.port().is_some());
        rows.extend_reserved(
            subsystems.map(|row: &Row| (row.profile().name, row.status().clone())),
        );
        Ok(Self(rows))
    }
}

impl Source for SubsystemMetrics {
    fn collect(&self, page: &mut Encoder<'_>) {
        let mut family = page.family(heading!(
            Gauge,
            "nos_subsystem_up",
            "1 when its last health check passed."
        ));
        for (name, status) in &self.0 {
            let labels = [("subsystem", Label::Word(name))];
            family.sample(&labels, Value::Whole(status.is_up().into()));
        }
        let mut family = page.family(heading!(
            Counter,
            "nos_subsystem_restarts_total",
            "Restarts, by what the health check then said."
        ));
        for (name, status) in &self.0 {
            let (recovered, failed) = status.restarts();
            for (outcome, count) in [("recovered", recovered), ("failed", failed)] {
                let outcome = Label::Word(outcome);
                let labels = [("subsystem", Label::Word(name)), ("outcome", outcome)];
                family.sample(&labels, Value::Whole(count));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bus::registry::State;
    use crate::bus::testing::Bench;
    use crate::bus::{Policy, Profile};
    use crate::metrics::Format;
    use std::string::String;

    fn page(source: &dyn Source) -> String {
        let mut page = Vec::new();
        let mut encoder = Encoder::new(&mut page, Format::Text);
        source.collect(&mut encoder);
        encoder.finish().expect("memory");
        let page = String::from_utf8(page).expect("text");
        page.lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            })
    }

    #[test]
    fn queues_are_shown_by_topic_with_every_reason() {
        let bench = Bench::new();
        let (sender, _) = bench.port("sender");
        let (reader, _) = bench.port("http");
        let mut metrics = BusMetrics::new();
        let mailboxes = [2, 2].map(|capacity| bench.mailbox(&reader, capacity, Policy::Refuse));
        for mailbox in &mailboxes {
            metrics.add(mailbox.clone()).expect("memory");
        }
        let refused = (0..4).filter(|&body| !mailboxes[0].send(&sender, body).is_queued());
        assert_eq!(refused.count(), 2);
        assert!(mailboxes[1].send(&sender, 5).is_queued());
        assert!(mailboxes[1].try_receive().is_some());
        assert_eq!(
            page(&metrics),
            "nos_bus_messages_total{topic=\"http\"} 1\n\
             nos_bus_dropped_total{topic=\"http\",reason=\"full\"} 2\n\
             nos_bus_dropped_total{topic=\"http\",reason=\"expired\"} 0\n\
             nos_bus_dropped_total{topic=\"http\",reason=\"no_reader\"} 0\n\
             nos_bus_queue_depth{topic=\"http\"} 2\n"
        );
    }

    #[test]
    fn subsystems_are_shown_by_health_and_restarts() {
        let bench = Bench::new();
        let (supervisor, _) = bench.port("supervisor");
        let (port, _) = bench.port("data");
        let mut registry = Registry::new();
        let profile = Profile {
            name: "data",
            ..Profile::default()
        };
        registry
            .register_subsystem(profile, port, None, Vec::new())
            .expect("a new name");
        let told = registry.set_state(&supervisor, "data", State::Running);
        assert_eq!(told.expect("there").queued, 0);
        let status = registry.find("data").expect("there").status();
        status.set_healthy(true);
        status.count_restart(true);
        let metrics = SubsystemMetrics::of(&registry).expect("memory");
        assert_eq!(
            page(&metrics),
            "nos_subsystem_up{subsystem=\"data\"} 1\n\
             nos_subsystem_restarts_total{subsystem=\"data\",outcome=\"recovered\"} 1\n\
             nos_subsystem_restarts_total{subsystem=\"data\",outcome=\"failed\"} 0\n"
        );
    }
}
