//! The zone cut in the middle of an operation: whichever of the words that it writes are written, and whichever
//! are not, a verification makes the zone whole.

use super::*;

impl Zone {
    /// Every word that an operation may write and a verification answers for.
    fn words(&mut self) -> Vec<&mut u64> {
        self.trees
            .as_flattened_mut()
            .iter_mut()
            .chain(self.sets.words_mut())
            .chain(self.counts.words_mut())
            .collect()
    }

    fn snapshot(&mut self) -> Vec<u64> {
        self.words().into_iter().map(|word| *word).collect()
    }
}

/// Leaves of what changed since `before` only some words, as `random` has it.
fn cut(zone: &mut Zone, before: &[u64], random: &mut Random) {
    let odds = 1 + random.below(9);
    for (word, &old) in zone.words().into_iter().zip(before) {
        if random.below(10) < odds {
            *word = old;
        }
    }
}

#[test]
fn an_operation_cut_at_any_of_its_writes_is_undone_or_done() {
    let mut random = Random::new(41);
    let mut bare = with_holes();
    let mut model = Model::new(&bare);
    let managed = bare.managed_frames();
    let mut rebuilt = 0;
    for step in 0..size(4_000, 4) {
        let wanted = order(random.below(8) as u8);
        let before = bare.zone.snapshot();
        if random.below(100) < 55 || model.blocks.is_empty() {
            // The block is on the way: the zone has handed it out and nobody has marked it.
            let was_open: Vec<_> = (0..5).map(|chunk| bare.owners.is_open(chunk)).collect();
            let mobility = [Mobility::Immovable, Mobility::Movable][random.below(2)];
            if random.below(2) == 0 {
                let _on_the_way = bare.zone.take(wanted, mobility);
            } else {
                let _on_the_way = bare
                    .zone
                    .take_pages(mobility, &mut [Pfn(0); 20], NOT_IN_HAND);
            }
            // A chunk is opened before the first of its trees' words is written.
            let opens = (0..5).any(|chunk| bare.owners.is_open(chunk) != was_open[chunk]);
            if !opens {
                cut(&mut bare.zone, &before, &mut random);
            }
        } else {
            let (first, order) = model.give_back(random.below(model.blocks.len()));
            bare.owners
                .release(first, order, Use::Block)
                .expect("a block in hand");
            bare.zone.give_back(first, order);
            cut(&mut bare.zone, &before, &mut random);
        }
        let verdict = bare.zone.verify();
        assert_ne!(verdict, Verdict::Lost);
        rebuilt += u32::from(verdict == Verdict::Rebuilt);
        assert_eq!(bare.check(), managed - model.owned_frames);
        bare.check_sets();
        assert_eq!(bare.zone.verify(), Verdict::Intact);
        if step % 256 == 0 {
            bare.check_frames(|frame| model.owned[(frame - model.base) as usize]);
        }
        if let Some(first) = bare.allocate(wanted) {
            model.take(first, wanted, Mobility::Immovable);
        }
    }
    assert!(rebuilt as usize > size(4_000, 4) / 2, "{rebuilt} were cut");
}

#[test]
fn blocks_in_hand_that_overlap_are_lost() {
    let mut bare = with_holes();
    let first = bare.allocate(order(3)).expect("memory");
    bare.owners
        .claim(Pfn(first.0 + 2), order(1), Use::Block, Owner::KERNEL);
    assert_eq!(bare.zone.verify(), Verdict::Lost);
}
