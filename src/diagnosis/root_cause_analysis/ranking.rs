//! The result of a diagnosis: what is wrong, if anything, the likeliest causes, and what speaks for and against each.

use super::graph::Cause;
use super::incident::{Incident, PartId};
use super::inference::{Hypothesis, Timing, Workspace, absences, is_shown_by, unseen};
use super::symptoms::SymptomKind;
use crate::diagnosis::symptom::Ratio;
use crate::platform::time::Instant;
use heapless::Vec;

/// Causes that a diagnosis lists.
pub(super) const RANKED_MAX: usize = 5;
/// Findings that are listed for one of them.
pub(super) const FINDINGS_MAX: usize = 12;
/// Causes less likely than this are not listed.
const LISTED_MIN: f64 = 0.001;
/// A cause that is this likely on each of two parts is listed for both.
const BY_ITSELF: f64 = 0.5;
/// What has not been seen is a finding if that makes a cause less likely by this factor at least.
const ABSENT_COUNTS: f64 = 0.9;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, most likely.
    Healthy,
    /// Something that the table of causes does not know, most likely.
    Unknown,
    /// The first of the causes, most likely.
    Known,
}

/// How a symptom speaks for or against a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearing {
    /// For it: it was seen when it should be.
    Seen,
    /// Against it: it was seen before the cause can have shown it.
    SeenTooEarly,
    /// Hardly for it: it was seen long after the cause should have shown it.
    SeenTooLate,
    /// Against it: it should have been seen by now.
    NotSeen,
}

impl Bearing {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::SeenTooEarly => "seen_too_early",
            Self::SeenTooLate => "seen_too_late",
            Self::NotSeen => "not_seen",
        }
    }
}

/// A piece of evidence for or against a cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Which symptom,
    pub symptom: SymptomKind,
    /// on which part, if it is one of a part,
    pub part: Option<PartId>,
    /// and what it says.
    pub bearing: Bearing,
    /// How likely the cause shows it; of what was not seen, how likely it had shown it by now.
    pub likelihood: Ratio,
}

/// A cause that may be the one.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// Which.
    pub cause: &'static Cause,
    /// The part at fault, if it is a cause of parts.
    pub part: Option<PartId>,
    /// How likely it holds, alone or with another one.
    pub posterior: Ratio,
    /// When it began, if it holds; as far as the symptoms' times say.
    pub began: Instant,
    /// What speaks for it and against it.
    pub findings: Vec<Finding, FINDINGS_MAX>,
}

/// What an incident comes from.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// What is wrong.
    pub verdict: Verdict,
    /// How likely nothing is.
    pub healthy: Ratio,
    /// How likely it is something that the table does not know.
    pub unknown: Ratio,
    /// The causes, the likeliest first.
    pub causes: Vec<Ranked, RANKED_MAX>,
}

impl Diagnosis {
    /// The diagnosis of an incident. It follows from that alone; what the workspace held before does not matter.
    pub fn of(incident: &Incident, workspace: &mut Workspace) -> Self {
        workspace.weigh(incident);
        let (healthy, unknown) = (workspace.healthy, workspace.unknown);
        let likeliest = listed(workspace).map(|hypothesis| ranked(hypothesis, incident));
        let causes: Vec<_, RANKED_MAX> = Vec::from_iter(likeliest);
        let best = workspace.hypotheses.first();
        let best = best.map_or(0.0, |best| best.posterior);
        let verdict = if best > healthy && best > unknown {
            Verdict::Known
        } else if unknown > healthy {
            Verdict::Unknown
        } else {
            Verdict::Healthy
        };
        Self {
            verdict,
            healthy: ratio(healthy),
            unknown: ratio(unknown),
            causes,
        }
    }

    /// The label of its incident in metrics: the cause ranked first, or that there is none.
    pub fn name(&self) -> &'static str {
        match (self.verdict, self.causes.first()) {
            (Verdict::Healthy, _) => "healthy",
            (Verdict::Known, Some(first)) => first.cause.name,
            (Verdict::Unknown | Verdict::Known, _) => "unknown",
        }
    }
}

/// The hypotheses to list, each cause with its likeliest part: those that it has beside are added to that, but for one
/// that is likely by itself.
fn listed(workspace: &mut Workspace) -> impl Iterator<Item = &Hypothesis> {
    let hypotheses = &mut workspace.hypotheses;
    for at in 1..hypotheses.len() {
        let (before, rest) = hypotheses.split_at_mut(at);
        let Some(own) = rest.first_mut() else {
            continue;
        };
        let mut same = before
            .iter_mut()
            .filter(|known| known.cause.name == own.cause.name);
        if let Some(known) = same.next()
            && own.posterior < BY_ITSELF
        {
            known.posterior = f64::min(known.posterior + own.posterior, 1.0);
            own.posterior = 0.0;
        }
    }
    workspace.sort();
    let is_likely = |hypothesis: &&Hypothesis| hypothesis.posterior >= LISTED_MIN;
    workspace
        .hypotheses
        .iter()
        .take_while(is_likely)
        .take(RANKED_MAX)
}

fn ratio(likely: f64) -> Ratio {
    Ratio::of((likely * 1e6) as u64, 1_000_000)
}

fn ranked(hypothesis: &Hypothesis, incident: &Incident) -> Ranked {
    let &Hypothesis {
        cause,
        part,
        began,
        posterior,
        ..
    } = hypothesis;
    let mut findings = Vec::new();
    let mut find = |symptom, part, bearing, likely| {
        // Those beyond the last that fits are left out: what was seen comes first.
        let _ = findings.push(Finding {
            symptom,
            part,
            bearing,
            likelihood: ratio(likely),
        });
    };
    for link in cause.links {
        for sighting in incident
            .sightings()
            .iter()
            .filter(|seen| is_shown_by(link, part, seen, incident))
        {
            let bearing = match Timing::of(link, began, sighting.at) {
                Timing::InTime => Bearing::Seen,
                Timing::TooEarly => Bearing::SeenTooEarly,
                Timing::TooLate => Bearing::SeenTooLate,
            };
            find(link.symptom, sighting.part, bearing, link.likelihood());
        }
    }
    for link in cause.links {
        let unseen = unseen(link, began, incident);
        for place in absences(link, part, incident).filter(|_| unseen < ABSENT_COUNTS) {
            find(link.symptom, place, Bearing::NotSeen, 1.0 - unseen);
        }
    }
    Ranked {
        cause,
        part,
        posterior: ratio(posterior),
        began,
        findings,
    }
}
