//! Remedies: from ranked causes to what should be done about them, in order, and what stands against it.
//!
//! [`recommend`] is a pure function of the diagnosis, the level that the operator allows, what holds of the image now,
//! and what was tried before. It acts on nothing: at most one recommendation at a time says [`Advice::Apply`], and who
//! can do that is told by the composition root ([`Actuator`]). The others say why they do not: a milder one comes first,
//! the level forbids it, it was tried too often.
//!
//! Always true: nothing is applied on a cause less likely than [`POSTERIOR_MIN`], nor what the level forbids, nor more
//! often than its row allows, nor while another remedy's effect is awaited; and what may destroy acknowledged keys is
//! never applied at the default level.

mod remedies;
#[cfg(test)]
mod tests;

pub use remedies::{
    Action, Attempts, Cost, Destroys, Precondition, Remedy, RemedyKind, Risk, Verification,
};

use super::root_cause_analysis::{Diagnosis, PartId, Place, Ranked, Verdict};
use super::symptom::Ratio;
use crate::error::Result;
use crate::platform::time::Instant;
use heapless::Vec;

/// How likely a cause must be before something is done about it by itself.
pub const POSTERIOR_MIN: Ratio = Ratio::from_percent(50);
/// Recommendations that are made at once.
pub const RECOMMENDED_MAX: usize = 12;

/// What may be done without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    AdviseOnly,
    /// What is of little risk and destroys nothing that was acknowledged.
    #[default]
    Safe,
    /// Everything in the table.
    All,
}

impl Level {
    /// Whether a remedy may be applied at this level.
    pub const fn allows(self, remedy: &Remedy) -> bool {
        match self {
            Self::AdviseOnly => false,
            Self::All => true,
            Self::Safe => {
                !matches!(remedy.risk, Risk::High)
                    && !matches!(remedy.destroys, Destroys::WritesSinceCheckpoint)
            }
        }
    }

    /// The level of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "advise" => Some(Self::AdviseOnly),
            "safe" => Some(Self::Safe),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdviseOnly => "advise",
            Self::Safe => "safe",
            Self::All => "all",
        }
    }
}

/// Which preconditions hold now, and what cannot be done at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    holding: u16,
    lacking: u16,
}

impl Facts {
    /// None that needs anything.
    pub const NONE: Self = Self {
        holding: 0,
        lacking: 0,
    };

    /// The same, and this one holds.
    #[must_use]
    pub const fn with(self, precondition: Precondition) -> Self {
        Self {
            holding: self.holding | 1 << precondition as u16,
            ..self
        }
    }

    /// The same, and nobody can do that.
    #[must_use]
    pub const fn without(self, action: Action) -> Self {
        Self {
            lacking: self.lacking | 1 << action as u16,
            ..self
        }
    }

    /// Whether a remedy can be done: its precondition holds, and there is somebody to do it.
    pub const fn permit(self, remedy: &Remedy) -> bool {
        let holds = matches!(remedy.precondition, Precondition::Always)
            || self.holding >> remedy.precondition as u16 & 1 == 1;
        holds && self.lacking >> remedy.action as u16 & 1 == 0
    }
}

/// What became of a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It helped: what its row says to look for came in time.
    Recovered,
    /// It did not.
    Failed,
    /// It could not be done.
    Skipped,
}

impl Outcome {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A remedy that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which,
    pub remedy: RemedyKind,
    /// on which part,
    pub part: Option<PartId>,
    /// in which incident,
    pub incident: u64,
    /// when,
    pub at: Instant,
    /// and what became of it; nothing while that is not known.
    pub outcome: Option<Outcome>,
}

/// What is to be done with a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// It is to be applied now.
    Apply,
    /// It is for the operator, who may apply it or act: nothing else stands against it than this.
    Advise(Reason),
    /// It is not to be applied now, by anybody.
    Refuse(Reason),
}

/// Why a remedy is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The cause is not likely enough.
    Doubtful,
    /// The level does not allow it.
    Level,
    /// Only the operator can do it.
    Operator,
    /// A milder one comes first.
    MilderFirst,
    /// Another one's effect is awaited.
    EffectAwaited,
    /// What it needs is not there.
    Precondition,
    /// It was tried as often as it may be.
    TooOften,
    /// It was tried in this incident, and did not help.
    FailedBefore,
    /// Nothing is wrong any more.
    AllIsWell,
}

impl Reason {
    /// As reports have it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Doubtful => "the cause is not likely enough",
            Self::Level => "the level does not allow it",
            Self::Operator => "only the operator can do it",
            Self::MilderFirst => "a milder one comes first",
            Self::EffectAwaited => "the effect of another one is awaited",
            Self::Precondition => "what it needs is not there",
            Self::TooOften => "it was tried as often as it may be",
            Self::FailedBefore => "it was tried in this incident and did not help",
            Self::AllIsWell => "all is well again",
        }
    }
}

/// A remedy for a cause, and what is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Which remedy,
    pub remedy: RemedyKind,
    /// on which part, if it is one of parts,
    pub part: Option<PartId>,
    /// against which cause,
    pub cause: &'static str,
    /// how likely that is,
    pub posterior: Ratio,
    /// and what is to be done with it.
    pub advice: Advice,
}

/// Who carries out what was recommended.
pub trait Actuator {
    /// Which preconditions hold now, for a remedy on that part.
    fn facts(&self, part: Option<PartId>) -> Facts;

    /// Does it, or begins to. Whether it helped shows later.
    ///
    /// # Errors
    /// Why it could not be done; the outcome is then [`Outcome::Skipped`].
    fn perform(&mut self, remedy: RemedyKind, part: Option<PartId>) -> Result<()>;
}

/// What all recommendations of one diagnosis are judged by.
struct Judge<'a> {
    incident: u64,
    level: Level,
    facts: &'a dyn Fn(Option<PartId>) -> Facts,
    history: &'a [Attempt],
    now: Instant,
}

/// Recommends remedies for the causes of a diagnosis: by likelihood of the cause, and for each the mildest first.
/// `facts` says what holds for a remedy on a part; `history` is what was applied before, in any incident.
pub fn recommend(
    diagnosis: &Diagnosis,
    incident: u64,
    level: Level,
    facts: &dyn Fn(Option<PartId>) -> Facts,
    history: &[Attempt],
    now: Instant,
) -> Vec<Recommendation, RECOMMENDED_MAX> {
    let mut recommended: Vec<Recommendation, RECOMMENDED_MAX> = Vec::new();
    if diagnosis.verdict != Verdict::Known {
        return recommended;
    }
    let judge = Judge {
        incident,
        level,
        facts,
        history,
        now,
    };
    for cause in &diagnosis.causes {
        // The first that can be tried is; what is harder waits for it.
        let mut is_first = true;
        for &remedy in cause.cause.remedies {
            let part = cause.part.filter(|_| remedy.row().place == Place::Part);
            if recommended
                .iter()
                .any(|known| (known.remedy, known.part) == (remedy, part))
            {
                continue;
            }
            let mut advice = judge.advice(remedy, part, cause);
            if !is_first && matches!(advice, Advice::Apply | Advice::Advise(Reason::Level)) {
                advice = Advice::Advise(Reason::MilderFirst);
            }
            is_first &= advice != Advice::Apply;
            let is_applied = |known: &Recommendation| known.advice == Advice::Apply;
            if advice == Advice::Apply && recommended.iter().any(is_applied) {
                advice = Advice::Advise(Reason::EffectAwaited);
            }
            // Those beyond the last that fits are for less likely causes.
            let _ = recommended.push(Recommendation {
                remedy,
                part,
                cause: cause.cause.name,
                posterior: cause.posterior,
                advice,
            });
        }
    }
    recommended
}

impl Judge<'_> {
    fn advice(&self, remedy: RemedyKind, part: Option<PartId>, cause: &Ranked) -> Advice {
        let row = remedy.row();
        let attempts = self
            .history
            .iter()
            .filter(|attempt| (attempt.remedy, attempt.part) == (remedy, part));
        let mut here = attempts
            .clone()
            .filter(|attempt| attempt.incident == self.incident);
        let recent = attempts.filter(|attempt| self.now.since(attempt.at) < row.attempts.within);
        if !(self.facts)(part).permit(row) {
            Advice::Refuse(Reason::Precondition)
        } else if here
            .any(|attempt| matches!(attempt.outcome, Some(Outcome::Failed | Outcome::Skipped)))
        {
            Advice::Refuse(Reason::FailedBefore)
        } else if recent.count() >= usize::from(row.attempts.times) {
            Advice::Refuse(Reason::TooOften)
        } else if row.action == Action::Tell {
            Advice::Advise(Reason::Operator)
        } else if cause.posterior < POSTERIOR_MIN {
            Advice::Advise(Reason::Doubtful)
        } else if !self.level.allows(row) {
            Advice::Advise(Reason::Level)
        } else if self.history.iter().any(|attempt| self.is_awaited(attempt)) {
            Advice::Advise(Reason::EffectAwaited)
        } else {
            Advice::Apply
        }
    }

    /// Whether an attempt may still show its effect.
    fn is_awaited(&self, attempt: &Attempt) -> bool {
        let within = attempt.remedy.row().verification.within();
        attempt.outcome.is_none() && within.is_some_and(|within| self.now < attempt.at + within)
    }
}
