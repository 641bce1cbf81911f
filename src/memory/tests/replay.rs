//! Plays a recorded trace of allocations again (`make trace-alloc`): the real page caches and the real zone, with a
//! page-cache policy for each run, and says how often the caches missed and how many pages they held.
//!
//! Each record happens on the CPU, for the owner and at the count of instructions that it names; an instruction is a
//! nanosecond, as in the guest. The CPU of a record looks after its cache as it does before it sleeps, the other when it
//! would be woken for that. Pages held are a mean over instructions, of both CPUs together. The CPUs count for
//! themselves: a CPU's first record is taken to happen when the record before it does.

mod load;

use super::super::frames::{FrameSource, Order, Pfn};
use super::super::local_cpu::LocalCpu;
use super::super::manager::MemoryManager;
use super::super::page_cache::PageCachePolicy;
use super::super::test_support::{HostCpu, manager, order, owner};
use load::Load;
use std::collections::HashMap;
use std::string::String;
use std::vec::Vec;
use std::{env, fs, println};

/// Memory of the machines that are traced.
const MEMORY_BYTES: usize = 512 << 20;
const CPUS: usize = 2;
/// Instructions after which pages held are looked at; at each record they hardly change.
const LOOK_EVERY: u64 = 10_000;
/// A tick of the host's clock is a microsecond.
const INSTRUCTIONS_A_TICK: u64 = 1_000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// Instructions since the first step.
    at: u64,
    cpu: usize,
    owner: u8,
    first: u64,
    order: Order,
    is_free: bool,
}

/// The steps that these words record; the table of their bits is in `trace.rs`.
fn steps_of(words: &[u64]) -> Vec<Step> {
    let mut now = 0;
    // What each CPU counted last, and when.
    let mut last = [None; 4];
    let step = |&word: &u64| {
        let bits = |low: u32, count: u32| word >> low & ((1 << count) - 1);
        let (count, cpu) = (bits(0, 32) as u32, bits(60, 2) as usize);
        let (before, at) = last[cpu].unwrap_or((count, now));
        let at = at + u64::from(count.wrapping_sub(before));
        last[cpu] = Some((count, at));
        // Another CPU may have counted its record before it was given its place.
        now = now.max(at);
        Step {
            at: now,
            cpu,
            owner: bits(56, 4) as u8,
            first: bits(32, 20),
            order: order(bits(52, 4) as u8),
            is_free: bits(63, 1) == 1,
        }
    };
    words.iter().map(step).collect()
}

/// What came of a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    allocations: u64,
    misses: u64,
    drains: u64,
    /// Instructions, and pages held in each of them, summed up.
    instructions: u64,
    page_instructions: u128,
}

impl Outcome {
    fn pages(&self) -> f64 {
        self.page_instructions as f64 / self.instructions.max(1) as f64
    }

    fn add(&mut self, other: &Self) {
        self.allocations += other.allocations;
        self.misses += other.misses;
        self.drains += other.drains;
        self.instructions += other.instructions;
        self.page_instructions += other.page_instructions;
    }
}

/// A machine on which a trace happens.
struct Player {
    manager: &'static MemoryManager<HostCpu>,
    /// Where the blocks are here that the trace knows by their frames.
    blocks: HashMap<u64, (Pfn, Order)>,
    looked_at: u64,
    /// When each CPU is woken for its cache, in ticks.
    wakes_at: [u64; CPUS],
}

impl Player {
    fn new(policy: PageCachePolicy) -> Self {
        Self {
            manager: manager(MEMORY_BYTES, &[], CPUS, policy),
            blocks: HashMap::new(),
            looked_at: 0,
            wakes_at: [u64::MAX; CPUS],
        }
    }

    /// Has each CPU look after its cache that would by now, when `running` does something.
    fn look(&mut self, running: usize) {
        for cpu in 0..CPUS {
            if cpu == running || HostCpu.ticks() >= self.wakes_at[cpu] {
                HostCpu::run_as(cpu);
                self.wakes_at[cpu] = self.manager.obey();
            }
        }
    }

    /// Presses all caches, and lets a second pass in which CPUs are woken for that alone.
    fn press_for_a_second(&mut self) {
        let begun = HostCpu.ticks();
        self.manager.press();
        for cpu in 0..CPUS {
            HostCpu::run_as(cpu);
            HostCpu::run_clock(begun, 0);
            // It is interrupted at once.
            let mut wakes_at = begun;
            while wakes_at < begun + 1_000_000 {
                HostCpu::run_clock(wakes_at, 0);
                wakes_at = self.manager.obey();
            }
        }
    }

    fn visits_and_pages(&self) -> (u64, u64, u64) {
        let stats = self.manager.cache_stats();
        stats.fold((0, 0, 0), |(misses, drains, pages), stats| {
            (
                misses + stats.misses,
                drains + stats.drains,
                pages + stats.pages,
            )
        })
    }

    /// Plays these steps, a phase.
    fn play(&mut self, steps: &[Step]) -> Outcome {
        let (misses, drains, mut pages) = self.visits_and_pages();
        let mut done = Outcome::default();
        for step in steps {
            if step.at - self.looked_at >= LOOK_EVERY {
                let passed = step.at - self.looked_at;
                done.instructions += passed;
                done.page_instructions += u128::from(passed) * u128::from(pages);
                self.look(step.cpu);
                pages = self.visits_and_pages().2;
                self.looked_at = step.at;
            }
            HostCpu::run_as(step.cpu);
            HostCpu::run_for(owner(step.owner));
            HostCpu::run_clock(step.at / INSTRUCTIONS_A_TICK, 0);
            if step.is_free {
                // What was given out before the record began is unknown.
                if let Some((first, order)) = self.blocks.remove(&step.first) {
                    self.manager.free(first, order).expect("it is in hand");
                }
            } else {
                // What a subsystem had that died goes back without a record: it is seen when it is given out again.
                if let Some((lost, order)) = self.blocks.remove(&step.first) {
                    self.manager.free(lost, order).expect("it is in hand");
                }
                let first = self.manager.allocate(step.order).expect("there is memory");
                self.blocks.insert(step.first, (first, step.order));
                done.allocations += 1;
            }
        }
        let after = self.visits_and_pages();
        done.misses = after.0 - misses;
        done.drains = after.1 - drains;
        done
    }
}

/// A trace, and where its phases begin.
struct Recorded {
    steps: Vec<Step>,
    phases: Vec<(String, usize)>,
}

impl Recorded {
    fn read(path: &str) -> Self {
        let bytes = fs::read(path).expect("the trace is there");
        let words = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&word| u64::from_le_bytes(word));
        let phases = fs::read_to_string(path.replace(".bin", ".phases"));
        let phases = phases.expect("its phases lie beside it");
        let phase = |line: &str| {
            let (name, first) = line.split_once(' ').expect("a name and a number");
            (name.into(), first.parse().expect("a number"))
        };
        Self {
            steps: steps_of(&words.collect::<Vec<_>>()),
            phases: phases.lines().map(phase).collect(),
        }
    }

    /// What came of each phase, and of all, for that policy; what is before the first phase is played as well.
    fn play(&self, policy: PageCachePolicy) -> Vec<(&str, Outcome)> {
        let mut player = Player::new(policy);
        player.play(&self.steps[..self.phases[0].1]);
        let mut all = Outcome::default();
        let mut outcomes = Vec::new();
        for (number, (name, begin)) in self.phases.iter().enumerate() {
            let next = self.phases.get(number + 1);
            let end = next.map_or(self.steps.len(), |&(_, begin)| begin);
            let outcome = player.play(&self.steps[*begin..end]);
            all.add(&outcome);
            outcomes.push((name.as_str(), outcome));
        }
        outcomes.push(("all", all));
        outcomes
    }
}

/// Caches of 64 pages for each class that stay as they are, with the image's batches.
const FIXED: PageCachePolicy = PageCachePolicy {
    memory_divisor: 1,
    ceiling_pages: 64,
    floor_blocks: [64, 32, 16, 64],
    floor_divisor: 1,
    period_ms: 0,
    ..PageCachePolicy::DEFAULT
};

/// The image's caches, but they stay at their floors: 64 pages and a few, that the classes in use share.
const FLOORS: PageCachePolicy = PageCachePolicy {
    memory_divisor: 1,
    ceiling_pages: 32,
    floor_divisor: 1,
    period_ms: 0,
    ..PageCachePolicy::DEFAULT
};

/// Plays it with the policy of the image and with others, tells what came of it, and holds the image's to the first of the
/// others: four fifths of its misses, and no more pages.
fn compare<const N: usize>(recorded: &Recorded, others: [(&str, PageCachePolicy); N]) {
    let mut runs = Vec::from(others);
    runs.push(("image", PageCachePolicy::DEFAULT));
    println!(
        "{:12} {:8} {:>12} {:>10} {:>10} {:>10} {:>14}",
        "phase", "policy", "allocations", "misses", "drains", "pages", "instructions"
    );
    let play = |(name, policy)| (name, recorded.play(policy));
    let mut outcomes: Vec<_> = runs.into_iter().map(play).collect();
    for phase in 0..=recorded.phases.len() {
        for (policy, outcomes) in &outcomes {
            let (name, outcome) = &outcomes[phase];
            println!(
                "{name:12} {policy:8} {:12} {:10} {:10} {:10.1} {:14}",
                outcome.allocations,
                outcome.misses,
                outcome.drains,
                outcome.pages(),
                outcome.instructions
            );
        }
    }
    let image = outcomes.pop().and_then(|(_, mut phases)| phases.pop());
    let image = image.expect("all of it").1;
    for (place, (name, mut phases)) in outcomes.into_iter().enumerate() {
        let other = phases.pop().expect("all of it").1;
        println!(
            "misses {:.1} %, pages {:.1} % of those of {name}",
            100.0 * image.misses as f64 / other.misses as f64,
            100.0 * image.pages() / other.pages()
        );
        if place == 0 {
            assert!(image.misses * 5 <= other.misses * 4, "{image:?} {other:?}");
            assert!(image.pages() <= other.pages(), "{image:?} {other:?}");
        }
    }
}

/// Has the image's caches pressed at the end of each phase of it, and holds them to give back 95 % within a second.
fn press(recorded: &Recorded) {
    let mut player = Player::new(PageCachePolicy::DEFAULT);
    let ends = recorded.phases.iter().skip(1).map(|&(_, begin)| begin);
    let mut begin = 0;
    let mut most = 0;
    for end in ends.chain([recorded.steps.len()]) {
        player.play(&recorded.steps[begin..end]);
        begin = end;
        let held = player.visits_and_pages().2;
        player.press_for_a_second();
        let left = player.visits_and_pages().2;
        println!("{held} pages, {left} a second after pressure");
        assert!(left * 20 <= held, "{left} of {held}");
        most = most.max(held);
    }
    assert!(most > 100, "{most}");
}

#[test]
#[ignore = "needs a trace: make trace-alloc"]
fn a_trace_misses_a_fifth_less_in_the_images_page_caches_than_in_fixed_ones() {
    let path = env::var("NOS_ALLOC_TRACE").expect("NOS_ALLOC_TRACE names a trace");
    let recorded = Recorded::read(&path);
    compare(&recorded, [("fixed", FIXED), ("floors", FLOORS)]);
    press(&recorded);
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes, and what it calls has its tests")]
fn a_load_made_from_a_seed_misses_a_fifth_less_in_the_images_page_caches_than_in_fixed_ones() {
    let (seeds, allocations) = match env::var_os("NOS_NIGHTLY") {
        Some(_) => (1..=3, 100_000),
        None => (1..=1, 30_000),
    };
    for seed in seeds {
        let recorded = Load::phases(seed, allocations);
        compare(&recorded, [("fixed", FIXED)]);
        press(&recorded);
    }
}

/// A record, as `trace.rs` makes it.
fn word(retired: u32, cpu: u64, owner: u64, first: u64, order: u64, is_free: bool) -> u64 {
    let fields = first << 32 | order << 52 | owner << 56 | cpu << 60;
    u64::from(retired) | fields | u64::from(is_free) << 63
}

#[test]
fn each_cpu_counts_for_itself_and_beyond_32_bits() {
    let words = [
        word(u32::MAX - 9, 0, 2, 5, 0, false),
        word(700, 1, 3, 6, 1, false),
        word(10, 0, 2, 5, 0, true),
        word(750, 1, 3, 6, 1, true),
    ];
    let at: Vec<_> = steps_of(&words).iter().map(|step| step.at).collect();
    assert_eq!(at, [0, 0, 20, 50]);
    let expected = Step {
        at: 50,
        cpu: 1,
        owner: 3,
        first: 6,
        order: order(1),
        is_free: true,
    };
    assert_eq!(steps_of(&words)[3], expected);
}

#[test]
fn a_replayed_burst_misses_less_in_a_larger_cache_which_holds_more() {
    let mut words = Vec::new();
    for _ in 0..20 {
        for (is_free, first) in [false, true]
            .into_iter()
            .flat_map(|is_free| (0..200).map(move |first| (is_free, first)))
        {
            let retired = 1_000 * words.len() as u32;
            words.push(word(retired, 0, 2, first, 0, is_free));
        }
    }
    let steps = steps_of(&words);
    let large = PageCachePolicy {
        ceiling_pages: 512,
        floor_blocks: [512, 32, 16, 64],
        ..FIXED
    };
    let [fixed, large] = [FIXED, large].map(|policy| Player::new(policy).play(&steps));
    assert_eq!((fixed.allocations, large.allocations), (4_000, 4_000));
    assert!(large.misses * 4 < fixed.misses, "{fixed:?} {large:?}");
    assert!(large.pages() > fixed.pages(), "{fixed:?} {large:?}");
    assert!(fixed.pages() <= 64.0, "{fixed:?}");
}
