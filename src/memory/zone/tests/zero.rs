//! Marks of zero frames against a plain model: they are there as long as nobody has had the frame, and no longer.

use super::*;
use crate::memory::test_support::steps;
use std::collections::BTreeSet;

/// What the map knows of a block that the zone has given out.
fn known(bare: &Bare, first: Pfn, order: Order) -> Vec<u64> {
    let mut known = owners::KnownZero::NONE;
    bare.owners.note_known(first, order, &mut known);
    let known = (0..order.frames()).filter(|&place| known.is_known(place as usize));
    known.map(|place| first.0 + place).collect()
}

#[test]
fn a_frame_is_known_to_be_zero_from_when_that_is_said_until_it_is_taken() {
    let mut random = Random::new(19);
    let mut bare = with_holes();
    let mut zero = BTreeSet::new();
    let mut held: Vec<(Pfn, Order)> = Vec::new();
    let mut seen = 0;
    for step in 0..steps(20_000) {
        let wanted = order(match random.below(10) {
            0 => random.below(Order::COUNT),
            _ => random.below(4),
        } as u8);
        let mobility = [Mobility::Immovable, Mobility::Movable][random.below(2)];
        match random.below(9) {
            0..4 => {
                let Some(first) = bare.zone.take(wanted, mobility) else {
                    continue;
                };
                let found = known(&bare, first, wanted);
                let frames = first.0..first.0 + wanted.frames();
                assert!(zero.range(frames.clone()).eq(&found), "step {step}");
                seen += found.len();
                zero.retain(|frame| !frames.contains(frame));
                bare.owners.claim(first, wanted, Use::Block, Owner::KERNEL);
                held.push((first, wanted));
            }
            4 => {
                for page in bare.allocate_pages(mobility, 1 + random.below(40)) {
                    zero.remove(&page.0);
                    held.push((page, Order::ZERO));
                }
            }
            _ if !held.is_empty() => {
                let (first, order) = held.swap_remove(random.below(held.len()));
                bare.owners
                    .release(first, order, Use::Block)
                    .expect("a block in hand");
                if random.below(2) == 0 {
                    bare.owners.note_zero(first, order);
                    zero.extend(first.0..first.0 + order.frames());
                }
                bare.zone.give_back(first, order);
            }
            _ => {}
        }
        if step % 1_024 == 0 {
            assert_eq!(bare.zone.verify(), Verdict::Intact, "marks are no damage");
        }
    }
    assert!(seen >= steps(20_000) / 20, "{seen} frames were known");
}

#[test]
fn what_says_that_a_frame_in_hand_is_zero_is_wiped() {
    let mut bare = with_holes();
    let first = bare.allocate(order(4)).expect("memory");
    let second = Pfn(first.0 + 1);
    bare.owners.note_zero(second, Order::ZERO);
    assert_eq!(bare.zone.verify(), Verdict::Intact);
    bare.free(first, order(4)).expect("a block in hand");
    assert_eq!(bare.zone.take(order(4), Mobility::Immovable), Some(first));
    assert_eq!(known(&bare, first, order(4)), []);
}
