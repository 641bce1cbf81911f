//! The incidents' families of METRICS.md.
//!
//! A cause, or an action with its outcome, is a series from the first time that it occurs, and `unknown`, like the first
//! action, from the first scrape on: there are ninety that most machines never see.

use super::Shared;
use crate::diagnosis::remediation_recommendations::{Action, Outcome};
use crate::metrics::{Encoder, Label, Value, heading};

/// The only resource whose end is forecast.
const MEMORY: [(&str, Label); 1] = [("resource", Label::Word("memory"))];

/// Writes all families.
pub fn write_metrics(incidents: &impl Shared, page: &mut Encoder<'_>) {
    // A copy: a page grows as it is written, and that may take long.
    let (tally, is_open, exhaustion) = incidents.with(|incidents| {
        (
            incidents.tally.clone(),
            incidents.is_open(),
            incidents.exhaustion,
        )
    });
    let mut family = page.family(heading!(
        Counter,
        "nos_diagnosis_incidents_total",
        "Incidents that are over, by the cause ranked first."
    ));
    for (cause, count) in tally.seen() {
        family.sample(&[("cause", Label::Word(cause))], Value::Whole(count));
    }
    page.gauge(
        heading!(
            Gauge,
            "nos_diagnosis_incidents_open",
            "Incidents that are open now."
        ),
        Value::Whole(is_open.into()),
    );
    page.histogram(
        heading!(
            Histogram,
            "nos_diagnosis_detection_seconds",
            "From when an incident began to when it was opened."
        ),
        &tally.detection,
    );
    page.histogram(
        heading!(
            Histogram,
            "nos_diagnosis_recovery_seconds",
            "From when an incident was opened to when all was well."
        ),
        &tally.recovery,
    );
    let mut family = page.family(heading!(
        Counter,
        "nos_diagnosis_recoveries_total",
        "Remedies applied, by action and outcome."
    ));
    for (action, outcome, count) in tally.attempts() {
        if count > 0 || (action, outcome) == (Action::RestartSubsystem, Outcome::Recovered) {
            let labels = [
                ("action", Label::Word(action.name())),
                ("outcome", Label::Word(outcome.name())),
            ];
            family.sample(&labels, Value::Whole(count));
        }
    }
    let mut family = page.family(heading!(
        Gauge,
        "nos_diagnosis_exhaustion_seconds",
        "Forecast time left, +Inf for no trend."
    ));
    let left = exhaustion.map_or(Value::Forever, |left| Value::Nanos(left.as_nanos()));
    family.sample(&MEMORY, left);
}
