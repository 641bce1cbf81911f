//! The Prometheus text encoder: exposition format 0.0.4 and OpenMetrics 1.0.
//!
//! Sources: the Prometheus "Exposition formats" page and the OpenMetrics 1.0 specification. Numbers are
//! written by integer arithmetic alone: nanoseconds become seconds with a decimal point, so no floating
//! point formatting runs in a scrape. A line is composed in memory reserved for it as a whole.
//!
//! Always true: a family's HELP and TYPE come before its samples, and its samples stand together, because
//! only [`Encoder::family`] gives a [`Family`] to write them with.
//!
//! Limits: help texts and label words are the image's own and need no escaping (checked in debug builds).

use super::{Histogram, LATENCY_BOUNDS_NS};
use crate::error::Result;
use crate::platform::time::NANOS_PER_SEC;
use alloc::vec::Vec;

/// The two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: counters' HELP and TYPE without `_total`, a closing `# EOF`.
    OpenMetrics,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
}

/// The value of one label; the closed sets of METRICS.md are words or small numbers.
#[derive(Clone, Copy, Debug)]
pub enum Label<'a> {
    /// A word without characters that need escaping.
    Word(&'a str),
    /// A number.
    Number(u64),
}

/// The value of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Nanoseconds, shown in seconds.
    Nanos(u64),
    /// Parts in a million, shown as a ratio 0..1.
    Millionths(u64),
}

/// Room for a line with a sample, in bytes: several times the longest in METRICS.md. A longer one is written
/// as well, but would end the image should memory run out in the middle of it.
const LINE_BYTES_MAX: usize = 512;
/// Most bytes a value takes: 20 digits, a point.
pub(super) const VALUE_BYTES_MAX: usize = 24;

/// The bounds of [`LATENCY_BOUNDS_NS`] in seconds, as Go's `%g` has them; OpenMetrics appends `.0` to whole
/// numbers ("Canonical Numbers"). Prometheus compares these strings, so both formats have the same.
const LATENCY_BOUNDS_TEXT: [&str; LATENCY_BOUNDS_NS.len()] = [
    "1e-06", "2.5e-06", "5e-06", "1e-05", "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005",
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
    "10",
];

/// Collects one page; memory that runs out is remembered and told by [`Encoder::finish`].
pub struct Encoder<'a> {
    page: &'a mut Vec<u8>,
    format: Format,
    outcome: Result<()>,
}

/// One family being written; its samples follow its HELP and TYPE lines at once.
pub struct Family<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    name: &'static str,
    opening: Option<Opening>,
}

/// Where a line of this family starts, on the page: the next line most often starts with the same bytes, up
/// to the value of its first label, and one copy of them is cheaper than to compose them again.
#[derive(Clone, Copy)]
struct Opening {
    key: &'static str,
    start: usize,
    end: usize,
}

impl<'a> Encoder<'a> {
    /// Starts a page at the end of `page`.
    pub fn new(page: &'a mut Vec<u8>, format: Format) -> Self {
        Self {
            page,
            format,
            outcome: Ok(()),
        }
    }

    /// Writes the HELP and TYPE lines of a family and returns it for its samples.
    pub fn family<'e>(
        &'e mut self,
        name: &'static str,
        kind: FamilyKind,
        help: &'static str,
    ) -> Family<'e, 'a> {
        debug_assert!(is_plain(help), "{help:?} needs escaping");
        debug_assert_eq!(
            name.ends_with("_total"),
            kind == FamilyKind::Counter,
            "{name}"
        );
        let shown = match self.format {
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Format::Text => name,
        };
        let kind = match kind {
            FamilyKind::Counter => " counter\n",
            FamilyKind::Gauge => " gauge\n",
            FamilyKind::Histogram => " histogram\n",
        };
        self.put_all(&["# HELP ", shown, " ", help, "\n# TYPE ", shown, kind]);
        Family {
            encoder: self,
            name,
            opening: None,
        }
    }

    /// Writes a counter family without labels.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.family(name, FamilyKind::Counter, help)
            .sample(&[], Value::Whole(value));
    }

    /// Writes a gauge family without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: Value) {
        self.family(name, FamilyKind::Gauge, help)
            .sample(&[], value);
    }

    /// Writes a histogram family without labels.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, histogram: &Histogram) {
        self.family(name, FamilyKind::Histogram, help)
            .histogram(histogram);
    }

    /// Ends the page.
    ///
    /// # Errors
    /// `OutOfMemory` if the page could not hold it all; what it holds then is to be thrown away.
    pub fn finish(mut self) -> Result<()> {
        if self.format == Format::OpenMetrics {
            self.put_all(&["# EOF\n"]);
        }
        self.outcome
    }

    /// Makes room for `len` bytes; false if there is none, now or before.
    fn has_room(&mut self, len: usize) -> bool {
        if self.outcome.is_ok()
            && self.page.capacity() - self.page.len() < len
            && let Err(error) = self.page.try_reserve(len)
        {
            self.outcome = Err(error.into());
        }
        self.outcome.is_ok()
    }

    fn put_all(&mut self, pieces: &[&str]) {
        if self.has_room(pieces.iter().map(|piece| piece.len()).sum()) {
            for piece in pieces {
                self.page.extend_from_slice(piece.as_bytes());
            }
        }
    }

    /// Ends a line for which there is room.
    fn put_rest_of_line(&mut self, value: Value) {
        self.page.push(b' ');
        put_value(self.page, value);
        self.page.push(b'\n');
    }
}

impl Family<'_, '_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&'static str, Label<'_>)], value: Value) {
        if !self.encoder.has_room(LINE_BYTES_MAX) {
            return;
        }
        if let [(key, first), others @ ..] = labels {
            self.open_line("", key);
            self.put_label(first);
            for (key, label) in others {
                self.encoder.page.push(b',');
                self.encoder.page.extend_from_slice(key.as_bytes());
                self.encoder.page.extend_from_slice(b"=\"");
                self.put_label(label);
            }
            self.encoder.page.push(b'}');
        } else {
            self.encoder.page.extend_from_slice(self.name.as_bytes());
        }
        self.encoder.put_rest_of_line(value);
    }

    /// Writes the buckets, sum and count of `histogram`.
    pub fn histogram(&mut self, histogram: &Histogram) {
        let buckets = histogram.buckets();
        let mut cumulative = 0;
        let bounds = LATENCY_BOUNDS_NS.iter().zip(LATENCY_BOUNDS_TEXT);
        for ((&bound, text), count) in bounds.zip(buckets) {
            cumulative += count;
            let is_canonical = self.encoder.format == Format::Text || bound % NANOS_PER_SEC != 0;
            let text = match (is_canonical, text) {
                (false, "1") => "1.0",
                (false, "5") => "5.0",
                (false, "10") => "10.0",
                _ => text,
            };
            self.put_bucket(text, cumulative);
        }
        cumulative += buckets[LATENCY_BOUNDS_NS.len()];
        self.put_bucket("+Inf", cumulative);
        self.put_total("_sum", Value::Nanos(histogram.sum_nanos()));
        self.put_total("_count", Value::Whole(cumulative));
    }

    fn put_bucket(&mut self, bound: &str, cumulative: u64) {
        if self.encoder.has_room(LINE_BYTES_MAX) {
            self.open_line("_bucket", "le");
            self.put_label(&Label::Word(bound));
            self.encoder.page.push(b'}');
            self.encoder.put_rest_of_line(Value::Whole(cumulative));
        }
    }

    fn put_total(&mut self, suffix: &str, value: Value) {
        if self.encoder.has_room(LINE_BYTES_MAX) {
            self.encoder.page.extend_from_slice(self.name.as_bytes());
            self.encoder.page.extend_from_slice(suffix.as_bytes());
            self.encoder.put_rest_of_line(value);
        }
    }

    /// Starts a line, up to the value of its first label.
    fn open_line(&mut self, suffix: &str, key: &'static str) {
        let page = &mut *self.encoder.page;
        match self.opening {
            Some(opening) if core::ptr::eq(opening.key, key) => {
                page.extend_from_within(opening.start..opening.end);
            }
            _ => {
                let start = page.len();
                for piece in [self.name, suffix, "{", key, "=\""] {
                    page.extend_from_slice(piece.as_bytes());
                }
                let end = page.len();
                self.opening = Some(Opening { key, start, end });
            }
        }
    }

    fn put_label(&mut self, label: &Label<'_>) {
        let page = &mut *self.encoder.page;
        match *label {
            Label::Word(word) => {
                debug_assert!(is_plain(word), "{word:?} needs escaping");
                page.extend_from_slice(word.as_bytes());
            }
            Label::Number(number) => put_whole(page, number),
        }
        page.push(b'"');
    }
}

/// Writes `value`, at most [`VALUE_BYTES_MAX`] bytes, with as many decimals as it takes.
pub(super) fn put_value(page: &mut Vec<u8>, value: Value) {
    match value {
        Value::Whole(number) => put_whole(page, number),
        Value::Nanos(nanos) => put_scaled(page, nanos, NANOS_PER_SEC),
        Value::Millionths(parts) => put_scaled(page, parts, 1_000_000),
    }
}

fn put_whole(page: &mut Vec<u8>, number: u64) {
    match number {
        // Most counters of most pages.
        0..=9 => page.push(b'0' + number as u8),
        _ => page.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// Writes `number / scale`; `scale` is a power of ten.
fn put_scaled(page: &mut Vec<u8>, number: u64, scale: u64) {
    put_whole(page, number / scale);
    let rest = number % scale;
    if rest != 0 {
        // The digit of `scale` itself keeps the zeros after the point, and makes room for the point.
        let start = page.len();
        put_whole(page, scale + rest);
        page[start] = b'.';
        while page.last() == Some(&b'0') {
            page.pop();
        }
    }
}

/// True if neither format escapes anything in `text`.
fn is_plain(text: &str) -> bool {
    !text
        .bytes()
        .any(|byte| matches!(byte, b'\\' | b'"' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn page(format: Format, write: impl FnOnce(&mut Encoder<'_>)) -> String {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, format);
        write(&mut encoder);
        encoder.finish().expect("the host has memory");
        String::from_utf8(bytes).expect("the encoder writes text")
    }

    #[test]
    fn a_family_is_help_type_and_its_samples() {
        let text = page(Format::Text, |page| {
            let mut family = page.family("nos_x_total", FamilyKind::Counter, "What x is.");
            family.sample(
                &[("cpu", Label::Number(0)), ("mode", Label::Word("idle"))],
                Value::Whole(7),
            );
        });
        assert_eq!(
            text,
            "# HELP nos_x_total What x is.\n# TYPE nos_x_total counter\nnos_x_total{cpu=\"0\",mode=\"idle\"} 7\n"
        );
    }

    #[test]
    fn open_metrics_names_a_counter_family_without_total_and_ends_with_eof() {
        let text = page(Format::OpenMetrics, |page| {
            page.counter("nos_x_total", "X.", 1)
        });
        assert_eq!(
            text,
            "# HELP nos_x X.\n# TYPE nos_x counter\nnos_x_total 1\n# EOF\n"
        );
    }

    #[test]
    fn nanoseconds_are_shown_in_seconds_without_trailing_zeros() {
        let text = page(Format::Text, |page| {
            page.gauge("nos_a", "A.", Value::Nanos(1_000_000_001));
            page.gauge("nos_b", "B.", Value::Nanos(2_500));
            page.gauge("nos_c", "C.", Value::Millionths(250_000));
        });
        assert!(text.contains("nos_a 1.000000001\n"), "{text}");
        assert!(text.contains("nos_b 0.0000025\n"), "{text}");
        assert!(text.contains("nos_c 0.25\n"), "{text}");
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_end_at_the_count() {
        let histogram = Histogram::new();
        histogram.observe_nanos(500);
        histogram.observe_nanos(20_000_000_000);
        let text = page(Format::Text, |page| {
            page.histogram("nos_h_seconds", "H.", &histogram)
        });
        assert!(
            text.contains("nos_h_seconds_bucket{le=\"1e-06\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("nos_h_seconds_bucket{le=\"10\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("nos_h_seconds_bucket{le=\"+Inf\"} 2\n"),
            "{text}"
        );
        assert!(
            text.ends_with("nos_h_seconds_sum 20.0000005\nnos_h_seconds_count 2\n"),
            "{text}"
        );
    }

    #[test]
    fn bounds_are_written_as_their_nanoseconds_are() {
        for (bound, text) in LATENCY_BOUNDS_NS.into_iter().zip(LATENCY_BOUNDS_TEXT) {
            let seconds: f64 = text.parse().expect("a number");
            assert_eq!((seconds * 1e9).round() as u64, bound, "{text}");
        }
    }

    #[test]
    fn open_metrics_writes_whole_bounds_as_the_floats_they_are() {
        let text = page(Format::OpenMetrics, |page| {
            page.histogram("nos_h_seconds", "H.", &Histogram::new());
        });
        for bound in ["1e-06", "0.0001", "1.0", "2.5", "5.0", "10.0", "+Inf"] {
            assert!(
                text.contains(&std::format!("_bucket{{le=\"{bound}\"}} 0\n")),
                "{bound} {text}"
            );
        }
    }

    #[test]
    fn values_keep_every_digit_to_their_largest() {
        for (value, expected) in [
            (Value::Whole(u64::MAX), "18446744073709551615"),
            (Value::Nanos(u64::MAX), "18446744073.709551615"),
            (Value::Nanos(1), "0.000000001"),
            (Value::Nanos(0), "0"),
            (Value::Nanos(10_000_000_000), "10"),
            (Value::Millionths(1_000_000), "1"),
            (Value::Millionths(1), "0.000001"),
        ] {
            let mut page = Vec::new();
            put_value(&mut page, value);
            assert_eq!(String::from_utf8(page).expect("text"), expected);
            assert!(expected.len() <= VALUE_BYTES_MAX);
        }
    }

    #[test]
    fn samples_with_other_first_labels_start_their_lines_anew() {
        let text = page(Format::Text, |page| {
            let mut family = page.family("nos_x", FamilyKind::Gauge, "X.");
            for (key, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 40), ("a", 5)] {
                family.sample(&[(key, Label::Number(number))], Value::Whole(number));
            }
            family.sample(&[], Value::Whole(6));
        });
        let samples = "nos_x{a=\"1\"} 1\nnos_x{a=\"2\"} 2\nnos_x{b=\"3\"} 3\nnos_x{b=\"40\"} 40\n\
                       nos_x{a=\"5\"} 5\nnos_x 6\n";
        assert!(text.ends_with(samples), "{text}");
    }
}
