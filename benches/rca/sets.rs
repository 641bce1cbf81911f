//! The sets of recorded incidents, as they lie in their directories. Nothing here names a column of answers.
//!
//! petshop: `issues.csv` lists the cases, each with the symptom that was reported; `SCENARIO__graph.csv` has who calls
//! whom, `SCENARIO__normal.csv` two days without faults, `CASE.csv` the samples around a fault. nezha: the same in
//! `faults.csv`, `dependency.csv`, `normal__DAY.csv` and `DAY__CASE.csv`, without a symptom. Columns of samples are
//! `component|metric` or `component|metric|statistic`.

use crate::csv::{Frame, Row, Table};
use nos::diagnosis::root_cause_analysis::service_graph::{Metric, Recording, Series};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Which set a directory holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Petshop,
    Nezha,
}

/// One set.
pub(crate) struct Set {
    pub(crate) kind: Kind,
    pub(crate) dir: PathBuf,
}

/// One incident, as the scorer wants it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) components: Vec<String>,
    candidates: usize,
    calls: Vec<(usize, usize)>,
    series: Vec<(usize, Metric, Vec<f64>, Vec<f64>)>,
    times: Vec<f64>,
    began: Option<f64>,
    reported: Option<(usize, Metric)>,
}

/// What a list of cases says of one.
struct Listed {
    name: String,
    began: Option<f64>,
    reported: Option<(String, Metric)>,
    /// The table of who calls whom, and its columns.
    calls: (PathBuf, [&'static str; 2]),
    normal: PathBuf,
}

/// The sets in a directory: the directory itself, and those in it.
pub(crate) fn find(dir: &Path) -> Result<Vec<Set>, String> {
    let mut sets = Vec::new();
    for dir in [dir.to_path_buf(), dir.join("petshop"), dir.join("nezha")] {
        for (kind, list) in [(Kind::Petshop, "issues.csv"), (Kind::Nezha, "faults.csv")] {
            if dir.join(list).is_file() {
                let dir = dir.clone();
                sets.push(Set { kind, dir });
            }
        }
    }
    match sets.is_empty() {
        false => Ok(sets),
        true => Err(format!(
            "{}: neither issues.csv nor faults.csv is there, nor in petshop/ or nezha/",
            dir.display()
        )),
    }
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Petshop => "petshop",
            Self::Nezha => "nezha",
        }
    }
}

impl Set {
    /// The list of its cases.
    pub(crate) fn list(&self) -> PathBuf {
        self.dir.join(match self.kind {
            Kind::Petshop => "issues.csv",
            Kind::Nezha => "faults.csv",
        })
    }

    /// Reads all cases, in the order of the list.
    pub(crate) fn cases(&self) -> Result<Vec<Case>, String> {
        let columns: &[&str] = match self.kind {
            Kind::Petshop => &[
                "case",
                "timestamp",
                "scenario",
                "symptom_node",
                "symptom_metric",
            ],
            Kind::Nezha => &["case", "inject_timestamp"],
        };
        let list = Table::read(&self.list(), columns)?;
        let mut frames = HashMap::new();
        let mut cases = Vec::new();
        for row in list.rows() {
            let listed = self.listed(&row)?;
            if !frames.contains_key(&listed.normal) {
                frames.insert(listed.normal.clone(), Frame::read(&listed.normal)?);
            }
            let window = Frame::read(&self.dir.join(format!("{}.csv", listed.name)))?;
            cases.push(Case::new(listed, &window, |path| &frames[path])?);
        }
        Ok(cases)
    }

    fn listed(&self, row: &Row<'_>) -> Result<Listed, String> {
        let name = row.text(0).to_string();
        if name.is_empty() || name.contains(['/', '\\']) {
            return Err(row.fault(&format!("{name:?} is no name of a case")));
        }
        let began = if row.text(1).is_empty() {
            None
        } else {
            Some(row.number(1)?)
        };
        Ok(match self.kind {
            Kind::Petshop => {
                let scenario = row.text(2);
                let metric = Metric::of_name(row.text(4));
                if metric == Metric::Other {
                    return Err(row.fault(&format!("{} is no metric that is known", row.text(4))));
                }
                Listed {
                    began,
                    reported: Some((row.text(3).to_string(), metric)),
                    calls: (
                        self.dir.join(format!("{scenario}__graph.csv")),
                        ["from", "to"],
                    ),
                    normal: self.dir.join(format!("{scenario}__normal.csv")),
                    name,
                }
            }
            Kind::Nezha => {
                let day = name.split("__").next().unwrap_or(&name);
                Listed {
                    began,
                    reported: None,
                    calls: (self.dir.join("dependency.csv"), ["Source", "Target"]),
                    normal: self.dir.join(format!("normal__{day}.csv")),
                    name,
                }
            }
        })
    }
}

impl Case {
    fn new<'a>(
        listed: Listed,
        window: &Frame,
        normal: impl FnOnce(&Path) -> &'a Frame,
    ) -> Result<Self, String> {
        let normal = normal(&listed.normal);
        let calls = calls(&listed.calls.0, &listed.calls.1)?;
        let mut components = Components(Vec::new());
        let mut series = Vec::new();
        for (column, samples) in &window.columns {
            let (component, metric) = column.split_once('|').unwrap_or((column, ""));
            // `NAME_slo` is what users see of NAME.
            let seen = component
                .strip_suffix("_slo")
                .filter(|name| calls.iter().any(|(from, to)| from == name || to == name));
            let component = components.number(seen.unwrap_or(component));
            let normal = normal.column(column).unwrap_or_default().to_vec();
            series.push((component, Metric::of_name(metric), normal, samples.clone()));
        }
        let candidates = components.0.len();
        if candidates == 0 {
            return Err(format!("{}.csv:1: no column of samples", listed.name));
        }
        let calls = calls
            .iter()
            .map(|(from, to)| (components.number(from), components.number(to)))
            .collect();
        let reported = listed
            .reported
            .map(|(component, metric)| (components.number(&component), metric));
        Ok(Self {
            name: listed.name,
            components: components.0,
            candidates,
            calls,
            series,
            times: window.times.clone(),
            began: listed.began,
            reported,
        })
    }

    /// Lends the case in the scorer's form.
    pub(crate) fn with_recording<R>(&self, then: impl FnOnce(&Recording<'_>) -> R) -> R {
        let series: Vec<Series<'_>> = self
            .series
            .iter()
            .map(|(component, metric, normal, window)| Series {
                component: *component,
                metric: *metric,
                normal,
                window,
            })
            .collect();
        then(&Recording {
            components: self.components.len(),
            candidates: self.candidates,
            calls: &self.calls,
            series: &series,
            times: &self.times,
            began: self.began,
            reported: self.reported,
        })
    }
}

/// Components by number: those that are measured first, then those that are called alone.
struct Components(Vec<String>);

impl Components {
    fn number(&mut self, name: &str) -> usize {
        let known = self.0.iter().position(|component| component == name);
        known.unwrap_or_else(|| {
            self.0.push(name.to_string());
            self.0.len() - 1
        })
    }
}

/// Who calls whom, from the columns of those names.
fn calls(path: &Path, columns: &[&str; 2]) -> Result<Vec<(String, String)>, String> {
    let table = Table::read(path, columns)?;
    let call = |row: Row<'_>| (row.text(0).to_string(), row.text(1).to_string());
    Ok(table.rows().map(call).collect())
}
