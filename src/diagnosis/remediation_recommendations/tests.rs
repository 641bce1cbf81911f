//! Recommendations for made diagnoses: their order, what the level allows, and what history forbids.

use super::*;
use crate::diagnosis::root_cause_analysis::{Cause, Diagnosis, cause, causes};
use crate::platform::time::Duration;
use std::vec::Vec as List;

const NOW: Instant = Instant::from_nanos(3_600_000_000_000);
const INCIDENT: u64 = 7;
const PART: Option<PartId> = Some(PartId(1));

/// A diagnosis of these causes, each so many per cent likely.
fn diagnosis(likely: &[(&str, u32)]) -> Diagnosis {
    let ranked = |&(name, percent): &(&str, u32)| {
        let cause: &'static Cause = cause(name).expect("it is in the table");
        Ranked {
            cause,
            part: (cause.place == Place::Part).then_some(PartId(1)),
            posterior: Ratio::from_percent(percent),
            began: NOW,
            findings: Vec::new(),
        }
    };
    Diagnosis {
        verdict: Verdict::Known,
        healthy: Ratio::default(),
        unknown: Ratio::default(),
        causes: Vec::from_iter(likely.iter().map(ranked)),
    }
}

/// Everything holds.
fn all_facts(_: Option<PartId>) -> Facts {
    let all = RemedyKind::ALL
        .iter()
        .map(|remedy| remedy.row().precondition);
    all.fold(Facts::NONE, Facts::with)
}

fn advised(name: &str, level: Level, history: &[Attempt]) -> List<(RemedyKind, Advice)> {
    let recommended = recommend(
        &diagnosis(&[(name, 90)]),
        INCIDENT,
        level,
        &all_facts,
        history,
        NOW,
    );
    recommended
        .iter()
        .map(|known| (known.remedy, known.advice))
        .collect()
}

fn tried(
    remedy: RemedyKind,
    part: Option<PartId>,
    seconds_ago: u64,
    outcome: Option<Outcome>,
) -> Attempt {
    Attempt {
        remedy,
        part,
        incident: INCIDENT,
        at: NOW - Duration::from_secs(seconds_ago),
        outcome,
    }
}

#[test]
fn every_row_of_the_table_makes_sense() {
    for (place, &remedy) in RemedyKind::ALL.iter().enumerate() {
        let row = remedy.row();
        assert_eq!(remedy as usize, place, "{}", row.name);
        let same = RemedyKind::ALL
            .iter()
            .filter(|other| other.row().name == row.name);
        assert_eq!(same.count(), 1, "{}", row.name);
        assert!(row.attempts.times > 0, "{}", row.name);
        let is_used = causes().any(|cause| cause.remedies.contains(&remedy));
        assert!(is_used, "{} helps against nothing", row.name);
        let is_told = row.action == Action::Tell;
        assert_eq!(
            is_told,
            row.verification == Verification::Operator,
            "{}",
            row.name
        );
        assert!(
            !is_told || row.destroys == Destroys::Nothing,
            "{}",
            row.name
        );
    }
}

#[test]
fn every_action_is_listed_at_its_own_place() {
    for (place, action) in Action::ALL.into_iter().enumerate() {
        assert_eq!(action as usize, place, "{}", action.name());
    }
}

#[test]
fn remedies_of_a_cause_stand_from_mild_to_hard() {
    for cause in causes() {
        let hardness = |remedy: &RemedyKind| {
            let row = remedy.row();
            // What the operator is told stands anywhere.
            (row.action != Action::Tell)
                .then_some((row.risk, row.destroys == Destroys::WritesSinceCheckpoint))
        };
        let hardness: List<_> = cause.remedies.iter().filter_map(hardness).collect();
        assert!(hardness.is_sorted(), "{}: {hardness:?}", cause.name);
    }
}

#[test]
fn the_mildest_remedy_of_the_likeliest_cause_is_applied_and_the_others_wait() {
    let recommended = recommend(
        &diagnosis(&[("memory_full", 90), ("task_panic", 80)]),
        INCIDENT,
        Level::Safe,
        &all_facts,
        &[],
        NOW,
    );
    let advice: List<_> = recommended
        .iter()
        .map(|known| (known.remedy, known.advice))
        .collect();
    assert_eq!(
        advice,
        [
            (RemedyKind::DrainCaches, Advice::Apply),
            (RemedyKind::Compact, Advice::Advise(Reason::MilderFirst)),
            (RemedyKind::ShedLoad, Advice::Advise(Reason::MilderFirst)),
            (RemedyKind::TellMemory, Advice::Advise(Reason::Operator)),
            (
                RemedyKind::RestartPart,
                Advice::Advise(Reason::EffectAwaited)
            ),
        ]
    );
    assert_eq!((recommended[4].part, recommended[0].part), (PART, None));
}

#[test]
fn a_remedy_that_did_not_help_makes_way_for_the_next() {
    let failed = tried(RemedyKind::DrainCaches, None, 20, Some(Outcome::Failed));
    let advice = advised("memory_full", Level::Safe, &[failed]);
    assert_eq!(
        advice[0],
        (
            RemedyKind::DrainCaches,
            Advice::Refuse(Reason::FailedBefore)
        )
    );
    assert_eq!(advice[1], (RemedyKind::Compact, Advice::Apply));
    // In another incident it may be tried again.
    let elsewhere = Attempt {
        incident: INCIDENT - 1,
        ..failed
    };
    assert_eq!(
        advised("memory_full", Level::Safe, &[elsewhere])[0].1,
        Advice::Apply
    );
}

#[test]
fn nothing_is_applied_while_the_effect_of_another_one_is_awaited() {
    let under_way = tried(RemedyKind::Compact, None, 3, None);
    let advice = advised("memory_full", Level::Safe, &[under_way]);
    assert_eq!(advice[0].1, Advice::Advise(Reason::EffectAwaited));
    // Whose time is over no longer holds anything up.
    let over = tried(RemedyKind::Compact, None, 60, None);
    assert_eq!(
        advised("memory_full", Level::Safe, &[over])[0].1,
        Advice::Apply
    );
}

#[test]
fn a_remedy_is_applied_as_often_as_its_row_says_and_on_each_part_by_itself() {
    let attempts = RemedyKind::RestartPart.row().attempts;
    let on = |part, count: u8, ago| -> List<Attempt> {
        let recovered = Some(Outcome::Recovered);
        (0..count)
            .map(|_| tried(RemedyKind::RestartPart, part, ago, recovered))
            .collect()
    };
    let first = |history: &[Attempt]| advised("task_panic", Level::Safe, history)[0].1;
    assert_eq!(first(&on(PART, attempts.times - 1, 1)), Advice::Apply);
    assert_eq!(
        first(&on(PART, attempts.times, 1)),
        Advice::Refuse(Reason::TooOften)
    );
    assert_eq!(
        first(&on(PART, attempts.times, attempts.within.as_secs())),
        Advice::Apply
    );
    assert_eq!(
        first(&on(Some(PartId(2)), attempts.times, 1)),
        Advice::Apply
    );
}

#[test]
fn a_level_allows_what_it_says_and_no_more() {
    for &remedy in RemedyKind::ALL {
        let row = remedy.row();
        assert!(
            !Level::AdviseOnly.allows(row) && Level::All.allows(row),
            "{}",
            row.name
        );
        let is_harmless = row.risk < Risk::High && row.destroys < Destroys::WritesSinceCheckpoint;
        assert_eq!(Level::Safe.allows(row), is_harmless, "{}", row.name);
    }
    assert!(!Level::Safe.allows(RemedyKind::WarmReboot.row()));
    let first = |level| advised("text_bit_flip", level, &[])[0];
    assert_eq!(
        first(Level::Safe),
        (RemedyKind::WarmReboot, Advice::Advise(Reason::Level))
    );
    assert_eq!(first(Level::All), (RemedyKind::WarmReboot, Advice::Apply));
    for level in [Level::AdviseOnly, Level::Safe, Level::All] {
        assert_eq!(Level::of_name(level.name()), Some(level));
    }
    assert_eq!(
        (Level::of_name("none"), Level::default()),
        (None, Level::Safe)
    );
}

#[test]
fn what_a_remedy_needs_must_be_there() {
    let none = |_: Option<PartId>| Facts::NONE;
    let recommended = recommend(
        &diagnosis(&[("memory_full", 90)]),
        INCIDENT,
        Level::All,
        &none,
        &[],
        NOW,
    );
    assert_eq!(recommended[0].advice, Advice::Refuse(Reason::Precondition));
    assert_eq!(
        recommended[1].advice,
        Advice::Apply,
        "compaction needs nothing"
    );
}

#[test]
fn nothing_is_done_on_doubt() {
    let doubtful = diagnosis(&[("task_panic", 49), ("hang", 30)]);
    let recommended = recommend(&doubtful, INCIDENT, Level::All, &all_facts, &[], NOW);
    assert!(!recommended.is_empty());
    assert!(
        recommended
            .iter()
            .all(|known| known.advice == Advice::Advise(Reason::Doubtful))
    );
    for verdict in [Verdict::Healthy, Verdict::Unknown] {
        let none = Diagnosis {
            verdict,
            ..diagnosis(&[("task_panic", 90)])
        };
        assert!(recommend(&none, INCIDENT, Level::All, &all_facts, &[], NOW).is_empty());
    }
}

#[test]
fn a_remedy_against_two_causes_is_recommended_once() {
    let both = diagnosis(&[("task_panic", 90), ("hang", 80)]);
    let recommended = recommend(&both, INCIDENT, Level::All, &all_facts, &[], NOW);
    let restarts = recommended
        .iter()
        .filter(|known| known.remedy == RemedyKind::RestartPart);
    assert_eq!(restarts.count(), 1);
}
