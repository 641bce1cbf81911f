//! What the compiler made of the image where the source alone proves nothing: the barriers round the virtio
//! rings, and the first instructions. Read from `nos.debug` by the pinned toolchain's own llvm-objdump.

use crate::support::guest::image;
use crate::support::tools::{llvm, succeed};

/// Instructions between two that belong together: the compiler puts a few others between them.
const APART_MAX: usize = 10;

struct Instruction {
    /// `function+offset`, or as near as the listing says.
    place: String,
    mnemonic: String,
    operands: String,
}

impl Instruction {
    fn is_load(&self) -> bool {
        self.mnemonic.starts_with("ld")
    }

    fn is_store(&self) -> bool {
        self.mnemonic.starts_with("st")
    }

    fn is_full_barrier(&self) -> bool {
        self.mnemonic == "dmb" && self.operands == "ish"
    }

    /// An exclusive, or an atomic read-modify-write of ARMv8.1.
    fn is_exclusive(&self) -> bool {
        const STARTS: [&str; 9] = [
            "ldx", "ldax", "stx", "stlx", "cas", "swp", "ldadd", "ldset", "ldclr",
        ];
        STARTS.iter().any(|start| self.mnemonic.starts_with(start))
    }
}

fn disassembled(file: &str) -> Vec<Instruction> {
    let listing = succeed(
        llvm("objdump").args(["-d", "--no-show-raw-insn", "--demangle", file]),
        b"",
    );
    parse(&listing)
}

/// Reads `0000 <function>:` and `  address:  mnemonic  operands // comment`.
fn parse(listing: &str) -> Vec<Instruction> {
    let mut function = "";
    let mut instructions = Vec::new();
    for line in listing.lines() {
        if let Some((_, name)) = line
            .strip_suffix(">:")
            .and_then(|line| line.split_once(" <"))
        {
            function = name;
            continue;
        }
        let Some((address, rest)) = line.split_once(':') else {
            continue;
        };
        let mut words = rest.split("//").next().unwrap_or("").split_whitespace();
        let Some(mnemonic) = words.next() else {
            continue;
        };
        if !address.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) {
            continue;
        }
        instructions.push(Instruction {
            place: format!("{} in {function}", address.trim()),
            mnemonic: mnemonic.into(),
            operands: words.collect::<Vec<_>>().join(" "),
        });
    }
    instructions
}

/// What stands round the barriers of the rings.
#[derive(Debug, Default, PartialEq)]
struct Barriers {
    /// An available index stored with release, a full barrier, the device's flag loaded.
    published: usize,
    /// The driver's flag stored, a full barrier, the used index loaded with acquire.
    wished: usize,
    /// A word or byte of a CPU's ready set stored, and a full barrier before its bits are looked at.
    looked: usize,
    wrong: Vec<String>,
}

/// The rings are the only users of 16-bit releases; full barriers are theirs, and the ready sets' of the scheduler.
fn barriers(code: &[Instruction]) -> Barriers {
    let mut found = Barriers::default();
    for (at, instruction) in code.iter().enumerate() {
        let mut after = code[at + 1..].iter().take(APART_MAX);
        if instruction.mnemonic == "stlrh" {
            let ends = |next: &&Instruction| {
                next.is_load()
                    || next.mnemonic.starts_with(['b', 'c', 't'])
                    || next.is_full_barrier()
            };
            let is_fenced = after.find(ends).is_some_and(Instruction::is_full_barrier);
            if is_fenced && after.any(|next| next.mnemonic == "ldrh") {
                found.published += 1;
            } else {
                found.wrong.push(instruction.place.clone());
            }
        } else if instruction.is_full_barrier() {
            let mut before = code[..at].iter().rev().take(APART_MAX);
            let store = before.find(|earlier| earlier.is_store());
            let is_wish = store.is_some_and(|store| store.mnemonic == "strh");
            if is_wish && after.any(|next| next.mnemonic == "ldarh") {
                found.wished += 1;
            } else if store.is_some_and(|store| ["str", "strb"].contains(&store.mnemonic.as_str()))
            {
                found.looked += 1;
            } else if store.is_none_or(|store| store.mnemonic != "stlrh") {
                found.wrong.push(instruction.place.clone());
            }
        }
    }
    found
}

pub(crate) fn barriers_stand_round_every_index_of_the_rings() {
    let found = barriers(&disassembled(&image("nos.debug")));
    println!(
        "  {} publish, {} ask for interrupts",
        found.published, found.wished
    );
    assert_eq!(
        found.wrong,
        Vec::<String>::new(),
        "no barrier where one belongs"
    );
    // Received and sent frames each; the compiler copies them into their callers.
    assert!(found.looked >= 2, "a CPU sleeps without a fence");
    assert!(found.published >= 2, "indices are no longer published");
    assert!(found.wished >= 2, "interrupts are no longer asked for");
}

pub(crate) fn nothing_exclusive_runs_before_the_caches_are_on() {
    let code = disassembled(&image("nos.debug"));
    let first = |name: &str| {
        let named = |instruction: &Instruction| instruction.place.ends_with(name);
        code.iter()
            .position(named)
            .expect("the entry code has its names")
    };
    // The entry code of all CPUs lies together, in front of everything compiled.
    let entry = &code[first(" in primary_entry")..first(" in vectors")];
    assert!(entry.len() > 100, "{} instructions", entry.len());
    for instruction in entry {
        assert!(!instruction.is_exclusive(), "{}", instruction.place);
    }
}

pub(crate) fn missing_barriers_are_seen() {
    const PUBLISH: &str =
        "0 <f>:\n 0: stlrh w8, [x10]\n 4: dmb ish\n 8: ldrh w8, [x9, #0x1000]\n c: ret\n";
    const WISH: &str =
        "0 <f>:\n 0: strh wzr, [x8]\n 4: dmb ish\n 8: ldarh w8, [x9] // used\n c: ret\n";
    let count = |listing: &str| {
        let found = barriers(&parse(listing));
        (found.published, found.wished, found.wrong.len())
    };
    assert_eq!(count(PUBLISH), (1, 0, 0));
    assert_eq!(count(WISH), (0, 1, 0));
    let without = |listing: &str, line: &str| listing.replace(line, "");
    assert_eq!(count(&without(PUBLISH, " 4: dmb ish\n")), (0, 0, 1));
    assert_eq!(count(&without(WISH, " 4: dmb ish\n")), (0, 0, 0));
    assert_eq!(count(&PUBLISH.replace("stlrh", "strh")), (0, 0, 1));
    assert_eq!(count(&WISH.replace("ldarh", "ldrh")), (0, 0, 1));
    assert_eq!(count(&PUBLISH.replace("dmb ish", "dmb ishld")), (0, 0, 1));
}
