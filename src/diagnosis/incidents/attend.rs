//! What is done about the open incident: it is diagnosed, the remedy that is recommended or that the operator ordered is
//! applied, and it is closed when it is over.

use super::{Case, Shared};
use crate::diagnosis::remediation_recommendations::{
    Actuator, Advice, Facts, Outcome, Reason, Recommendation, RemedyKind,
};
use crate::diagnosis::root_cause_analysis::{PartId, Workspace};
use crate::error::{Error, HttpFault, Kind, Result, Subsystem};
use crate::platform::time::Instant;

/// Looks after the open incident, if there is one: after each symptom, and when [`super::Incidents::due`] says.
///
/// Diagnosing takes some ten thousand instructions and more, on a copy: meanwhile others may tell what they see.
pub fn attend(incidents: &impl Shared, actuator: &mut impl Actuator, now: Instant) {
    let (case, told) = incidents.with(|incidents| {
        incidents.give_up_late(now);
        let told = core::mem::replace(&mut incidents.told, incidents.opened_total);
        (incidents.open_case(now), told)
    });
    let Some(case) = case else {
        return;
    };
    let number = case.incident.number;
    let diagnosis = case.diagnose(&mut Workspace::new());
    if told < number {
        log::warn!("incident {number} opened: {}", diagnosis.name());
    }
    if case.is_over {
        if incidents.with(|incidents| incidents.close(number, &diagnosis, now)) {
            log::info!("incident {number} closed: {}", diagnosis.name());
        }
        return;
    }
    let recommended = case.recommend(&diagnosis, &|part| actuator.facts(part), now);
    let is_asked = |known: &&Recommendation| match case.ordered {
        Some((remedy, part)) => (known.remedy, known.part) == (remedy, part),
        None => known.advice == Advice::Apply,
    };
    if let Some(&known) = recommended.iter().find(is_asked) {
        perform(incidents, number, known, actuator, now);
    }
}

fn perform(
    incidents: &impl Shared,
    number: u64,
    known: Recommendation,
    actuator: &mut impl Actuator,
    now: Instant,
) {
    let Recommendation {
        remedy,
        part,
        cause,
        ..
    } = known;
    let name = remedy.row().name;
    log::warn!("incident {number}: {name} against {cause}");
    incidents.with(|incidents| {
        incidents.ordered = None;
        incidents.begin(remedy, part, now);
    });
    if let Err(error) = actuator.perform(remedy, part) {
        log::error!("incident {number}: {name} could not be done: {error}");
        incidents.with(|incidents| {
            incidents.settle(Outcome::Skipped, now, |attempt| {
                (attempt.remedy, attempt.part, attempt.at) == (remedy, part, now)
            });
        });
    }
}

/// What an order came to: what will be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Which remedy,
    pub remedy: RemedyKind,
    /// on which part,
    pub part: Option<PartId>,
    /// against which cause.
    pub cause: &'static str,
}

/// Orders what the operator asks for: the first remedy against the likeliest cause that doubt or the level alone kept
/// from being applied, or the one of that name that is advised. [`attend`] applies it.
///
/// # Errors
/// `NotFound` if no such incident is known; `Conflict` if it is over, or such a remedy may not be applied now.
pub fn order(
    incidents: &impl Shared,
    number: u64,
    remedy: Option<&str>,
    facts: &dyn Fn(Option<PartId>) -> Facts,
    now: Instant,
) -> Result<Ordered> {
    let refused = |fault| Error::new(Subsystem::Diagnosis, Kind::Http(fault));
    let case = incidents.with(|incidents| incidents.case(number, now));
    let case: Case = case.ok_or(refused(HttpFault::NotFound))?;
    if !case.is_open() {
        return Err(refused(HttpFault::Conflict("the incident is over")));
    }
    let diagnosis = case.diagnose(&mut Workspace::new());
    let recommended = case.recommend(&diagnosis, facts, now);
    let likeliest = diagnosis.causes.first().map(|ranked| ranked.cause.name);
    let may_be = |known: &&Recommendation| match (known.advice, remedy) {
        (Advice::Refuse(_) | Advice::Advise(Reason::Operator), _) => false,
        (_, Some(name)) => known.remedy.row().name == name,
        // What a cause asks for that is less likely is applied by its name alone.
        (
            Advice::Apply | Advice::Advise(Reason::Level | Reason::Doubtful | Reason::AllIsWell),
            None,
        ) => Some(known.cause) == likeliest,
        (Advice::Advise(_), None) => false,
    };
    let none = refused(HttpFault::Conflict(
        "no such remedy may be applied to it now",
    ));
    let &Recommendation {
        remedy,
        part,
        cause,
        ..
    } = recommended.iter().find(may_be).ok_or(none)?;
    incidents.with(|incidents| incidents.ordered = Some((remedy, part)));
    Ok(Ordered {
        remedy,
        part,
        cause,
    })
}
