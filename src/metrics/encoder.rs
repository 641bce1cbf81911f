//! The Prometheus text encoder: exposition format 0.0.4 and OpenMetrics 1.0.
//!
//! Sources: the Prometheus "Exposition formats" page and the OpenMetrics 1.0 specification. Numbers are
//! written by integer arithmetic alone: nanoseconds become seconds with a decimal point, so no floating
//! point formatting runs in a scrape.

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
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Nanoseconds, shown in seconds.
    Nanos(u64),
    /// Parts in a million, shown as a ratio 0..1.
    Millionths(u64),
}

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
}

impl<'a> Encoder<'a> {
    /// Starts a page at the end of `page`.
    pub fn new(page: &'a mut Vec<u8>, format: Format) -> Self {
        Self { page, format, outcome: Ok(()) }
    }

    /// Writes the HELP and TYPE lines of a family and returns it for its samples.
    pub fn family<'e>(
        &'e mut self,
        name: &'static str,
        kind: FamilyKind,
        help: &'static str,
    ) -> Family<'e, 'a> {
        let shown = match self.format {
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Format::Text => name,
        };
        let kind = match kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        for part in ["# HELP ", shown, " ", help, "\n# TYPE ", shown, " ", kind, "\n"] {
            self.put(part);
        }
        Family { encoder: self, name }
    }

    /// Writes a counter family without labels.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.family(name, FamilyKind::Counter, help).sample(&[], Value::Whole(value));
    }

    /// Writes a gauge family without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: Value) {
        self.family(name, FamilyKind::Gauge, help).sample(&[], value);
    }

    /// Writes a histogram family without labels.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, histogram: &Histogram) {
        self.family(name, FamilyKind::Histogram, help).histogram(histogram);
    }

    /// Ends the page.
    ///
    /// # Errors
    /// `OutOfMemory` if the page could not hold it all; what it holds then is to be thrown away.
    pub fn finish(mut self) -> Result<()> {
        if self.format == Format::OpenMetrics {
            self.put("# EOF\n");
        }
        self.outcome
    }

    fn put(&mut self, text: &str) {
        if self.outcome.is_err() {
            return;
        }
        match self.page.try_reserve(text.len()) {
            Ok(()) => self.page.extend_from_slice(text.as_bytes()),
            Err(error) => self.outcome = Err(error.into()),
        }
    }

    fn put_number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number));
    }

    /// Writes `number / scale` with as many decimals as it takes; `scale` is a power of ten.
    fn put_scaled(&mut self, number: u64, scale: u64) {
        self.put_number(number / scale);
        let mut rest = number % scale;
        if rest == 0 {
            return;
        }
        self.put(".");
        let mut place = scale / 10;
        while rest != 0 {
            let digit = usize::try_from(rest / place).expect("a decimal digit");
            self.put(&"0123456789"[digit..=digit]);
            rest %= place;
            place /= 10;
        }
    }

    fn put_value(&mut self, value: Value) {
        match value {
            Value::Whole(number) => self.put_number(number),
            Value::Nanos(nanos) => self.put_scaled(nanos, NANOS_PER_SEC),
            Value::Millionths(parts) => self.put_scaled(parts, 1_000_000),
        }
        self.put("\n");
    }

    fn put_labels(&mut self, labels: &[(&'static str, Label<'_>)]) {
        for (i, (name, value)) in labels.iter().enumerate() {
            self.put(if i == 0 { "{" } else { "," });
            self.put(name);
            self.put("=\"");
            match value {
                Label::Word(word) => self.put(word),
                Label::Number(number) => self.put_number(*number),
            }
            self.put("\"");
        }
        if !labels.is_empty() {
            self.put("}");
        }
    }
}

impl Family<'_, '_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&'static str, Label<'_>)], value: Value) {
        self.encoder.put(self.name);
        self.encoder.put_labels(labels);
        self.encoder.put(" ");
        self.encoder.put_value(value);
    }

    /// Writes the buckets, sum and count of `histogram`.
    pub fn histogram(&mut self, histogram: &Histogram) {
        let buckets = histogram.buckets();
        let mut cumulative = 0;
        for (&bound, count) in LATENCY_BOUNDS_NS.iter().zip(buckets) {
            cumulative += count;
            self.encoder.put(self.name);
            self.encoder.put("_bucket{le=\"");
            self.encoder.put_scaled(bound, NANOS_PER_SEC);
            if self.encoder.format == Format::OpenMetrics && bound % NANOS_PER_SEC == 0 {
                // OpenMetrics: a bucket's bound is a float in its canonical form.
                self.encoder.put(".0");
            }
            self.encoder.put("\"} ");
            self.encoder.put_value(Value::Whole(cumulative));
        }
        cumulative += buckets[LATENCY_BOUNDS_NS.len()];
        for (suffix, value) in [
            ("_bucket{le=\"+Inf\"} ", Value::Whole(cumulative)),
            ("_sum ", Value::Nanos(histogram.sum_nanos())),
            ("_count ", Value::Whole(cumulative)),
        ] {
            self.encoder.put(self.name);
            self.encoder.put(suffix);
            self.encoder.put_value(value);
        }
    }
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
            family.sample(&[("cpu", Label::Number(0)), ("mode", Label::Word("idle"))], Value::Whole(7));
        });
        assert_eq!(
            text,
            "# HELP nos_x_total What x is.\n# TYPE nos_x_total counter\nnos_x_total{cpu=\"0\",mode=\"idle\"} 7\n"
        );
    }

    #[test]
    fn open_metrics_names_a_counter_family_without_total_and_ends_with_eof() {
        let text = page(Format::OpenMetrics, |page| page.counter("nos_x_total", "X.", 1));
        assert_eq!(text, "# HELP nos_x X.\n# TYPE nos_x counter\nnos_x_total 1\n# EOF\n");
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
        let text = page(Format::Text, |page| page.histogram("nos_h_seconds", "H.", &histogram));
        assert!(text.contains("nos_h_seconds_bucket{le=\"0.000001\"} 1\n"), "{text}");
        assert!(text.contains("nos_h_seconds_bucket{le=\"10\"} 1\n"), "{text}");
        assert!(text.contains("nos_h_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.ends_with("nos_h_seconds_sum 20.0000005\nnos_h_seconds_count 2\n"), "{text}");
    }
}
