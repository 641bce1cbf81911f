//! Takes the NOPs out of a flattened device tree, in place.
//!
//! A loader that removes a node or a property may overwrite it with NOPs: QEMU does so with the memory nodes of a
//! tree that its user hands it. The `fdt` crate expects NOPs in few places: in others it stops looking, so that
//! a node is not found, or panics.
//!
//! Source: Devicetree Specification 0.4, section 5.4.1.

use super::validate::{BEGIN_NODE, END, NOP, PROP, word};
use crate::error::Result;

/// Closes the gaps in the structure block of a tree that passed [`super::validate::validate`]. The block keeps its
/// size; what is left behind its END has no meaning.
///
/// # Errors
/// `BadDeviceTree` if the tree never passed.
pub fn remove(tree: &mut [u8]) -> Result<()> {
    let start = word(tree, 8)? as usize;
    let (mut from, mut to) = (start, start);
    loop {
        let token = word(tree, from)?;
        let bytes = match token {
            NOP => {
                from += 4;
                continue;
            }
            BEGIN_NODE => {
                let name = tree[from + 4..].iter().take_while(|&&byte| byte != 0);
                4 + name.count() + 1
            }
            PROP => 12 + word(tree, from + 4)? as usize,
            _ => 4,
        };
        let bytes = bytes.next_multiple_of(4);
        if from != to {
            tree.copy_within(from..from + bytes, to);
        }
        if token == END {
            return Ok(());
        }
        from += bytes;
        to += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Machine;
    use super::super::test_tree::{Tree, virt};
    use super::super::validate::validate;
    use super::*;

    #[test]
    fn a_tree_without_nops_stays_as_it_is() {
        let mut tree = virt();
        remove(&mut tree).expect("the tree is sound");
        assert_eq!(tree, virt());
    }

    #[test]
    fn a_tree_with_nops_everywhere_reads_as_without() {
        let build = |nops: usize| {
            let mut tree = Tree::new();
            tree.nops(nops).begin("").nops(nops);
            tree.cells("#address-cells", &[2]).nops(nops);
            tree.cells("#size-cells", &[2]).nops(nops);
            tree.begin("aliases").nops(nops).text("gone", "").nops(nops);
            tree.text("other", "x").nops(nops).end().nops(nops);
            tree.begin("memory@40000000").nops(nops);
            tree.text("device_type", "memory").nops(nops);
            tree.cells("reg", &[0, 0x4000_0000, 0, 0x800_0000]);
            tree.nops(nops).end().nops(nops);
            tree.begin("chosen").nops(nops);
            tree.text("bootargs", "nos.log=debug").end().nops(nops);
            tree.end().nops(nops).finish()
        };
        let plain = build(0);
        let expected = Machine::read(&plain).expect("the tree is sound");
        for nops in [1, 2, 7] {
            let mut tree = build(nops);
            assert_eq!(validate(&tree), Ok(()));
            remove(&mut tree).expect("it passed");
            assert_eq!(validate(&tree), Ok(()));
            let machine = Machine::read(&tree).expect("the tree is sound");
            assert_eq!(machine.ram, expected.ram);
            assert_eq!(machine.boot_arguments, "nos.log=debug");
        }
    }
}
