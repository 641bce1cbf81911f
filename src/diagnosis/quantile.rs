//! Quantiles of samples: order statistics, which a few wild ones do not move.

/// The value below which that `share` of the samples lies, between neighbours in proportion; nothing of no samples.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = last as f64 * share;
    let below = place as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}
