//! The incidents' part of `GET /diagnosis`.
//!
//! ```json
//! {"level":"safe","opened_total":3,
//!  "open":{"id":3,"opened_seconds":80.5,"closed_seconds":null,"verdict":"known","healthy":0.01,"unknown":0.002,
//!    "symptoms":[{"symptom":"part_panicked","part":"http","first_seconds":80.5}],
//!    "causes":[{"cause":"task_panic","part":"http","posterior":0.93,"began_seconds":80.5,"about":"…",
//!      "evidence":[{"symptom":"part_panicked","part":"http","bearing":"seen","likelihood":0.97}]}],
//!    "recommendations":[{"remedy":"restart_part","action":"restart_subsystem","part":"http","cause":"task_panic",
//!      "posterior":0.93,"advice":"apply","reason":null,"about":"…","precondition":"…","cost":"…","risk":"low",
//!      "destroys":"…","verification":"…"}],
//!    "attempts":[{"remedy":"restart_part","action":"restart_subsystem","part":"http","at_seconds":80.6,
//!      "outcome":"recovered"}]},
//!  "past":[{"id":2,…}]}
//! ```
//!
//! Times are seconds since reset, as in the log. Names only get added.

use super::{Case, PAST_LEN, Shared};
use crate::diagnosis::remediation_recommendations::{Advice, Attempt, Facts, Recommendation};
use crate::diagnosis::report::write_ratio;
use crate::diagnosis::root_cause_analysis::{
    Incident, PartId, Ranked, Sighting, Verdict, Workspace,
};
use crate::metrics::{Json, Value};
use crate::platform::time::Instant;

/// Writes all incidents as one JSON object, the open one as it stands `now`, the past ones newest first.
pub fn report(
    incidents: &impl Shared,
    facts: &dyn Fn(Option<PartId>) -> Facts,
    now: Instant,
    json: &mut Json<'_>,
) {
    let (level, opened_total, open) = incidents.with(|incidents| {
        let open = incidents.open.as_ref().map(|open| open.number);
        (incidents.level, incidents.opened_total, open)
    });
    let case = |number| incidents.with(|incidents| incidents.case(number, now));
    let mut workspace = Workspace::new();
    json.object(|json| {
        json.member("level").text(level.name());
        json.member("opened_total")
            .number(Value::Whole(opened_total));
        json.member("open");
        match open.and_then(case) {
            Some(case) => write_case(&case, facts, now, &mut workspace, json),
            None => json.null(),
        }
        json.member("past").array(|json| {
            // One at a time: none is copied for longer than it is written.
            let oldest = opened_total.saturating_sub(PAST_LEN as u64);
            let numbers = (1 + oldest..=opened_total).rev();
            for number in numbers.filter(|&number| Some(number) != open) {
                if let Some(case) = case(number) {
                    write_case(&case, facts, now, &mut workspace, json);
                }
            }
        });
    });
}

/// Writes what is to be remembered of a past incident when it is forgotten, as members.
pub fn digest(incidents: &impl Shared, number: u64, now: Instant, json: &mut Json<'_>) {
    json.member("id").number(Value::Whole(number));
    let Some(case) = incidents.with(|incidents| incidents.case(number, now)) else {
        return;
    };
    let incident = &case.incident;
    let diagnosis = case.diagnose(&mut Workspace::new());
    let likeliest = diagnosis.causes.first();
    json.member("cause").text(diagnosis.name());
    write_part(incident, likeliest.and_then(|ranked| ranked.part), json);
    write_time("opened_seconds", Some(case.opened), json);
    write_time("closed_seconds", case.closed, json);
    json.member("symptoms").array(|json| {
        for sighting in incident.sightings() {
            json.text(sighting.symptom.row().name);
        }
    });
}

#[inline(never)]
fn write_case(
    case: &Case,
    facts: &dyn Fn(Option<PartId>) -> Facts,
    now: Instant,
    workspace: &mut Workspace,
    json: &mut Json<'_>,
) {
    let incident = &case.incident;
    let diagnosis = case.diagnose(workspace);
    json.object(|json| {
        json.member("id").number(Value::Whole(incident.number));
        write_time("opened_seconds", Some(case.opened), json);
        write_time("closed_seconds", case.closed, json);
        json.member("verdict").text(match diagnosis.verdict {
            Verdict::Healthy => "healthy",
            Verdict::Unknown => "unknown",
            Verdict::Known => "known",
        });
        write_ratio("healthy", diagnosis.healthy, json);
        write_ratio("unknown", diagnosis.unknown, json);
        json.member("symptoms").array(|json| {
            let each = |sighting| write_sighting(incident, sighting, json);
            incident.sightings().iter().for_each(each);
        });
        json.member("causes").array(|json| {
            diagnosis
                .causes
                .iter()
                .for_each(|ranked| write_cause(incident, ranked, json));
        });
        json.member("recommendations").array(|json| {
            case.recommend(&diagnosis, facts, now)
                .iter()
                .for_each(|known| write_recommendation(incident, known, json));
        });
        json.member("attempts").array(|json| {
            let own = case
                .history
                .iter()
                .filter(|attempt| attempt.incident == incident.number);
            own.for_each(|attempt| write_attempt(incident, attempt, json));
        });
    });
}

fn write_sighting(incident: &Incident, sighting: &Sighting, json: &mut Json<'_>) {
    json.object(|json| {
        json.member("symptom").text(sighting.symptom.row().name);
        write_part(incident, sighting.part, json);
        write_time("first_seconds", Some(sighting.at), json);
    });
}

fn write_cause(incident: &Incident, ranked: &Ranked, json: &mut Json<'_>) {
    json.object(|json| {
        json.member("cause").text(ranked.cause.name);
        write_part(incident, ranked.part, json);
        write_ratio("posterior", ranked.posterior, json);
        write_time("began_seconds", Some(ranked.began), json);
        json.member("about").text(ranked.cause.about);
        json.member("evidence").array(|json| {
            for finding in &ranked.findings {
                json.object(|json| {
                    json.member("symptom").text(finding.symptom.row().name);
                    write_part(incident, finding.part, json);
                    json.member("bearing").text(finding.bearing.name());
                    write_ratio("likelihood", finding.likelihood, json);
                });
            }
        });
    });
}

fn write_recommendation(incident: &Incident, known: &Recommendation, json: &mut Json<'_>) {
    let row = known.remedy.row();
    let (advice, reason) = match known.advice {
        Advice::Apply => ("apply", None),
        Advice::Advise(reason) => ("advise", Some(reason)),
        Advice::Refuse(reason) => ("refuse", Some(reason)),
    };
    json.object(|json| {
        json.member("remedy").text(row.name);
        json.member("action").text(row.action.name());
        write_part(incident, known.part, json);
        json.member("cause").text(known.cause);
        write_ratio("posterior", known.posterior, json);
        json.member("advice").text(advice);
        write_text("reason", reason.map(|reason| reason.text()), json);
        json.member("about").text(row.about);
        json.member("precondition").text(row.precondition.text());
        json.member("cost").text(row.cost.text());
        json.member("risk").text(row.risk.text());
        json.member("destroys").text(row.destroys.text());
        json.member("verification").text(row.verification.text());
    });
}

fn write_attempt(incident: &Incident, attempt: &Attempt, json: &mut Json<'_>) {
    let row = attempt.remedy.row();
    json.object(|json| {
        json.member("remedy").text(row.name);
        json.member("action").text(row.action.name());
        write_part(incident, attempt.part, json);
        write_time("at_seconds", Some(attempt.at), json);
        write_text(
            "outcome",
            attempt.outcome.map(|outcome| outcome.name()),
            json,
        );
    });
}

fn write_part(incident: &Incident, part: Option<PartId>, json: &mut Json<'_>) {
    write_text("part", part.map(|part| incident.part_name(part)), json);
}

fn write_text(name: &str, text: Option<&str>, json: &mut Json<'_>) {
    json.member(name);
    match text {
        Some(text) => json.text(text),
        None => json.null(),
    }
}

fn write_time(name: &str, time: Option<Instant>, json: &mut Json<'_>) {
    json.member(name);
    match time {
        Some(time) => json.number(Value::Nanos(time.as_nanos())),
        None => json.null(),
    }
}
