//! Copies that are too short to be worth a call.

/// Copies `source` to `target`, as `copy_from_slice` does, for lengths that are mostly between 16 and 64
/// bytes: then without a call, by two pieces that may overlap.
///
/// # Panics
/// If they are not of one length.
#[inline(always)]
pub fn copy_short(target: &mut [u8], source: &[u8]) {
    assert_eq!(
        target.len(),
        source.len(),
        "a copy is as long as its source"
    );
    match source.len() {
        16..=32 => copy_ends::<16>(target, source),
        33..=64 => copy_ends::<32>(target, source),
        _ => target.copy_from_slice(source),
    }
}

/// Copies the first and the last `N` bytes; there are as many at least.
#[inline(always)]
fn copy_ends<const N: usize>(target: &mut [u8], source: &[u8]) {
    let last = source.len() - N;
    let (head, tail): ([u8; N], [u8; N]) = (array_at(source, 0), array_at(source, last));
    target[..N].copy_from_slice(&head);
    target[last..].copy_from_slice(&tail);
}

#[inline(always)]
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("so many are left at `at`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_length_is_copied_whole_and_nothing_beside_it() {
        let source: [u8; 100] = core::array::from_fn(|at| at as u8 + 1);
        for len in 0..=90 {
            let mut target = [0; 100];
            copy_short(&mut target[5..5 + len], &source[..len]);
            assert_eq!(target[5..5 + len], source[..len]);
            assert!(
                target[..5]
                    .iter()
                    .chain(&target[5 + len..])
                    .all(|&byte| byte == 0)
            );
        }
    }
}
