//! SCAN and KEYS. Both look twice: once to count what the reply will hold, once to write it.

use super::Context;
use crate::app::cache_server::glob;
use crate::app::cache_server::number::{integer, refused};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::Store;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// Keys that one SCAN looks at unless told otherwise.
const DEFAULT_COUNT: i64 = 10;
/// Buckets looked at for each key asked for, at most, so that a sparse table does not hold a SCAN up.
const BUCKETS_PER_KEY: i64 = 10;

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub(super) fn scan(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let cursor = parse_cursor(args.at(1))?;
    let (mut pattern, mut count, mut is_string, mut number) = (&b"*"[..], DEFAULT_COUNT, true, 2);
    while let Some(word) = args.get(number) {
        let value = args.get(number + 1).ok_or(refused(CommandFault::Syntax))?;
        let is = |name: &str| word.is_word(name.as_bytes());
        if is("COUNT") {
            count = integer(value)?;
            if count < 1 {
                return Err(refused(CommandFault::Syntax));
            }
        } else if is("MATCH") {
            pattern = value;
        } else if is("TYPE") {
            is_string = value.is_word(b"string");
        } else {
            return Err(refused(CommandFault::Syntax));
        }
        number += 2;
    }
    let database = context.database();
    let shows = |key: &[u8]| is_string && glob::matches(pattern, key);
    let mut shown = 0;
    let store = &mut context.server.store;
    let next = walk(store, database, cursor, count, |key| {
        shown += usize::from(shows(key))
    });
    let reply = &mut context.reply;
    reply.array(2);
    reply.bulk_integer(i64::from(next));
    reply.array(shown);
    walk(store, database, cursor, count, |key| {
        if shows(key) {
            reply.bulk(key);
        }
    });
    Ok(())
}

/// Steps until about `count` keys were seen; returns the next cursor.
fn walk(
    store: &mut Store,
    database: usize,
    mut cursor: u32,
    count: i64,
    mut see: impl FnMut(&[u8]),
) -> u32 {
    let mut seen = 0;
    let mut buckets = 0;
    loop {
        cursor = store.scan(database, cursor, |key| {
            seen += 1;
            see(key);
        });
        buckets += 1;
        if cursor == 0 || seen >= count || buckets >= count.saturating_mul(BUCKETS_PER_KEY) {
            return cursor;
        }
    }
}

/// Reads a cursor as C's `strtoul` does: nothing is 0, a sign is taken, and a NUL is the end. A table uses
/// the low half.
fn parse_cursor(text: &[u8]) -> Result<u32> {
    let end = text.iter().position(|&byte| byte == 0);
    let text = &text[..end.unwrap_or(text.len())];
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    match number {
        Some(number) if !digits.is_empty() || text.is_empty() => {
            let number = if is_negative {
                number.wrapping_neg()
            } else {
                number
            };
            Ok(number as u32)
        }
        _ => Err(refused(CommandFault::InvalidCursor)),
    }
}

/// `KEYS pattern`
pub(super) fn keys(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (pattern, database) = (args.at(1), context.database());
    let mut count = 0;
    let store = &mut context.server.store;
    store.keys(database, |key| {
        count += usize::from(glob::matches(pattern, key))
    });
    let reply = &mut context.reply;
    reply.array(count);
    store.keys(database, |key| {
        if glob::matches(pattern, key) {
            reply.bulk(key);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_strtoul_reads_them() {
        for (text, cursor) in [
            ("", 0),
            ("0", 0),
            ("+7", 7),
            ("007", 7),
            ("-1", u32::MAX),
            ("-18446744073709551615", 1),
            ("18446744073709551615", u32::MAX),
            ("5\0x", 5),
            ("\0", 0),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()).ok(), Some(cursor), "{text:?}");
        }
        for text in [
            " 0",
            "0 ",
            "-",
            "+",
            "--1",
            "x",
            "0x1",
            "18446744073709551616",
        ] {
            assert!(parse_cursor(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
