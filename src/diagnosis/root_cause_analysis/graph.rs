//! The causal graph: causes, and the symptoms that they bring about. It is data, one row a cause (`causes`).
//!
//! A link says how likely a cause shows a symptom, where, and how long after it began. A cause of [`Place::Part`] is a
//! hypothesis for each part; what it does to those that depend on the part follows the dependencies that the registry
//! knows, so the table names no part.

use super::symptoms::{Place, SymptomKind};
use crate::diagnosis::remediation_recommendations::RemedyKind;
use crate::platform::time::{Duration, NANOS_PER_MILLI};

/// Where a cause shows a symptom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On what is at fault: the part of the cause, or the image.
    Here,
    /// On each part that depends on the one at fault, directly or not.
    Dependents,
    /// On any part: the cause is the image's, and which part it hits is chance.
    AnyPart,
}

/// How long after a cause began its symptom shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At the earliest.
    pub earliest: Duration,
    /// At the latest, nearly always.
    pub latest: Duration,
}

impl Delay {
    const fn millis(earliest: u64, latest: u64) -> Self {
        Self {
            earliest: Duration::from_millis(earliest),
            latest: Duration::from_millis(latest),
        }
    }

    /// With the fault itself: what traps, fails or is refused.
    pub const AT_ONCE: Self = Self::millis(0, 500);
    /// When the next sample or check comes by.
    pub const SOON: Self = Self::millis(0, 5_000);
    /// When enough of it has piled up to be seen.
    pub const LATER: Self = Self::millis(200, 30_000);
    /// When a trend has become one.
    pub const SLOWLY: Self = Self::millis(2_000, 600_000);

    /// What part of the time in which it may show has gone by `nanos` after the cause began.
    pub(super) fn gone_by(&self, nanos: u64) -> f64 {
        let (earliest, latest) = (self.earliest.as_nanos(), self.latest.as_nanos());
        let span = (latest - earliest).max(NANOS_PER_MILLI);
        (nanos.saturating_sub(earliest) as f64 / span as f64).min(1.0)
    }
}

/// A cause's effect.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What shows,
    pub symptom: SymptomKind,
    /// where,
    pub scope: Scope,
    /// how likely,
    pub likelihood: f64,
    /// and when.
    pub delay: Delay,
}

/// Shorthand of the tables: on what is at fault.
pub(super) const fn here(symptom: SymptomKind, likelihood: f64, delay: Delay) -> Link {
    let scope = Scope::Here;
    Link {
        symptom,
        scope,
        likelihood,
        delay,
    }
}

/// Shorthand of the tables: on each part that depends on it.
pub(super) const fn dependents(symptom: SymptomKind, likelihood: f64, delay: Delay) -> Link {
    Link {
        scope: Scope::Dependents,
        ..here(symptom, likelihood, delay)
    }
}

/// Shorthand of the tables: on some part.
pub(super) const fn any_part(symptom: SymptomKind, likelihood: f64, delay: Delay) -> Link {
    Link {
        scope: Scope::AnyPart,
        ..here(symptom, likelihood, delay)
    }
}

/// A row of the table of causes.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Its name in reports, and the label of its incidents in metrics.
    pub name: &'static str,
    /// What is wrong.
    pub about: &'static str,
    /// What it is wrong with.
    pub place: Place,
    /// How likely it is the reason for an incident before anything is known of it, in proportion to the others'.
    pub prior: f64,
    /// What it shows.
    pub links: &'static [Link],
    /// What may be done, the mildest first.
    pub remedies: &'static [RemedyKind],
}

/// How often a cause of its kind is met, as a [`Cause::prior`]: what load and configuration do every day,
pub(super) const OFTEN: f64 = 0.05;
/// what software and devices do now and then,
pub(super) const AT_TIMES: f64 = 0.02;
/// and what hardware does once in a machine's life.
pub(super) const SELDOM: f64 = 0.01;
