//! Checks a flattened device tree whole before anything reads it.
//!
//! The `fdt` crate panics on most malformed trees, and a tree comes from outside. What passes here has a
//! sound header, blocks inside the tree, balanced nodes, names and strings that end and are UTF-8,
//! properties inside the structure block, and cell counts a reader can work with. Nothing is copied.
//!
//! Source: Devicetree Specification 0.4, chapter 5.

use crate::error::{Error, Kind, Result, Subsystem};

const MAGIC: u32 = 0xd00d_feed;
const HEADER_BYTES: usize = 40;
pub(super) const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
pub(super) const NOP: u32 = 4;
pub(super) const END: u32 = 9;

/// Largest tree taken: the arm64 boot protocol allows 2 MiB.
pub const TREE_BYTES_MAX: usize = 2 << 20;
/// Deepest nesting of nodes taken; real trees stay below 10.
const DEPTH_MAX: usize = 32;

fn damaged(offset: usize, what: &'static str) -> Error {
    Error::new(
        Subsystem::Platform,
        Kind::BadDeviceTree {
            offset: offset as u32,
            what,
        },
    )
}

/// Reads the total size out of the first bytes of a tree.
///
/// # Errors
/// `BadDeviceTree` if there is no tree or it claims an impossible size.
pub fn total_size(header: &[u8]) -> Result<usize> {
    if word(header, 0)? != MAGIC {
        return Err(damaged(0, "no device tree magic"));
    }
    let size = word(header, 4)? as usize;
    if !(HEADER_BYTES..=TREE_BYTES_MAX).contains(&size) {
        return Err(damaged(4, "total size out of range"));
    }
    Ok(size)
}

/// Checks the whole tree; `tree` is exactly its total size long.
///
/// # Errors
/// `BadDeviceTree` with the offset of what is wrong.
pub fn validate(tree: &[u8]) -> Result<()> {
    if total_size(tree)? != tree.len() {
        return Err(damaged(4, "truncated"));
    }
    if word(tree, 20)? < 17 || word(tree, 24)? > 17 {
        return Err(damaged(20, "unsupported version"));
    }
    let block = |offset_at: usize, size_at: usize| -> Result<(usize, &[u8])> {
        let (offset, size) = (
            word(tree, offset_at)? as usize,
            word(tree, size_at)? as usize,
        );
        let bytes = offset
            .checked_add(size)
            .and_then(|end| tree.get(offset..end));
        Ok((
            offset,
            bytes.ok_or(damaged(offset_at, "a block lies outside the tree"))?,
        ))
    };
    let (structure_offset, structure) = block(8, 36)?;
    let (_, strings) = block(12, 32)?;
    if !structure_offset.is_multiple_of(4) {
        return Err(damaged(8, "misaligned structure block"));
    }
    check_reservations(tree, word(tree, 16)? as usize)?;
    Walk {
        tree: structure,
        base: structure_offset,
        at: 0,
        strings,
    }
    .check()
}

pub(super) fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_be_bytes).ok_or(damaged(at, "truncated"))
}

fn check_reservations(tree: &[u8], mut at: usize) -> Result<()> {
    if !at.is_multiple_of(8) {
        return Err(damaged(16, "misaligned reservation block"));
    }
    loop {
        let entry = tree
            .get(at..at + 16)
            .ok_or(damaged(at, "unending reservation block"))?;
        if entry.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        at += 16;
    }
}

/// A walk over the structure block.
struct Walk<'a> {
    tree: &'a [u8],
    base: usize,
    at: usize,
    strings: &'a [u8],
}

impl Walk<'_> {
    fn check(mut self) -> Result<()> {
        let mut depth = 0;
        let mut properties_may_follow = false;
        let mut root_seen = false;
        loop {
            let token_at = self.base + self.at;
            match self.token()? {
                BEGIN_NODE if depth == 0 && root_seen => {
                    return Err(damaged(token_at, "a second root"));
                }
                BEGIN_NODE if depth == DEPTH_MAX => {
                    return Err(damaged(token_at, "nested too deep"));
                }
                BEGIN_NODE => {
                    self.name()?;
                    depth += 1;
                    root_seen = true;
                    properties_may_follow = true;
                }
                PROP if !properties_may_follow => {
                    return Err(damaged(token_at, "a property outside the head of a node"));
                }
                PROP => self.property()?,
                END_NODE if depth == 0 => return Err(damaged(token_at, "an end without a node")),
                END_NODE => {
                    depth -= 1;
                    properties_may_follow = false;
                }
                NOP => {}
                END if depth == 0 && root_seen => return Ok(()),
                END => return Err(damaged(token_at, "the tree ends inside a node")),
                _ => return Err(damaged(token_at, "unknown token")),
            }
        }
    }

    fn token(&mut self) -> Result<u32> {
        let token =
            word(self.tree, self.at).map_err(|_| damaged(self.base + self.at, "truncated"))?;
        self.at += 4;
        Ok(token)
    }

    fn name(&mut self) -> Result<()> {
        let rest = self.tree.get(self.at..).unwrap_or_default();
        let name = text(rest).ok_or(damaged(self.base + self.at, "a node's name does not end"))?;
        self.at += (name.len() + 1).next_multiple_of(4);
        Ok(())
    }

    fn property(&mut self) -> Result<()> {
        let head_at = self.base + self.at;
        let length = self.token()? as usize;
        let name_at = self.token()? as usize;
        let name = self.strings.get(name_at..).and_then(text);
        let name = name.ok_or(damaged(
            head_at,
            "a property's name lies outside the strings",
        ))?;
        let value = self
            .at
            .checked_add(length)
            .and_then(|end| self.tree.get(self.at..end));
        let value = value.ok_or(damaged(head_at, "a property is longer than the tree"))?;
        if matches!(name, "#address-cells" | "#size-cells" | "#interrupt-cells")
            && !matches!(value, [0, 0, 0, 0..=4])
        {
            return Err(damaged(head_at, "a cell count that is no small number"));
        }
        self.at += length.next_multiple_of(4);
        Ok(())
    }
}

/// The text before the first NUL, if there is one and it is UTF-8.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    core::str::from_utf8(&bytes[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::super::nops;
    use super::super::test_tree::{Tree, virt};
    use super::*;

    #[test]
    fn a_well_formed_tree_passes() {
        assert_eq!(validate(&virt()), Ok(()));
    }

    #[test]
    fn every_truncation_is_refused() {
        let tree = virt();
        for length in 0..tree.len() {
            assert!(validate(&tree[..length]).is_err(), "{length} bytes passed");
        }
    }

    #[test]
    fn a_tree_that_ends_inside_a_node_is_refused_with_the_offset() {
        let mut tree = Tree::new();
        tree.begin("").begin("memory@0");
        let error = validate(&tree.finish()).expect_err("two nodes are open");
        assert!(matches!(
            error.kind(),
            Kind::BadDeviceTree {
                what: "the tree ends inside a node",
                ..
            }
        ));
    }

    #[test]
    fn no_single_changed_byte_makes_reading_panic() {
        let tree = virt();
        for at in 0..tree.len() {
            for value in [0x00, 0x01, 0x02, 0x03, 0x04, 0x7f, 0x80, 0xff] {
                let mut changed = tree.clone();
                changed[at] = value;
                if validate(&changed).is_ok() {
                    // What passes must be readable; what it then says may be refused.
                    nops::remove(&mut changed).expect("it passed");
                    let _ = super::super::Machine::read(&changed);
                }
            }
        }
    }

    #[test]
    fn random_changes_never_make_reading_panic() {
        let tree = virt();
        let seed = 0x6e6f_735f_6474_6231;
        let mut state: u64 = seed;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for round in 0..20_000 {
            let mut changed = tree.clone();
            for _ in 0..1 + random() % 6 {
                let at = random() % changed.len();
                changed[at] = random() as u8;
            }
            let outcome = std::panic::catch_unwind(move || {
                if validate(&changed).is_ok() {
                    nops::remove(&mut changed).expect("it passed");
                    let _ = super::super::Machine::read(&changed);
                }
            });
            assert!(outcome.is_ok(), "seed {seed:#x}, round {round}");
        }
    }
}
