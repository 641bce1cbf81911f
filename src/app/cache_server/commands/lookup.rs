//! Finds a command by its name, in any case, by comparing one number.

use super::{COMMAND_COUNT, COMMANDS};

/// Slots of the table that finds commands by name: a power of two with room for more rows.
const SLOTS: usize = 512;

/// What an empty slot holds.
const EMPTY: u8 = u8::MAX;

const _: () = assert!(COMMAND_COUNT < EMPTY as usize, "a slot holds a row");

/// The commands' names as numbers, by row.
static WORDS: [u128; COMMAND_COUNT] = {
    let mut words = [0; COMMAND_COUNT];
    let mut row = 0;
    while row < COMMAND_COUNT {
        let name = COMMANDS[row].name.as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX, "names fit their word");
        words[row] = word_of(name);
        row += 1;
    }
    words
};

/// Rows by the hash of their name; found by walking on from the hash.
static BY_NAME: [u8; SLOTS] = {
    let mut slots = [EMPTY; SLOTS];
    let mut row = 0;
    while row < COMMAND_COUNT {
        let mut slot = slot_of(word_of(COMMANDS[row].name.as_bytes()));
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = row as u8;
        row += 1;
    }
    slots
};

/// The longest name of a command.
const NAME_BYTES_MAX: usize = 16;

/// A name as a number: setting one bit makes capital letters small, and nothing else a letter.
#[inline]
const fn word_of(name: &[u8]) -> u128 {
    if name.len() <= 8 {
        let mut word = 0_u64;
        let mut at = 0;
        while at < name.len() {
            word = word << 8 | (name[at] | 0x20) as u64;
            at += 1;
        }
        return word as u128;
    }
    let mut word = 0_u128;
    let mut at = 0;
    while at < name.len() {
        word = word << 8 | (name[at] | 0x20) as u128;
        at += 1;
    }
    word
}

#[inline]
const fn slot_of(word: u128) -> usize {
    let folded = (word as u64) ^ (word >> 64) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize
}

/// The row of the command with that name, in any case.
#[inline(never)]
pub(crate) fn find(name: &[u8]) -> Option<u16> {
    find_inline(name)
}

/// [`find`] for each request: it becomes part of its run.
#[inline]
pub(super) fn find_inline(name: &[u8]) -> Option<u16> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let word = word_of(name);
    let mut slot = slot_of(word);
    loop {
        let row = BY_NAME[slot % SLOTS];
        let known = *WORDS.get(usize::from(row))?;
        if known == word {
            return Some(row.into());
        }
        slot += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for (row, command) in COMMANDS.iter().enumerate() {
            assert_eq!(find(command.name.as_bytes()), Some(row as u16));
            let upper = command.name.to_ascii_uppercase();
            assert_eq!(find(upper.as_bytes()), Some(row as u16));
        }
        for name in [
            "",
            "ge",
            "\0get",
            "gett",
            "nosuch",
            "client|list",
            "g\u{5}t",
        ] {
            assert_eq!(find(name.as_bytes()), None, "{name}");
        }
    }
}
