//! Evidence: for each component and sign, how much likelier what was measured is if the component shows that sign than
//! if it does not.

use super::statistics::{Normal, Window, deviation, median, sorted};
use super::{Graph, Recording, Series, Sign, Table};
use crate::error::{Grow, Result, try_collect};
use alloc::vec::Vec;

/// Spreads away from normal at which evidence speaks neither for nor against: beyond what most samples keep within.
const EVEN_AT: f64 = 2.0;
/// The most that one sign speaks for, and against, as a ratio of likelihoods: recordings err, and no single one decides.
const FOR_MAX: f64 = 50.0;
const AGAINST_MAX: f64 = 0.2;
/// What the symptom that was reported counts: it is what the question is about.
const REPORTED: f64 = 150.0;
/// Least spread of a metric, as a share of its median: changes below it matter to nobody.
const FLOOR: f64 = 0.05;
/// The same for shares of success, of which a hundredth matters.
const FLOOR_SUCCESS: f64 = 0.005;
/// The same for how much a component is called by those that call it.
const FLOOR_CALLS: f64 = 0.1;
/// How much of what its callers serve a component is taken to be called for where nothing counts it.
const SHARE_UNKNOWN: f64 = 0.5;

/// What the recording of one incident says.
pub(super) struct Evidence {
    ratios: Table<Option<f64>>,
    /// Requests to each component in normal times, in their own unit; a NaN where nothing counts them.
    requests: Vec<f64>,
}

impl Evidence {
    /// Reads a recording.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn of(recording: &Recording<'_>, graph: &Graph) -> Result<Self> {
        let mut evidence = Self {
            ratios: Table::new(recording.components, None)?,
            requests: requests(recording)?,
        };
        for series in recording.series {
            evidence.see(series, recording.samples_before())?;
        }
        for callee in 0..recording.components {
            evidence.see_starving(callee, recording, graph)?;
        }
        if let Some((component, metric)) = recording.reported
            && let Some(sign) = metric.sign()
        {
            *evidence.ratios.at_mut(component, sign) = Some(REPORTED);
        }
        Ok(evidence)
    }

    /// The ratio for a sign of a component; nothing if no metric would show it.
    pub(super) fn ratio(&self, component: usize, sign: Sign) -> Option<f64> {
        self.ratios.at(component, sign)
    }

    /// For how much of what its callers serve a component is called in normal times, at most all.
    pub(super) fn share(&self, callee: usize, graph: &Graph) -> f64 {
        let counted = graph.callers[callee]
            .iter()
            .map(|&caller| self.requests[caller]);
        let of_callers: f64 = counted.filter(|requests| requests.is_finite()).sum();
        let own = self.requests[callee];
        if of_callers > 0.0 && own.is_finite() {
            f64::min(own / of_callers, 1.0)
        } else {
            SHARE_UNKNOWN
        }
    }

    fn see(&mut self, series: &Series<'_>, before: usize) -> Result<()> {
        let (Some(sign), Some(normal)) = (series.metric.sign(), Normal::of(series.normal)?) else {
            return Ok(());
        };
        let window = Window {
            samples: series.window,
            before,
        };
        let found = match sign {
            Sign::Failing => -deviation(&normal, window, FLOOR_SUCCESS)?,
            _ => deviation(&normal, window, FLOOR)?,
        };
        // Of several metrics of one sign the one that shows most counts.
        let known = self.ratios.at_mut(series.component, sign);
        *known = Some(f64::max(known.unwrap_or(0.0), ratio(found)));
        Ok(())
    }

    /// A component starves that is called less for each request that its callers answer: they give up before.
    fn see_starving(
        &mut self,
        callee: usize,
        recording: &Recording<'_>,
        graph: &Graph,
    ) -> Result<()> {
        let callers = graph.callers[callee].iter();
        let callers = try_collect(callers.filter_map(|&caller| recording.requests_of(caller)))?;
        let Some(own) = recording
            .requests_of(callee)
            .filter(|_| !callers.is_empty())
        else {
            return Ok(());
        };
        let normal = relative(own, &callers, |series| series.normal)?;
        let samples = relative(own, &callers, |series| series.window)?;
        if let Some(normal) = Normal::of(&normal)? {
            let window = Window {
                samples: &samples,
                before: recording.samples_before(),
            };
            let found = -deviation(&normal, window, FLOOR_CALLS)?;
            *self.ratios.at_mut(callee, Sign::Starving) = Some(ratio(found));
        }
        Ok(())
    }
}

/// The ratio of likelihoods for a metric that many spreads away from normal, in the bad direction.
fn ratio(spreads_away: f64) -> f64 {
    (spreads_away / EVEN_AT).clamp(AGAINST_MAX, FOR_MAX)
}

/// The requests of one component for each of those that answer with its help, sample by sample.
fn relative<'a>(
    own: &Series<'a>,
    callers: &[&Series<'a>],
    samples: impl Fn(&Series<'a>) -> &'a [f64],
) -> Result<Vec<f64>> {
    let at =
        |series: &Series<'a>, row: usize| samples(series).get(row).copied().unwrap_or(f64::NAN);
    try_collect((0..samples(own).len()).map(|row| {
        let served: f64 = callers.iter().map(|caller| at(caller, row)).sum();
        if served > 0.0 {
            at(own, row) / served
        } else {
            f64::NAN
        }
    }))
}

/// Requests to each component in normal times: the median.
fn requests(recording: &Recording<'_>) -> Result<Vec<f64>> {
    let mut requests = Vec::new();
    for component in 0..recording.components {
        let counted = recording
            .requests_of(component)
            .map_or(&[][..], |series| series.normal);
        let present = sorted(counted.iter().copied())?;
        requests.try_push(median(&present).unwrap_or(f64::NAN))?;
    }
    Ok(requests)
}
