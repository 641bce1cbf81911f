//! `docs/prometheus-rules.yml`: an alert for each symptom that metrics alone show, with the causes that show it, and one for
//! each cause that the image itself ranks first.

use nos::diagnosis::root_cause_analysis::{Cause, SymptomKind, causes};
use std::fmt::Write;

const HEAD: &str = "\
# Alerts for nos, made from the tables in src/diagnosis/ by `make docs`. Load it as a rule file of Prometheus.
groups:
";

/// How likely a cause shows a symptom that its alert names it.
const NAMED_MIN: f64 = 0.3;

/// The page.
pub(super) fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("  - name: nos-incidents\n    rules:\n");
    for cause in causes() {
        let remedies: Vec<&str> = cause
            .remedies
            .iter()
            .map(|remedy| remedy.row().about)
            .collect();
        let alert = Alert {
            name: format!("NosCause{}", camel(cause.name)),
            expression: format!(
                "increase(nos_diagnosis_incidents_total{{cause=\"{}\"}}[10m]) > 0",
                cause.name
            ),
            lasts: "0m",
            severity: "warning",
            summary: format!("nos: {}", cause.about),
            description: format!("What may help: {}.", remedies.join("; ")),
        };
        alert.write(&mut page);
    }
    page.push_str("  - name: nos-symptoms\n    rules:\n");
    for kind in SymptomKind::ALL
        .iter()
        .filter(|kind| !kind.alert().is_empty())
    {
        let shown = |cause: &&Cause| {
            let mut links = cause.links.iter();
            links.any(|link| link.symptom == *kind && link.likelihood() >= NAMED_MIN)
        };
        let causes: Vec<&str> = causes().filter(shown).map(|cause| cause.about).collect();
        let row = kind.row();
        let alert = Alert {
            name: format!("Nos{}", camel(row.name)),
            expression: kind.alert().to_string(),
            lasts: "1m",
            severity: "info",
            summary: format!("nos: {}", kind.about()),
            description: format!(
                "What brings it about: {}. GET /diagnosis says which.",
                causes.join("; ")
            ),
        };
        alert.write(&mut page);
    }
    page
}

/// One rule.
struct Alert {
    name: String,
    expression: String,
    lasts: &'static str,
    severity: &'static str,
    summary: String,
    description: String,
}

impl Alert {
    fn write(&self, page: &mut String) {
        let _ = write!(
            page,
            "      - alert: {}\n        expr: {}\n        for: {}\n        labels:\n          severity: {}\n        annotations:\n          summary: {}\n          description: {}\n",
            self.name,
            quoted(&self.expression),
            self.lasts,
            self.severity,
            quoted(&self.summary),
            quoted(&self.description)
        );
    }
}

/// A scalar of YAML in single quotes, in which nothing but these means anything.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `link_down` as `LinkDown`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    name.split('_').map(word).collect()
}
