//! The Prometheus text encoder: exposition format 0.0.4 and OpenMetrics 1.0.
//!
//! Sources: the Prometheus "Exposition formats" page and the OpenMetrics 1.0 specification. Numbers are
//! written by integer arithmetic alone: nanoseconds become seconds with a decimal point, so no floating
//! point formatting runs in a scrape. A line is composed beside the page (`line`) and goes there as a whole.
//!
//! Always true: a family's HELP and TYPE come before its samples, and its samples stand together, because
//! only [`Encoder::family`] gives a [`Family`] to write them with.
//!
//! Limits: help texts and label words are the image's own and need no escaping (checked at build, and in debug
//! builds). A line longer than 1,024 bytes is refused, and the page with it.

mod heading;
mod line;
#[cfg(test)]
mod tests;

pub use heading::{Heading, heading};
pub(super) use line::Digits;

use super::{Histogram, LATENCY_BOUNDS_NS};
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use alloc::vec::Vec;
use heading::is_plain;
use line::{LINE_BYTES_MAX, Line};

/// The two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: counters' HELP and TYPE without `_total`, a closing `# EOF`.
    OpenMetrics,
}

/// The value of one label: from a closed set, as METRICS.md has it, so words are known for good.
#[derive(Clone, Copy, Debug)]
pub enum Label {
    /// A word without characters that need escaping.
    Word(&'static str),
    /// A number.
    Number(u64),
}

impl Label {
    /// False if the two may differ.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Word(word), Self::Word(other)) => core::ptr::eq(*word, *other),
            (Self::Number(number), Self::Number(other)) => number == other,
            _ => false,
        }
    }
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
    /// Longer than any time, `+Inf`; not for JSON, which has no such number.
    Forever,
}

/// The bounds of [`LATENCY_BOUNDS_NS`] in seconds, as Go's `%g` has them, and the last bucket's; OpenMetrics appends
/// `.0` to whole numbers ("Canonical Numbers"). Prometheus compares these strings, so both formats have the same.
const BUCKET_BOUNDS: [&str; LATENCY_BOUNDS_NS.len() + 1] = [
    "1e-06", "2.5e-06", "5e-06", "1e-05", "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005",
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
    "10", "+Inf",
];

/// Collects one page; memory that runs out is remembered and told by [`Encoder::finish`].
pub struct Encoder<'a> {
    /// What has been written, and room for more: all of it is initialised, so that writing is copying.
    page: &'a mut Vec<u8>,
    /// Bytes of the page that are written.
    len: usize,
    format: Format,
    outcome: Result<()>,
    line: Line,
}

/// One family being written; its samples follow its HELP and TYPE lines at once.
pub struct Family<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    name: &'static str,
    opening: Opening,
}

/// What of the line before can stand in the next one: the start, up to the value of its first label, and if that is the
/// same up to the value of its second. A key is empty where there is nothing.
#[derive(Clone, Copy)]
struct Opening {
    key: &'static str,
    value_at: usize,
    value: Label,
    next_key: &'static str,
    next_at: usize,
}

impl Opening {
    const NONE: Self = Self {
        key: "",
        value_at: 0,
        value: Label::Number(0),
        next_key: "",
        next_at: 0,
    };
}

impl<'a> Encoder<'a> {
    /// Starts a page at the end of `page`.
    pub fn new(page: &'a mut Vec<u8>, format: Format) -> Self {
        let len = page.len();
        page.resize_reserved(page.capacity(), 0);
        Self {
            page,
            len,
            format,
            outcome: Ok(()),
            line: Line::new(),
        }
    }

    /// Writes the HELP and TYPE lines of a family and returns it for its samples.
    #[inline(never)]
    pub fn family<'e>(&'e mut self, heading: &'static Heading) -> Family<'e, 'a> {
        let name = heading.name();
        match self.format {
            Format::Text => self.put_pieces(&[heading.text]),
            Format::OpenMetrics => {
                let shown = name.strip_suffix("_total").unwrap_or(name);
                let (middle, end) = heading.middle_and_end();
                self.put_pieces(&[heading::START, shown, middle, shown, end]);
            }
        }
        Family {
            encoder: self,
            name,
            opening: Opening::NONE,
        }
    }

    /// Writes a counter family without labels.
    #[inline(never)]
    pub fn counter(&mut self, heading: &'static Heading, value: u64) {
        self.family(heading).sample(&[], Value::Whole(value));
    }

    /// Writes a gauge family without labels.
    #[inline(never)]
    pub fn gauge(&mut self, heading: &'static Heading, value: Value) {
        self.family(heading).sample(&[], value);
    }

    /// Writes a histogram family without labels.
    pub fn histogram(&mut self, heading: &'static Heading, histogram: &Histogram) {
        self.family(heading).histogram(histogram);
    }

    /// Ends the page.
    ///
    /// # Errors
    /// `OutOfMemory` if the page could not hold it all; what it holds then is to be thrown away.
    pub fn finish(mut self) -> Result<()> {
        if self.format == Format::OpenMetrics {
            self.put_pieces(&["# EOF\n"]);
        }
        core::mem::replace(&mut self.outcome, Ok(()))
    }

    #[inline(never)]
    fn put_pieces(&mut self, pieces: &[&str]) {
        let mut at = 0;
        for piece in pieces {
            at = self.line.put(at, piece.as_bytes());
        }
        self.put_line(at);
    }

    /// Ends the line, which is `at` bytes long by now, with `value`.
    #[inline(always)]
    fn end_line(&mut self, at: usize, value: Value) {
        let at = self.line.put_value(at, value);
        let len = self.line.put_array(at, b"\n");
        self.put_line(len);
    }

    /// Puts the first `len` bytes of the line on the page.
    #[inline(always)]
    fn put_line(&mut self, len: usize) {
        let room = self.page.get_mut(self.len..);
        match (
            room.and_then(|room| room.get_mut(..len)),
            self.line.get(len),
        ) {
            (Some(place), Some(line)) => {
                place.copy_from_slice(line);
                self.len += len;
            }
            _ => self.put_line_without_room(len),
        }
    }

    #[cold]
    #[inline(never)]
    fn put_line_without_room(&mut self, len: usize) {
        // What is only room need not be copied to a larger place.
        self.page.truncate(self.len);
        let outcome = match self.line.get(len) {
            Some(line) => self.page.try_reserve(len).map_err(Error::from).map(|()| {
                self.page.append_reserved(line);
                self.len = self.page.len();
                self.page.resize_reserved(self.page.capacity(), 0);
            }),
            None => Err(Error::new(
                Subsystem::Http,
                Kind::LimitReached {
                    what: "bytes in a line of metrics",
                    limit: LINE_BYTES_MAX as u64,
                },
            )),
        };
        // The first thing that went wrong is what is told.
        self.outcome = self.outcome.and(outcome);
    }
}

impl Drop for Encoder<'_> {
    /// Takes away what is only room.
    fn drop(&mut self) {
        self.page.truncate(self.len);
    }
}

impl Family<'_, '_> {
    /// Writes one sample.
    #[inline(never)]
    pub fn sample(&mut self, labels: &[(&'static str, Label)], value: Value) {
        let Some(((key, first), others)) = labels.split_first() else {
            return self.put_total(" ", value);
        };
        if !core::ptr::eq(self.opening.key, *key) {
            self.open(key);
        }
        let at = match others.split_first() {
            Some(((next_key, next), others)) => {
                let is_same = core::ptr::eq(self.opening.next_key, *next_key);
                if !is_same || !self.opening.value.is(first) {
                    self.open_further(first, next_key);
                }
                let at = put_label(&mut self.encoder.line, self.opening.next_at, next);
                match others {
                    [] => at,
                    _ => self.put_others(at, others),
                }
            }
            None => {
                self.opening.next_key = "";
                put_label(&mut self.encoder.line, self.opening.value_at, first)
            }
        };
        let at = self.encoder.line.put_array(at, b"\"} ");
        self.encoder.end_line(at, value);
    }

    /// Writes the buckets, sum and count of `histogram`.
    #[inline(never)]
    pub fn histogram(&mut self, histogram: &Histogram) {
        let buckets = histogram.buckets();
        let is_text = self.encoder.format == Format::Text;
        let start = self.restart("_bucket{le=\"");
        let (mut cumulative, mut digits) = (0, Digits::of(Value::Whole(0)));
        for (bound, count) in BUCKET_BOUNDS.iter().zip(buckets) {
            // Most buckets are empty.
            if count > 0 {
                cumulative += count;
                digits = Digits::of(Value::Whole(cumulative));
            }
            let line = &mut self.encoder.line;
            let mut at = line.put(start, bound.as_bytes());
            if !is_text && matches!(*bound, "1" | "5" | "10") {
                at = line.put_array(at, b".0");
            }
            at = line.put_array(at, b"\"} ");
            at = line.put_text(at, &digits);
            at = line.put_array(at, b"\n");
            self.encoder.put_line(at);
        }
        self.put_total("_sum ", Value::Nanos(histogram.sum_nanos()));
        self.put_total("_count ", Value::Whole(cumulative));
    }

    #[inline(never)]
    fn put_total(&mut self, suffix: &str, value: Value) {
        let at = self.restart(suffix);
        self.encoder.end_line(at, value);
    }

    /// Starts a line that has nothing in common with the one before; returns where it goes on.
    #[inline(never)]
    fn restart(&mut self, suffix: &str) -> usize {
        self.opening = Opening::NONE;
        let line = &mut self.encoder.line;
        let at = line.put(0, self.name.as_bytes());
        line.put(at, suffix.as_bytes())
    }

    /// Starts a line, up to the value of its first label.
    #[inline(never)]
    fn open(&mut self, key: &'static str) {
        let at = self.restart("{");
        self.opening.key = key;
        self.opening.value_at = put_key(&mut self.encoder.line, at, key);
    }

    /// Goes on with the value of the first label, up to that of the second.
    #[inline(never)]
    fn open_further(&mut self, value: &Label, next_key: &'static str) {
        let line = &mut self.encoder.line;
        let at = put_label(line, self.opening.value_at, value);
        let at = line.put_array(at, b"\",");
        self.opening.value = *value;
        self.opening.next_key = next_key;
        self.opening.next_at = put_key(line, at, next_key);
    }

    /// Writes the labels after the second.
    #[cold]
    fn put_others(&mut self, mut at: usize, others: &[(&'static str, Label)]) -> usize {
        let line = &mut self.encoder.line;
        for (key, label) in others {
            at = line.put_array(at, b"\",");
            at = put_key(line, at, key);
            at = put_label(line, at, label);
        }
        at
    }
}

fn put_key(line: &mut Line, at: usize, key: &str) -> usize {
    let at = line.put(at, key.as_bytes());
    line.put_array(at, b"=\"")
}

/// Writes a label's value, without the quote behind it.
#[inline(always)]
fn put_label(line: &mut Line, at: usize, label: &Label) -> usize {
    match *label {
        Label::Word(word) => {
            debug_assert!(is_plain(word, 0), "{word:?} needs escaping");
            line.put(at, word.as_bytes())
        }
        Label::Number(number) => line.put_value(at, Value::Whole(number)),
    }
}
