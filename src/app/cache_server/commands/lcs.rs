//! LCS: the longest common subsequence of two strings, by the textbook table.

use super::Context;
use crate::app::cache_server::number::{integer, refused, refused_text};
use crate::app::cache_server::reply::Reply;
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::Touch;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Grow, Result};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// What is answered.
#[derive(Default)]
struct Options {
    len_only: bool,
    ranges: bool,
    with_len: bool,
    min_len: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut number = 3;
        while let Some(word) = args.get(number) {
            let is = |name: &str| word.is_word(name.as_bytes());
            if is("IDX") {
                options.ranges = true;
            } else if is("LEN") {
                options.len_only = true;
            } else if is("WITHMATCHLEN") {
                options.with_len = true;
            } else if is("MINMATCHLEN")
                && let Some(text) = args.get(number + 1)
            {
                options.min_len = usize::try_from(integer(text)?).unwrap_or(0);
                number += 1;
            } else {
                return Err(refused(CommandFault::Syntax));
            }
            number += 1;
        }
        if options.ranges && options.len_only {
            return Err(refused_text(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// Lengths of the longest common subsequences of all pairs of prefixes.
struct Lengths {
    table: Vec<u32>,
    width: usize,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8], bytes_max: u64) -> Result<Self> {
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width);
        let bytes = cells
            .and_then(|cells| cells.checked_mul(4))
            .map(|bytes| bytes as u64);
        let (Some(cells), Some(_)) = (cells, bytes.filter(|&bytes| bytes <= bytes_max)) else {
            return Err(refused_text(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            ));
        };
        let mut table = Vec::new();
        if table.try_reserve_exact(cells).is_err() {
            return Err(refused_text(
                "ERR Insufficient memory, failed allocating transient memory for LCS",
            ));
        }
        table.resize_reserved(cells, 0);
        let mut lengths = Self { table, width };
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths.table[i * width + j] = if a[i - 1] == b[j - 1] {
                    lengths.at(i - 1, j - 1) + 1
                } else {
                    lengths.at(i - 1, j).max(lengths.at(i, j - 1))
                };
            }
        }
        Ok(lengths)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.table[i * self.width + j]
    }

    /// Walks the subsequence from its end, calling `see` with the positions of each common byte.
    fn walk(&self, a: &[u8], b: &[u8], mut see: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                see(i, j);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }
}

type Match = (RangeInclusive<usize>, RangeInclusive<usize>);

/// The runs of the subsequence that are contiguous in both strings, the last first.
fn matches(lengths: &Lengths, a: &[u8], b: &[u8], min_len: usize) -> Result<Vec<Match>> {
    let mut found: Vec<Match> = Vec::new();
    found.try_reserve(a.len().min(b.len()))?;
    lengths.walk(a, b, |i, j| match found.last_mut() {
        Some((in_a, in_b)) if *in_a.start() == i + 1 && *in_b.start() == j + 1 => {
            *in_a = i..=*in_a.end();
            *in_b = j..=*in_b.end();
        }
        _ => found.push_reserved((i..=i, j..=j)),
    });
    found.retain(|(in_a, _)| in_a.end() - in_a.start() + 1 >= min_len);
    Ok(found)
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`
pub(super) fn lcs(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let options = Options::parse(args)?;
    let a = value_of(context, args.at(1))?;
    let b = value_of(context, args.at(2))?;
    let lengths = Lengths::of(&a, &b, context.server.config.bulk_bytes_max)?;
    let len = lengths.at(a.len(), b.len()) as usize;
    let reply = &mut context.reply;
    if options.len_only {
        reply.count(len);
    } else if options.ranges {
        write_ranges(
            reply,
            &matches(&lengths, &a, &b, options.min_len)?,
            len,
            options.with_len,
        );
    } else {
        let mut common = Vec::new();
        common.try_reserve_exact(len)?;
        lengths.walk(&a, &b, |i, _| common.push_reserved(a[i]));
        common.reverse();
        reply.bulk(&common);
    }
    Ok(())
}

fn write_ranges(reply: &mut Reply<'_>, found: &[Match], len: usize, with_len: bool) {
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(found.len());
    for (in_a, in_b) in found {
        reply.array(2 + usize::from(with_len));
        for range in [in_a, in_b] {
            reply.array(2);
            reply.count(*range.start());
            reply.count(*range.end());
        }
        if with_len {
            reply.count(in_a.end() - in_a.start() + 1);
        }
    }
    reply.bulk(b"len");
    reply.count(len);
}

/// A copy of a value; empty for a missing key.
fn value_of(context: &mut Context<'_>, key: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    if let Some(value) = context
        .server
        .read(context.session.database, key, Touch::Use)
    {
        copy.try_reserve_exact(value.bytes.len())?;
        copy.append_reserved(value.bytes);
    }
    Ok(copy)
}
