//! The causal graph: causes, and the symptoms that they bring about. It is data, one row a cause (`causes`).
//!
//! A link says how likely a cause shows a symptom, where, and how long after it began. A cause of [`Place::Part`] is a
//! hypothesis for each part; what it does to those that depend on the part follows the dependencies that the registry
//! knows, so the table names no part.

use super::symptoms::{Place, SymptomKind};
use crate::diagnosis::remediation_recommendations::RemedyKind;
use crate::platform::time::Duration;

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
pub enum Delay {
    /// With the fault itself: what traps, fails or is refused.
    AtOnce,
    /// When the next sample or check comes by.
    Soon,
    /// When enough of it has piled up to be seen.
    Later,
    /// When a trend has become one.
    Slowly,
}

impl Delay {
    /// At the earliest.
    pub const fn earliest(self) -> Duration {
        Duration::from_millis(match self {
            Self::AtOnce | Self::Soon => 0,
            Self::Later => 200,
            Self::Slowly => 2_000,
        })
    }

    /// At the latest, nearly always.
    pub const fn latest(self) -> Duration {
        Duration::from_millis(match self {
            Self::AtOnce => 500,
            Self::Soon => 5_000,
            Self::Later => 30_000,
            Self::Slowly => 600_000,
        })
    }

    /// What part of the time in which it may show has gone by `nanos` after the cause began.
    pub(super) fn gone_by(self, nanos: u64) -> f64 {
        let earliest = self.earliest().as_nanos();
        let span = self.latest().as_nanos() - earliest;
        (nanos.saturating_sub(earliest) as f64 / span as f64).min(1.0)
    }
}

/// A cause's effect; small, for there are many.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What shows,
    pub symptom: SymptomKind,
    /// where,
    pub scope: Scope,
    /// when,
    pub delay: Delay,
    /// and how likely, in hundredths.
    percent: u8,
}

impl Link {
    /// How likely it shows.
    pub fn likelihood(&self) -> f64 {
        f64::from(self.percent) / 100.0
    }
}

/// Shorthand of the tables: on what is at fault.
pub(super) const fn here(symptom: SymptomKind, likelihood: f64, delay: Delay) -> Link {
    assert!(
        likelihood >= 0.01 && likelihood <= 0.99,
        "nothing is certain"
    );
    Link {
        symptom,
        scope: Scope::Here,
        delay,
        percent: (likelihood * 100.0 + 0.5) as u8,
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
/// What hardware does to the few hundred kilobytes that are code: it has all other memory to hit.
pub(super) const RARELY: f64 = 0.002;
