//! Inference: which causes, alone or two at once, make what was seen and not seen likely.
//!
//! A hypothesis is a cause, on a part if it is one of parts. Symptoms are noisy-ORs of the hypotheses that hold, with a
//! leak for what shows without a cause. Computed exactly are the likelihoods of: nothing wrong; each hypothesis; each
//! two of them; something that the table does not know, alone or with one of them. What one hypothesis explains thereby
//! counts less for another (explaining away); what it should have shown by now and has not counts against it.
//!
//! When a hypothesis began is not known, so it is given the time that suits it best, on its own. A symptom that was
//! seen before its cause can have shown it, or long after, then hardly counts for it.
//!
//! Always true: it takes no memory but the [`Workspace`]'s, and the same incident gives the same result, bit for bit.

use super::causes::causes;
use super::graph::{Cause, Link, Scope};
use super::incident::{Incident, PartId, SIGHTINGS_MAX, Sighting};
use super::symptoms::Place;
use crate::platform::time::{Duration, Instant};
use heapless::Vec;

/// How likely nothing is wrong though a symptom was raised, in the unit of [`Cause::prior`]: detectors are made to be
/// mistaken once a day at most,
const PRIOR_HEALTHY: f64 = 0.2;
/// how likely something is wrong that the table does not know,
const PRIOR_UNKNOWN: f64 = 0.01;
/// and how likely it shows any one symptom: a few of all that there are.
const UNKNOWN_SHOWS: f32 = 0.02;
/// What a symptom's likelihood is multiplied by if it was seen before its cause can have shown it,
const TOO_EARLY: f64 = 0.05;
/// and if long after.
const TOO_LATE: f64 = 0.3;
/// How inexactly times are seen: detectors look in intervals.
const INEXACT: Duration = Duration::from_millis(200);
/// Hypotheses that are kept, by how well they do alone; as many as cannot all be close.
const HYPOTHESES_MAX: usize = 48;

/// A cause that may be the one.
#[derive(Clone, Debug)]
pub(super) struct Hypothesis {
    pub(super) cause: &'static Cause,
    pub(super) part: Option<PartId>,
    /// When it began, if it is the one.
    pub(super) began: Instant,
    /// Its prior, times how likely all that has not been seen stays unseen.
    weight: f64,
    /// How likely it shows each symptom that was seen; half as long as what is computed with, for there are many.
    shows: [f32; SIGHTINGS_MAX],
    /// How likely it holds, of all that may.
    pub(super) posterior: f64,
}

/// What inference works in: some kilobytes, so that diagnosing needs no memory when there is none.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    pub(super) hypotheses: Vec<Hypothesis, HYPOTHESES_MAX>,
    /// How likely nothing is wrong.
    pub(super) healthy: f64,
    /// How likely all that is wrong is unknown.
    pub(super) unknown: f64,
}

impl Workspace {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            hypotheses: Vec::new(),
            healthy: 1.0,
            unknown: 0.0,
        }
    }

    /// Weighs all hypotheses by an incident; the likeliest come first.
    pub(super) fn weigh(&mut self, incident: &Incident) {
        self.hypotheses.clear();
        (self.healthy, self.unknown) = (1.0, 0.0);
        if incident.sightings().is_empty() {
            return;
        }
        for cause in causes() {
            match cause.place {
                Place::Image => self.suppose(cause, None, incident),
                Place::Part => {
                    let parts = 0..incident.parts().len();
                    parts.for_each(|part| self.suppose(cause, Some(PartId(part as u8)), incident));
                }
            }
        }
        self.enumerate(incident);
    }

    /// Takes up a hypothesis if it explains anything; of too many, the one that does worst alone is given up.
    fn suppose(&mut self, cause: &'static Cause, part: Option<PartId>, incident: &Incident) {
        let Some(mut hypothesis) = Hypothesis::best(cause, part, incident) else {
            return;
        };
        hypothesis.posterior = alone(&hypothesis, incident);
        if self.hypotheses.is_full() {
            let worst = |one: &&mut Hypothesis, other: &&mut Hypothesis| {
                one.posterior.total_cmp(&other.posterior)
            };
            if let Some(worst) = self.hypotheses.iter_mut().min_by(worst)
                && worst.posterior < hypothesis.posterior
            {
                *worst = hypothesis;
            }
        } else {
            // There is room.
            let _ = self.hypotheses.push(hypothesis);
        }
    }

    /// Adds up the weights of all that may be: nothing, unknown, one, two.
    fn enumerate(&mut self, incident: &Incident) {
        let unknown = [UNKNOWN_SHOWS; SIGHTINGS_MAX];
        self.healthy = PRIOR_HEALTHY;
        self.unknown = PRIOR_UNKNOWN * likelihood(incident, &[&unknown]);
        let mut total = self.healthy + self.unknown;
        for at in 0..self.hypotheses.len() {
            let (before, rest) = self.hypotheses.split_at_mut(at);
            let Some(own) = rest.first_mut() else {
                continue;
            };
            let single = own.weight * likelihood(incident, &[&own.shows]);
            let beside_unknown =
                own.weight * PRIOR_UNKNOWN * likelihood(incident, &[&own.shows, &unknown]);
            own.posterior = single + beside_unknown;
            total += own.posterior;
            for other in before {
                let both =
                    own.weight * other.weight * likelihood(incident, &[&own.shows, &other.shows]);
                own.posterior += both;
                other.posterior += both;
                total += both;
            }
        }
        self.healthy /= total;
        self.unknown /= total;
        for hypothesis in &mut self.hypotheses {
            hypothesis.posterior /= total;
        }
        self.sort();
    }

    /// Puts the likeliest first; of equals, the one that comes first by name and part.
    pub(super) fn sort(&mut self) {
        // By selection: they are few and large, and a general sort would be larger than all of inference.
        for place in 0..self.hypotheses.len() {
            let rest = self.hypotheses.iter().enumerate().skip(place);
            let first = rest.min_by(|(_, one), (_, other)| {
                let by_posterior = other.posterior.total_cmp(&one.posterior);
                by_posterior
                    .then_with(|| (one.cause.name, one.part).cmp(&(other.cause.name, other.part)))
            });
            if let Some((first, _)) = first {
                self.hypotheses.swap(place, first);
            }
        }
    }
}

/// The weight of a hypothesis if it is the only one.
fn alone(hypothesis: &Hypothesis, incident: &Incident) -> f64 {
    hypothesis.weight * likelihood(incident, &[&hypothesis.shows])
}

/// How much likelier these are to show what was seen than nothing is.
fn likelihood(incident: &Incident, all: &[&[f32; SIGHTINGS_MAX]]) -> f64 {
    let mut likelihood = 1.0;
    for (at, sighting) in incident.sightings().iter().enumerate() {
        let leak = sighting.symptom.row().leak;
        let unshown = all.iter().fold(1.0 - leak, |unshown, shows| {
            unshown * (1.0 - f64::from(shows[at]))
        });
        likelihood *= (1.0 - unshown) / leak;
    }
    likelihood
}

/// How a symptom's time fits a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    InTime,
    TooEarly,
    TooLate,
}

impl Timing {
    pub(super) fn of(link: &Link, began: Instant, at: Instant) -> Self {
        if at + INEXACT < began + link.delay.earliest() {
            Self::TooEarly
        } else if at > began + link.delay.latest() + INEXACT {
            Self::TooLate
        } else {
            Self::InTime
        }
    }

    const fn factor(self) -> f64 {
        match self {
            Self::InTime => 1.0,
            Self::TooEarly => TOO_EARLY,
            Self::TooLate => TOO_LATE,
        }
    }
}

impl Hypothesis {
    /// The hypothesis with the beginning that suits it best; nothing if it explains nothing that was seen.
    fn best(cause: &'static Cause, part: Option<PartId>, incident: &Incident) -> Option<Self> {
        let mut best: Option<(f64, Self)> = None;
        for link in cause.links {
            for sighting in incident.sightings() {
                if !is_shown_by(link, part, sighting, incident) {
                    continue;
                }
                for delay in [link.delay.earliest(), link.delay.latest()] {
                    let hypothesis = Self::begun(cause, part, sighting.at - delay, incident);
                    let weight = alone(&hypothesis, incident);
                    if best.as_ref().is_none_or(|(known, _)| weight > *known) {
                        best = Some((weight, hypothesis));
                    }
                }
            }
        }
        best.map(|(_, hypothesis)| hypothesis)
    }

    /// The hypothesis, begun then.
    fn begun(
        cause: &'static Cause,
        part: Option<PartId>,
        began: Instant,
        incident: &Incident,
    ) -> Self {
        // Each part is as likely the one as the others.
        let places = part.map_or(1, |_| incident.parts().len());
        let mut hypothesis = Self {
            cause,
            part,
            began,
            weight: cause.prior / places as f64,
            shows: [0.0; SIGHTINGS_MAX],
            posterior: 0.0,
        };
        for link in cause.links {
            for (sighting, shown) in incident.sightings().iter().zip(&mut hypothesis.shows) {
                if is_shown_by(link, part, sighting, incident) {
                    let likely = link.likelihood() * Timing::of(link, began, sighting.at).factor();
                    *shown = 1.0 - (1.0 - *shown) * (1.0 - likely as f32);
                }
            }
            let count = absences(link, part, incident).count();
            hypothesis.weight *=
                (0..count).fold(1.0, |weight, _| weight * unseen(link, began, incident));
        }
        hypothesis
    }
}

/// Whether a link may have shown that.
pub(super) fn is_shown_by(
    link: &Link,
    part: Option<PartId>,
    sighting: &Sighting,
    incident: &Incident,
) -> bool {
    link.symptom == sighting.symptom
        && match (link.scope, part, sighting.part) {
            // What is the image's has no part to compare.
            (Scope::Here, _, None) | (Scope::AnyPart, _, Some(_)) => true,
            (Scope::Here, own, seen) => own == seen,
            (Scope::Dependents, Some(own), Some(seen)) => incident.depends_on(seen, own),
            (Scope::Dependents | Scope::AnyPart, _, _) => false,
        }
}

/// How likely what a link would show has not been seen by the end of the incident.
pub(super) fn unseen(link: &Link, began: Instant, incident: &Incident) -> f64 {
    let gone_by = link.delay.gone_by(incident.until.since(began).as_nanos());
    1.0 - link.likelihood() * gone_by
}

/// Where a link would show its symptom and it has not been seen, though something watches for it: on a part, or on the
/// image.
pub(super) fn absences<'a>(
    link: &'a Link,
    part: Option<PartId>,
    incident: &'a Incident,
) -> impl Iterator<Item = Option<PartId>> + 'a {
    let is_seen = move |place: Option<PartId>| {
        let mut all = incident.sightings().iter();
        all.any(|sighting| {
            sighting.symptom == link.symptom && (place.is_none() || sighting.part == place)
        })
    };
    let place = match link.symptom.row().place {
        Place::Image => None,
        Place::Part => part,
    };
    let here = (link.scope != Scope::Dependents).then_some(place);
    let parts = (0..incident.parts().len()).map(|part| PartId(part as u8));
    let dependents = parts.filter(move |&other| {
        link.scope == Scope::Dependents && part.is_some_and(|part| incident.depends_on(other, part))
    });
    here.into_iter()
        .chain(dependents.map(Some))
        .filter(move |&place| incident.watched.has(link.symptom) && !is_seen(place))
}
