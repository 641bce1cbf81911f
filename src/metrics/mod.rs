//! Counter types that parts own, the [`Source`] trait by which they show them, and the text encoder.
//!
//! Every part owns its counters; nothing pushes and nothing is counted twice. A scrape walks the sources
//! in their fixed order and each writes its families once, HELP and TYPE first. Beside the text encoder stands
//! the JSON writer, for the pages that show more than numbers.

mod counters;
mod encoder;
mod json;
mod vitals;

pub use counters::{Counter, Gauge, Histogram, LATENCY_BOUNDS_NS};
pub use encoder::{Encoder, Family, Format, Heading, Label, Value, heading};
pub use json::Json;
pub use vitals::Vitals;

/// A part whose counters a scrape shows.
pub trait Source: Sync {
    /// Writes all families of this part, always the same ones in the same order.
    fn collect(&self, page: &mut Encoder<'_>);

    /// Writes those of its families that the usual exporters (of Redis, of a Linux node) have as well, under
    /// their names and with their labels, for dashboards made for those. Most parts have none.
    fn collect_compat(&self, _page: &mut Encoder<'_>) {}

    /// Puts into `vitals` what detectors look at of this part. Most parts have nothing there.
    fn vitals(&self, _vitals: &mut Vitals) {}
}

impl<S: Source + ?Sized> Source for &S {
    fn collect(&self, page: &mut Encoder<'_>) {
        (**self).collect(page);
    }

    fn collect_compat(&self, page: &mut Encoder<'_>) {
        (**self).collect_compat(page);
    }

    fn vitals(&self, vitals: &mut Vitals) {
        (**self).vitals(vitals);
    }
}
