//! Hypotheses: one component has one fault. What signs it then shows, what signs follow along the calls, and how well
//! that fits the evidence.

use super::evidence::Evidence;
use super::{Candidate, Fault, Graph, Sign, Table};
use crate::error::{Grow, Result};
use alloc::vec::Vec;

/// How likely a sign shows for no reason that the graph knows.
const LEAK: f64 = 0.03;
/// How likely a fault shows its main sign.
const SHOWN: f64 = 0.95;
/// How likely a component without processor or memory gets slow.
const EXHAUSTED_IS_SLOW: f64 = 0.7;
/// How likely it shows in memory, where it shows in processor time.
const EXHAUSTED_IS_SWOLLEN: f64 = 0.4;
/// How likely one that fails leaves memory behind.
const FAILING_IS_SWOLLEN: f64 = 0.3;
/// How likely one that fails is slow as well, and how likely the way to it slows what it does itself.
const ASIDE: f64 = 0.2;
/// How likely a slow callee makes its caller slow, and how likely the caller's own view of it shows that: if each
/// request of the caller calls it.
const CALLER_IS_SLOW: f64 = 0.4;
const CALLER_WAITS: f64 = 0.6;
/// The same of a failing one.
const CALLER_FAILS: f64 = 0.6;
/// How likely what a failing component calls is called less.
const CALLEE_STARVES: f64 = 0.4;

/// How much less likely than others these are, before anything is measured: a fault on the way to a component; a
/// fault whose main sign no metric would show; and one of a component that is known by the word of its one caller
/// alone, which says more of the caller.
const PRIOR_REMOTE: f64 = 0.2;
const PRIOR_UNSEEN: f64 = 0.2;
const PRIOR_HEARSAY: f64 = 0.15;

/// How well each fault of a component fits, added up; posteriors are not in proportion to others' yet.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn candidate(component: usize, graph: &Graph, evidence: &Evidence) -> Result<Candidate> {
    let mut candidate = Candidate {
        component,
        fault: Fault::Remote,
        posterior: 0.0,
    };
    let mut best = 0.0;
    for fault in Fault::ALL {
        let fit = prior(component, fault, graph, evidence)
            * likelihood(component, fault, graph, evidence)?;
        candidate.posterior += fit;
        if fit > best {
            (best, candidate.fault) = (fit, fault);
        }
    }
    Ok(candidate)
}

fn prior(component: usize, fault: Fault, graph: &Graph, evidence: &Evidence) -> f64 {
    let is_seen = |sign| evidence.ratio(component, sign).is_some();
    let tells_of_itself = [Sign::Busy, Sign::Swollen, Sign::Waiting]
        .into_iter()
        .any(is_seen);
    let is_hearsay = !tells_of_itself
        && graph.callees[component].is_empty()
        && graph.callers[component].len() <= 1;
    let of_fault = match fault {
        // Without such a metric it is not told from `Slow`.
        Fault::Exhausted if !is_seen(Sign::Busy) => 0.0,
        Fault::Slow if !is_seen(Sign::Slow) => PRIOR_UNSEEN,
        Fault::Failing if !is_seen(Sign::Failing) => PRIOR_UNSEEN,
        Fault::Remote => PRIOR_REMOTE,
        _ => 1.0,
    };
    if is_hearsay {
        of_fault * PRIOR_HEARSAY
    } else {
        of_fault
    }
}

/// How much likelier the evidence is under this hypothesis than with no fault at all.
fn likelihood(component: usize, fault: Fault, graph: &Graph, evidence: &Evidence) -> Result<f64> {
    let expected = expected(component, fault, graph, evidence)?;
    let mut likelihood = 1.0;
    for (component, signs) in expected.0.iter().enumerate() {
        for (sign, &caused) in SIGNS.into_iter().zip(signs) {
            if let Some(ratio) = evidence.ratio(component, sign).filter(|_| caused > 0.0) {
                let shown = either(LEAK, caused);
                likelihood *= mixed(shown, ratio) / mixed(LEAK, ratio);
            }
        }
    }
    Ok(likelihood)
}

const SIGNS: [Sign; Sign::COUNT] = [
    Sign::Slow,
    Sign::Waiting,
    Sign::Failing,
    Sign::Busy,
    Sign::Swollen,
    Sign::Starving,
];

/// The likelihood of what was measured, in units of that without the sign, if the sign shows that likely.
fn mixed(shown: f64, ratio: f64) -> f64 {
    shown * ratio + (1.0 - shown)
}

/// Noisy-OR of two reasons.
fn either(one: f64, other: f64) -> f64 {
    1.0 - (1.0 - one) * (1.0 - other)
}

/// How likely the hypothesis causes each sign.
fn expected(
    at_fault: usize,
    fault: Fault,
    graph: &Graph,
    evidence: &Evidence,
) -> Result<Table<f64>> {
    let mut expected = Table::new(graph.callers.len(), 0.0)?;
    let mut causes = |component, sign, likely| {
        let known = expected.at_mut(component, sign);
        *known = either(*known, likely);
    };
    match fault {
        Fault::Exhausted => {
            causes(at_fault, Sign::Busy, SHOWN);
            causes(at_fault, Sign::Swollen, EXHAUSTED_IS_SWOLLEN);
            causes(at_fault, Sign::Slow, EXHAUSTED_IS_SLOW);
        }
        Fault::Slow => causes(at_fault, Sign::Slow, SHOWN),
        Fault::Failing => {
            causes(at_fault, Sign::Failing, SHOWN);
            causes(at_fault, Sign::Slow, ASIDE);
            causes(at_fault, Sign::Swollen, FAILING_IS_SWOLLEN);
            for &callee in &graph.callees[at_fault] {
                causes(
                    callee,
                    Sign::Starving,
                    CALLEE_STARVES * felt(callee, graph, evidence),
                );
            }
        }
        Fault::Remote => causes(at_fault, Sign::Waiting, ASIDE),
    }
    spread(at_fault, fault, &mut expected, graph, evidence)?;
    Ok(expected)
}

/// Follows a fault along the calls, from each component to those that call it, nearest first.
fn spread(
    at_fault: usize,
    fault: Fault,
    expected: &mut Table<f64>,
    graph: &Graph,
    evidence: &Evidence,
) -> Result<()> {
    let mut reached = Vec::new();
    reached.try_push(at_fault)?;
    let mut next = 0;
    while let Some(&callee) = reached.get(next) {
        next += 1;
        // What was measured at a component says whether the fault came as far as there.
        let sign = if fault == Fault::Failing {
            Sign::Failing
        } else {
            Sign::Slow
        };
        let came = match evidence.ratio(callee, sign) {
            _ if callee == at_fault => 1.0,
            None => expected.at(callee, sign),
            Some(ratio) => {
                let caused = expected.at(callee, sign);
                caused * ratio / mixed(caused, ratio)
            }
        };
        let came = came * felt(callee, graph, evidence);
        for &caller in &graph.callers[callee] {
            let mut causes = |sign, likely: f64| {
                let known = expected.at_mut(caller, sign);
                *known = either(*known, came * likely);
            };
            if fault == Fault::Failing {
                causes(Sign::Failing, CALLER_FAILS);
                causes(Sign::Slow, CALLER_FAILS * ASIDE);
            } else {
                causes(Sign::Waiting, CALLER_WAITS);
                causes(Sign::Slow, CALLER_IS_SLOW);
            }
            if !reached.contains(&caller) {
                reached.try_push(caller)?;
            }
        }
    }
    Ok(())
}

/// How much those that call a component feel of it: less if few of their requests need it, but not in proportion, for
/// latencies that are told by a high quantile show the few.
fn felt(callee: usize, graph: &Graph, evidence: &Evidence) -> f64 {
    let share = evidence.share(callee, graph);
    2.0 * share / (1.0 + share)
}
