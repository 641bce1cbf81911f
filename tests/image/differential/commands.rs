//! The generator of commands: the string group, counters, keys and expiry, SELECT, and what is wrong with each.
//!
//! Keys are few, so that commands meet; values are what the string group tells apart: integers at their limits,
//! floats, text, bytes, nothing, pages. No key expires while the stream runs: a lifetime is over at once or
//! lasts for days, and no two of them are so near that the moment of the command decides.
//!
//! What clients, libraries and exporters ask of a server besides is in `server_commands`.

use super::server_commands;
use super::{Compare, shortened};
use crate::support::random::Random;

/// A command of the stream.
pub(crate) struct Issued {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) compare: Compare,
}

impl Issued {
    pub(crate) fn shown(&self) -> String {
        let word = |word: &Vec<u8>| match word.is_empty() {
            true => "\"\"".into(),
            false => word.escape_ascii().to_string(),
        };
        shortened(&self.words.iter().map(word).collect::<Vec<_>>().join(" "))
    }

    /// Whether keys are others' from here on.
    pub(crate) fn changes_database(&self) -> bool {
        ["SELECT", "FLUSHDB", "FLUSHALL", "SWAPDB"]
            .iter()
            .any(|name| self.words[0].eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Arguments of a command, by kind.
#[derive(Clone, Copy)]
pub(super) enum Word {
    /// This word.
    Is(&'static str),
    Key,
    Value,
    /// An integer: mostly small, sometimes at a limit, sometimes none at all.
    Integer,
    Float,
    /// An offset into a value: small, and sometimes refused.
    Offset,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Seconds that a key has to live.
    Seconds,
    Milliseconds,
    /// A moment, in seconds since 1970.
    Moment,
    MomentMilliseconds,
    Database,
    Pattern,
    /// One of these, or none.
    Option(&'static [&'static str]),
    /// EX, PX, EXAT or PXAT with its argument, or none.
    Lifetime,
    /// One to four keys.
    Keys,
    /// One to four keys, each with a value.
    Pairs,
}

use Word::*;

const CONDITIONS: &[&str] = &["NX", "XX", "GT", "LT", "nx"];

/// How often, what, and how replies are compared.
pub(super) type Row = (usize, &'static str, &'static [Word], Compare);

const ROWS: &[Row] = &[
    (12, "SET", &[Key, Value], Compare::Exactly),
    (
        8,
        "SET",
        &[
            Key,
            Value,
            Lifetime,
            Option(&["NX", "XX", "xx"]),
            Option(&["GET"]),
        ],
        Compare::Exactly,
    ),
    (
        3,
        "SET",
        &[
            Key,
            Value,
            Option(&["KEEPTTL", "GET", "NX"]),
            Option(&["KEEPTTL", "XX", "EX"]),
            Lifetime,
        ],
        Compare::Exactly,
    ),
    (10, "GET", &[Key], Compare::Exactly),
    (3, "SETNX", &[Key, Value], Compare::Exactly),
    (3, "SETEX", &[Key, Seconds, Value], Compare::Exactly),
    (3, "PSETEX", &[Key, Milliseconds, Value], Compare::Exactly),
    (3, "GETSET", &[Key, Value], Compare::Exactly),
    (3, "GETDEL", &[Key], Compare::Exactly),
    (5, "GETEX", &[Key, Lifetime], Compare::Exactly),
    (
        2,
        "GETEX",
        &[Key, Option(&["PERSIST", "EX", "KEEPTTL"]), Lifetime],
        Compare::Exactly,
    ),
    (4, "MGET", &[Keys], Compare::Exactly),
    (4, "MSET", &[Pairs], Compare::Exactly),
    (3, "MSETNX", &[Pairs], Compare::Exactly),
    (6, "APPEND", &[Key, Value], Compare::Exactly),
    (4, "STRLEN", &[Key], Compare::Exactly),
    (4, "GETRANGE", &[Key, Offset, Offset], Compare::Exactly),
    (2, "SUBSTR", &[Key, Offset, Offset], Compare::Exactly),
    (4, "SETRANGE", &[Key, Offset, Value], Compare::Exactly),
    (
        2,
        "LCS",
        &[Key, Key, Option(&["LEN", "IDX", "len"])],
        Compare::Exactly,
    ),
    (
        2,
        "LCS",
        &[
            Key,
            Key,
            Is("IDX"),
            Option(&["WITHMATCHLEN"]),
            Option(&["MINMATCHLEN", "LEN"]),
            Integer,
        ],
        Compare::Exactly,
    ),
    (6, "INCR", &[Key], Compare::Exactly),
    (4, "DECR", &[Key], Compare::Exactly),
    (5, "INCRBY", &[Key, Integer], Compare::Exactly),
    (5, "DECRBY", &[Key, Integer], Compare::Exactly),
    (5, "INCRBYFLOAT", &[Key, Float], Compare::Exactly),
    (4, "DEL", &[Keys], Compare::Exactly),
    (2, "UNLINK", &[Keys], Compare::Exactly),
    (3, "EXISTS", &[Keys], Compare::Exactly),
    (2, "TOUCH", &[Keys], Compare::Exactly),
    (
        4,
        "EXPIRE",
        &[Key, Seconds, Option(CONDITIONS)],
        Compare::Exactly,
    ),
    (
        2,
        "EXPIRE",
        &[Key, Seconds, Option(CONDITIONS), Option(CONDITIONS)],
        Compare::Exactly,
    ),
    (
        4,
        "PEXPIRE",
        &[Key, Milliseconds, Option(CONDITIONS)],
        Compare::Exactly,
    ),
    (
        4,
        "EXPIREAT",
        &[Key, Moment, Option(CONDITIONS)],
        Compare::Exactly,
    ),
    (
        4,
        "PEXPIREAT",
        &[Key, MomentMilliseconds, Option(CONDITIONS)],
        Compare::Exactly,
    ),
    (5, "TTL", &[Key], Compare::Within(1)),
    (4, "PTTL", &[Key], Compare::Within(1_500)),
    (3, "EXPIRETIME", &[Key], Compare::Within(1)),
    (3, "PEXPIRETIME", &[Key], Compare::Within(1_500)),
    (4, "PERSIST", &[Key], Compare::Exactly),
    (3, "RENAME", &[Key, Key], Compare::Exactly),
    (3, "RENAMENX", &[Key, Key], Compare::Exactly),
    (
        3,
        "COPY",
        &[Key, Key, Option(&["REPLACE", "replace", "DB"])],
        Compare::Exactly,
    ),
    (
        3,
        "COPY",
        &[Key, Key, Is("DB"), Database, Option(&["REPLACE"])],
        Compare::Exactly,
    ),
    (2, "MOVE", &[Key, Database], Compare::Exactly),
    (2, "TYPE", &[Key], Compare::Exactly),
    (2, "OBJECT", &[Is("ENCODING"), Key], Compare::Exactly),
    (2, "OBJECT", &[Is("REFCOUNT"), Key], Compare::Exactly),
    (
        1,
        "OBJECT",
        &[OneOf(&["FREQ", "freq", "IDLE\0TIME"]), Key],
        Compare::Exactly,
    ),
    (
        1,
        "OBJECT",
        &[Option(&["ENCODING", "FREQ", "NOTHING"])],
        Compare::Exactly,
    ),
    (2, "DBSIZE", &[], Compare::Exactly),
    (2, "KEYS", &[Pattern], Compare::AsSet),
    (
        1,
        "SCAN",
        &[Is("0"), Is("COUNT"), Is("1000000")],
        Compare::AsScan,
    ),
    (
        1,
        "SCAN",
        &[Is("0"), Is("MATCH"), Pattern, Is("COUNT"), Is("1000000")],
        Compare::AsScan,
    ),
    (
        1,
        "SCAN",
        &[
            Is("0"),
            Is("COUNT"),
            Is("1000000"),
            Is("TYPE"),
            Option(&["string", "hash", "String"]),
        ],
        Compare::AsScan,
    ),
    (
        1,
        "SCAN",
        &[Is("x"), Is("COUNT"), Option(&["0", "-5", "many"])],
        Compare::Exactly,
    ),
    (
        1,
        "SCAN",
        &[OneOf(&[
            "-",
            " 0",
            "0 ",
            "--1",
            "0x0",
            "18446744073709551616",
            "1e1",
        ])],
        Compare::Exactly,
    ),
    (
        1,
        "SCAN",
        &[
            OneOf(&["", "+0", "-0", "000", "0\0x"]),
            Is("COUNT"),
            Is("1000000"),
        ],
        Compare::AsScan,
    ),
    (3, "SELECT", &[Database], Compare::Exactly),
    (1, "SWAPDB", &[Database, Database], Compare::Exactly),
    (1, "ECHO", &[Value], Compare::Exactly),
    (1, "PING", &[Option(&["hello"])], Compare::Exactly),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(server_commands::ROWS)
}

/// Commands with words too few, too many, or none that is known: one in so many.
const MANGLED_ONE_IN: usize = 40;
/// A database is emptied once in so many commands: seldom enough that they fill.
const EMPTIED_ONE_IN: usize = 4_000;

pub(crate) struct Generator {
    random: Random,
    total: usize,
}

impl Generator {
    pub(crate) fn new(random: Random) -> Self {
        let total = rows().map(|row| row.0).sum();
        Self { random, total }
    }

    /// The next command.
    pub(crate) fn next(&mut self) -> Issued {
        if self.one_in(EMPTIED_ONE_IN) {
            let name = *self.pick(&["FLUSHDB", "FLUSHALL", "FLUSHDB SYNC", "FLUSHALL ASYNC"]);
            let words = name.split(' ').map(|word| word.as_bytes().to_vec());
            return Issued {
                words: words.collect(),
                compare: Compare::Exactly,
            };
        }
        let mut at = self.random.below(self.total);
        let row = rows().find(|row| {
            let here = at < row.0;
            at = at.wrapping_sub(row.0);
            here
        });
        let (_, name, kinds, compare) = *row.expect("the weights add up to the total");
        let mut words = vec![self.spelled(name)];
        for kind in kinds {
            self.push(*kind, &mut words);
        }
        let mut compare = compare;
        if self.one_in(MANGLED_ONE_IN) {
            self.mangle(&mut words);
            // COMMAND without its words lists what each server has.
            if server_commands::ROWS.iter().any(|row| row.1 == name) {
                compare = Compare::IfRefused;
            }
        }
        Issued { words, compare }
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.random.below(many) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.random.below(from.len())]
    }

    /// Names are taken in any case.
    fn spelled(&mut self, name: &str) -> Vec<u8> {
        match self.random.below(10) {
            0 => name.to_lowercase().into_bytes(),
            1 => {
                let mut name = name.to_lowercase().into_bytes();
                name[0].make_ascii_uppercase();
                name
            }
            _ => name.as_bytes().to_vec(),
        }
    }

    fn mangle(&mut self, words: &mut Vec<Vec<u8>>) {
        match self.random.below(4) {
            0 if words.len() > 1 => drop(words.pop()),
            0 | 1 => {
                // Redis quotes what it does not know up to the first NUL, and without line ends.
                let extra = self.random.below(1_000);
                let end = *self.pick(&["", "\0end", "\r\n", "\t\u{e9}"]);
                words.push(format!("extra {extra}{end}").into_bytes());
            }
            2 => words.truncate(1),
            // Behind a name a NUL is left out: whether Redis then finds the command is up to its hash's seed.
            _ if self.one_in(4) => words[0].insert(0, 0),
            _ => words[0].push(b'Q'),
        }
    }

    fn push(&mut self, kind: Word, words: &mut Vec<Vec<u8>>) {
        let word = match kind {
            Is(word) => word.into(),
            Key => self.key(),
            Value => self.value(),
            Integer => self.integer().into_bytes(),
            Float => self.float().into_bytes(),
            Offset => self.offset().into_bytes(),
            Seconds => self.lifetime(1).into_bytes(),
            Milliseconds => self.lifetime(1_000).into_bytes(),
            Moment => self.moment(1).into_bytes(),
            MomentMilliseconds => self.moment(1_000).into_bytes(),
            Database => self
                .pick(&["0", "0", "1", "1", "2", "15", "16", "-1", "x"])
                .as_bytes()
                .to_vec(),
            Pattern => self
                .pick(&[
                    "*", "k*", "k:1?", "k:[1-3]*", "*[^5]", "k:\\1", "h?llo", "", "*:*2*", "[k]:*",
                ])
                .as_bytes()
                .to_vec(),
            OneOf(words_of) => self.pick(words_of).as_bytes().to_vec(),
            Option(words_of) => match self.one_in(2) {
                true => self.pick(words_of).as_bytes().to_vec(),
                false => return,
            },
            Lifetime => {
                let (name, value) = match self.random.below(8) {
                    0 => ("EX", self.lifetime(1)),
                    1 => ("px", self.lifetime(1_000)),
                    2 => ("EXAT", self.moment_to_come(1)),
                    3 => ("PXAT", self.moment_to_come(1_000)),
                    _ => return,
                };
                words.push(name.into());
                value.into_bytes()
            }
            Keys => {
                for _ in 0..self.random.below(4) {
                    words.push(self.key());
                }
                self.key()
            }
            Pairs => {
                for _ in 0..self.random.below(4) {
                    words.push(self.key());
                    words.push(self.value());
                }
                words.push(self.key());
                self.value()
            }
        };
        words.push(word);
    }

    fn key(&mut self) -> Vec<u8> {
        match self.random.below(40) {
            0 => Vec::new(),
            1 => b"k \r\n\0\xff".to_vec(),
            2 => vec![b'k'; 300],
            _ => format!("k:{}", self.random.below(60)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(14) {
            0..4 => self.integer().into_bytes(),
            4 | 5 => self.float().into_bytes(),
            6 => Vec::new(),
            7 => {
                let length = self.random.below(64);
                self.random.bytes(length)
            }
            8 => {
                let length = 30 + self.random.below(30);
                vec![b'v'; length]
            }
            9 => {
                let length = self.random.below(3_000);
                (0..length).map(|n| b'a' + (n % 23) as u8).collect()
            }
            10 => self
                .pick(&[
                    " 12",
                    "12 ",
                    "+5",
                    "007",
                    "-0",
                    "1e3",
                    "inf",
                    "nan",
                    "-",
                    "3.0",
                    "\0",
                    "0x1f",
                    "0x.8p3",
                    "-infinity",
                    "1e4930",
                    "5\0",
                ])
                .as_bytes()
                .to_vec(),
            _ => format!("text {}", self.random.below(1_000)).into_bytes(),
        }
    }

    fn integer(&mut self) -> String {
        match self.random.below(12) {
            0 => (*self.pick(&[
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775808",
                "9223372036854775806",
                "-9223372036854775807",
                "10000",
                "9999",
                "x",
                "",
                "1.5",
                " 1",
                "+1",
                "01",
            ]))
            .into(),
            1 => (self.random.next() as i64).to_string(),
            _ => (self.random.below(2_000) as i64 - 500).to_string(),
        }
    }

    fn float(&mut self) -> String {
        match self.random.below(10) {
            0 => (*self.pick(&[
                "1e400",
                "nan",
                "inf",
                "-inf",
                "0",
                "-0.0",
                "5e-324",
                "1e17",
                "x",
                "",
                " 1.5",
                "3.0e3",
                "0.1",
                "123456789.123456789",
                "0x10",
                "-0X1.8p+2",
                "0x",
                "0xg",
                "0x.8p-3",
                "0x1p-16445",
                "0x1p-16446",
                "0x1.8p-16446",
                "0x1p99999",
                "1e-4950",
                "1e-4951",
                "1e4932",
                "-1e4932",
                "infinity",
                "nan(7)",
                "1.5 ",
                "1\0",
                "+.5",
                "5.e1",
                "1e+",
            ]))
            .into(),
            1..4 => (self.random.below(200) as i64 - 100).to_string(),
            _ => {
                let hundredths = self.random.below(200_000) as i64 - 100_000;
                format!("{:.2}", hundredths as f64 / 100.0)
            }
        }
    }

    fn offset(&mut self) -> String {
        match self.random.below(20) {
            0 => (*self.pick(&[
                "536870912",
                "-9223372036854775808",
                "9223372036854775807",
                "x",
                "-1",
                "0",
            ]))
            .into(),
            1..6 => (-(self.random.below(40) as i64)).to_string(),
            _ => self.random.below(100).to_string(),
        }
    }

    /// What a key has to live, in units of a second over `per_second`: days to decades, or what is over or refused.
    fn lifetime(&mut self, per_second: u64) -> String {
        match self.random.below(16) {
            0 => (*self.pick(&[
                "0",
                "-1",
                "-100",
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775",
                "x",
                "1.5",
                "",
            ]))
            .into(),
            _ => (self.seconds() * per_second + self.random.below(1_000) as u64 % per_second)
                .to_string(),
        }
    }

    fn moment(&mut self, per_second: u64) -> String {
        match self.random.below(16) {
            0 => (*self.pick(&[
                "0",
                "-1",
                "1",
                "1000000000",
                "9223372036854775807",
                "9223372036854775",
                "x",
            ]))
            .into(),
            _ => self.moment_to_come(per_second),
        }
    }

    /// Not for SET: a key that it makes with a lifetime in the past counts until somebody looks at it.
    fn moment_to_come(&mut self, per_second: u64) -> String {
        const YEAR_2033: u64 = 2_000_000_000;
        ((YEAR_2033 + self.seconds()) * per_second).to_string()
    }

    /// Between a day and thirty years.
    fn seconds(&mut self) -> u64 {
        86_400 + self.random.below(1_000_000_000) as u64
    }
}
