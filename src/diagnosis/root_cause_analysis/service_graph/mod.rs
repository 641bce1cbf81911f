//! Root cause in a system of services that is not ours: who calls whom, what each measures in normal times, and what
//! it measured around an incident.
//!
//! A fault at a component shows signs there and, along the calls, at those that call it: they get slow or fail with it,
//! while what they call starves. For each component and kind of [`Fault`] it is computed how likely each sign then is
//! (a noisy-OR over what a component calls, with a leak), and that is held against what was measured: signs that are
//! there speak for it, signs that should be there and are not speak against it, and a sign that something deeper
//! explains leaves its bearer less to answer for. What was measured counts by how far it left normal (robust
//! statistics, `statistics`), never by more than a bound.
//!
//! Always true: the posteriors of all candidates add up to 1; the same recording gives the same order; nothing but
//! [`Recording`] is read. One setting serves all systems: the constants of `evidence` and `hypotheses`.
//!
//! Limits: one fault at a time; calls that no metric counts are taken to be half of what their callers serve.

mod evidence;
mod hypotheses;
mod statistics;
#[cfg(test)]
mod tests;

use crate::error::{Grow, Result};
use alloc::vec::Vec;
use evidence::Evidence;

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// How long a component takes to answer.
    Latency,
    /// How long what a component calls takes to answer, as it sees it.
    CalleeLatency,
    /// The share of requests that a component answers well.
    Success,
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Requests that a component answers.
    Requests,
    /// Anything else; not read.
    Other,
}

impl Metric {
    /// What the metric of that name measures, by the words that such names have.
    pub fn of_name(name: &str) -> Self {
        let has = |word: &str| {
            name.split(['_', '|', '.', '-'])
                .any(|part| part.eq_ignore_ascii_case(word))
        };
        if has("latency") || has("lat") || has("duration") {
            if has("client") {
                Self::CalleeLatency
            } else {
                Self::Latency
            }
        } else if has("availability") || has("success") {
            Self::Success
        } else if has("cpu") {
            Self::Cpu
        } else if has("mem") || has("memory") {
            Self::Memory
        } else if has("requests") || has("ops") {
            Self::Requests
        } else {
            Self::Other
        }
    }

    /// The sign that it shows, if it shows one by itself.
    const fn sign(self) -> Option<Sign> {
        match self {
            Self::Latency => Some(Sign::Slow),
            Self::CalleeLatency => Some(Sign::Waiting),
            Self::Success => Some(Sign::Failing),
            Self::Cpu => Some(Sign::Busy),
            Self::Memory => Some(Sign::Swollen),
            Self::Requests | Self::Other => None,
        }
    }
}

/// What can be seen of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answers late.
    Slow,
    /// What it calls answers late, as it sees it.
    Waiting,
    /// It answers with errors.
    Failing,
    /// It takes much processor time.
    Busy,
    /// It takes much memory.
    Swollen,
    /// Those that call it do so less, for each request of their own.
    Starving,
}

impl Sign {
    const COUNT: usize = 6;
}

/// What can be wrong with a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has too little processor or memory.
    Exhausted,
    /// It is slow for a reason that none of its own metrics shows.
    Slow,
    /// It fails.
    Failing,
    /// The way to it is slow or lossy: those that call it see that, and it does not.
    Remote,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Exhausted, Self::Slow, Self::Failing, Self::Remote];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Slow => "slow",
            Self::Failing => "failing",
            Self::Remote => "remote",
        }
    }
}

/// One metric of one component. A missing sample is a NaN.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Whose it is.
    pub component: usize,
    /// What it measures.
    pub metric: Metric,
    /// Samples of normal times, as far apart as those of the incident; empty if there are none.
    pub normal: &'a [f64],
    /// Samples around the incident, one for each of [`Recording::times`].
    pub window: &'a [f64],
}

/// What is known of an incident. Components are numbers from 0.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// How many components there are.
    pub components: usize,
    /// How many of them, the first ones, may be at fault.
    pub candidates: usize,
    /// Who calls whom: caller, callee.
    pub calls: &'a [(usize, usize)],
    /// What was measured.
    pub series: &'a [Series<'a>],
    /// When the samples around the incident were taken, rising, in seconds.
    pub times: &'a [f64],
    /// When it began, or was noticed; nothing if that is not known.
    pub began: Option<f64>,
    /// The symptom that was reported: of which component, and in which metric.
    pub reported: Option<(usize, Metric)>,
}

/// Of a window of which it is not known when the incident began, this share is taken for the time before.
const BEFORE_SHARE: usize = 3;

impl Recording<'_> {
    /// How many samples are from before the incident. One that is less than a sampling interval older than its
    /// beginning may hold some of it, whether samples carry the start or the end of their interval as their time.
    fn samples_before(&self) -> usize {
        let (Some(began), [first, second, ..]) = (self.began, self.times) else {
            return self.times.len() / BEFORE_SHARE;
        };
        let interval = second - first;
        self.times.partition_point(|&time| time <= began - interval)
    }

    /// The series that counts the requests of a component.
    fn requests_of(&self, component: usize) -> Option<&Series<'_>> {
        let counts = |series: &&Series<'_>| {
            series.component == component
                && series.metric == Metric::Requests
                && !series.normal.is_empty()
        };
        self.series.iter().find(counts)
    }
}

/// How likely a component is at fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which component.
    pub component: usize,
    /// What is most likely wrong with it, if it is the one.
    pub fault: Fault,
    /// How likely it is the one, of all candidates.
    pub posterior: f64,
}

/// Ranks the components by how likely they are at fault, the likeliest first; equals stay in their order.
///
/// # Errors
/// `OutOfMemory`.
///
/// # Panics
/// If a component's number is not below [`Recording::components`].
pub fn rank(recording: &Recording<'_>) -> Result<Vec<Candidate>> {
    let graph = Graph::of(recording)?;
    let evidence = Evidence::of(recording, &graph)?;
    let mut candidates = Vec::new();
    for component in 0..recording.candidates {
        candidates.try_push(hypotheses::candidate(component, &graph, &evidence)?)?;
    }
    let total: f64 = candidates.iter().map(|candidate| candidate.posterior).sum();
    for candidate in &mut candidates {
        candidate.posterior /= total;
    }
    // Stable, and without the memory that a stable sort takes: the place decides between equals.
    candidates.sort_unstable_by(|one, other| {
        let by_posterior = other.posterior.total_cmp(&one.posterior);
        by_posterior.then(one.component.cmp(&other.component))
    });
    Ok(candidates)
}

/// Who calls whom, from both sides; each call once, none of a component to itself.
struct Graph {
    callers: Vec<Vec<usize>>,
    callees: Vec<Vec<usize>>,
}

impl Graph {
    fn of(recording: &Recording<'_>) -> Result<Self> {
        let mut graph = Self {
            callers: Vec::new(),
            callees: Vec::new(),
        };
        graph
            .callers
            .try_resize_with(recording.components, Vec::new)?;
        graph
            .callees
            .try_resize_with(recording.components, Vec::new)?;
        for &(caller, callee) in recording.calls {
            if caller != callee && !graph.callers[callee].contains(&caller) {
                graph.callers[callee].try_push(caller)?;
                graph.callees[caller].try_push(callee)?;
            }
        }
        Ok(graph)
    }
}

/// A value for each sign of each component.
struct Table<T>(Vec<[T; Sign::COUNT]>);

impl<T: Copy> Table<T> {
    fn new(components: usize, value: T) -> Result<Self> {
        let mut rows = Vec::new();
        rows.try_resize(components, [value; Sign::COUNT])?;
        Ok(Self(rows))
    }

    fn at(&self, component: usize, sign: Sign) -> T {
        self.0[component][sign as usize]
    }

    fn at_mut(&mut self, component: usize, sign: Sign) -> &mut T {
        &mut self.0[component][sign as usize]
    }
}
