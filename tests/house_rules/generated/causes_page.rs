//! `docs/causes.md`: what the image can name, what speaks for it, and what it can do about it.

use nos::diagnosis::remediation_recommendations::{Level, Remedy, RemedyKind, Verification};
use nos::diagnosis::root_cause_analysis::{Cause, Link, Place, Scope, SymptomKind, causes};
use std::fmt::Write;

const HEAD: &str = "\
# Causes, symptoms, remedies

Made from the tables in `src/diagnosis/` by `make docs`; a cause, a symptom or a remedy more is a row there. How causes
are ranked: `src/diagnosis/root_cause_analysis/inference.rs`.

## Causes

What each shows, the likeliest first: how likely that is, within what time, and where. A symptom that should have shown
and has not counts against its cause, if something watches for it.
";

/// The page.
pub(super) fn page() -> String {
    let mut page = String::from(HEAD);
    let total: f64 = causes().map(|cause| cause.prior).sum();
    for cause in causes() {
        write_cause(cause, total, &mut page);
    }
    page.push_str("\n## Symptoms\n\nHow likely each shows within an incident for none of these causes is its leak.\n\n");
    page.push_str(
        "| symptom | what it is | seen on | of | leak |\n| --- | --- | --- | --- | --- |\n",
    );
    for kind in SymptomKind::ALL {
        let row = kind.row();
        let place = match row.place {
            Place::Image => "the image",
            Place::Part => "a part",
        };
        let line = format!(
            "| `{}` | {} | {} | {place} | {} |\n",
            row.name,
            kind.about(),
            kind.seen_on(),
            row.leak
        );
        page.push_str(&line);
    }
    page.push_str("\n## Remedies\n\nAt the level `safe`, the default, those marked so are applied; at `all` every one but what the operator does.\n\n");
    page.push_str("| remedy | what is done | needs | costs | risk | may destroy | it helped if | at most | safe |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for kind in RemedyKind::ALL {
        write_remedy(kind.row(), &mut page);
    }
    page
}

fn write_cause(cause: &Cause, total: f64, page: &mut String) {
    let share = 100.0 * cause.prior / total;
    let on = match cause.place {
        Place::Image => "the image",
        Place::Part => "one of its parts",
    };
    let (first, rest) = cause.about.split_at(1);
    let first = first.to_uppercase();
    let remedies: Vec<String> = cause
        .remedies
        .iter()
        .map(|remedy| format!("`{}`", remedy.row().name))
        .collect();
    let _ = write!(
        page,
        "\n### {}\n\n{first}{rest}. A fault of {on}; {share:.1} % of incidents before anything is known.\nRemedies: {}.\n\n",
        cause.name,
        remedies.join(", ")
    );
    let mut links: Vec<&Link> = cause.links.iter().collect();
    links.sort_by(|one, other| other.likelihood().total_cmp(&one.likelihood()));
    page.push_str("| symptom | likely | after | where |\n| --- | --- | --- | --- |\n");
    for link in links {
        let place = match link.scope {
            Scope::Here if link.symptom.row().place == Place::Image => "the image",
            Scope::Here => "that part",
            Scope::Dependents => "parts that depend on it",
            Scope::AnyPart => "some part",
        };
        let (from, to) = (
            link.delay.earliest().as_millis(),
            link.delay.latest().as_millis(),
        );
        let _ = writeln!(
            page,
            "| `{}` | {} | {} to {} s | {place} |",
            link.symptom.row().name,
            link.likelihood(),
            from as f64 / 1e3,
            to as f64 / 1e3
        );
    }
}

fn write_remedy(row: &Remedy, page: &mut String) {
    let helped = match row.verification {
        Verification::Operator => row.verification.text().to_string(),
        Verification::SymptomsClear(time) | Verification::HealthCheckPasses(time) => {
            format!(
                "{} within {} s",
                row.verification.text(),
                time.as_millis() as f64 / 1e3
            )
        }
    };
    let is_told = row.verification == Verification::Operator;
    let safe = match Level::Safe.allows(row) {
        _ if is_told => "told",
        true => "yes",
        false => "no",
    };
    let _ = writeln!(
        page,
        "| `{}` | {} | {} | {} | {} | {} | {helped} | {} in {} min | {safe} |",
        row.name,
        row.about,
        row.precondition.text(),
        row.cost.text(),
        row.risk.text(),
        row.destroys.text(),
        row.attempts.times,
        row.attempts.within.as_secs() / 60
    );
}
