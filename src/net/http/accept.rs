//! Which of the two metrics formats a client wants, by its `Accept` (RFC 9110, 12.5.1).
//!
//! OpenMetrics is answered only to who names it, and likes it no less than plain text; everyone else,
//! a client that accepts neither included, gets text 0.0.4, which every collector reads.

use crate::metrics::Format;

/// How much a client likes something, in thousandths; 0 is "not at all".
type Quality = u16;

/// The format for a client with these `Accept` field values.
pub(super) fn metrics_format<'a>(values: impl Iterator<Item = &'a [u8]>) -> Format {
    let mut text = Preference::default();
    let mut open_metrics = Preference::default();
    for range in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let range = MediaRange::parse(range);
        text.consider(&range, b"text", b"plain", b"0.0.4");
        open_metrics.consider(&range, b"application", b"openmetrics-text", b"1.0.0");
    }
    let is_named = open_metrics.closeness == Closeness::Named && open_metrics.quality > 0;
    if is_named && open_metrics.quality >= text.quality {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// What the closest range says of a format.
#[derive(Default)]
struct Preference {
    closeness: Closeness,
    quality: Quality,
}

/// How closely a range fits a format; the closest one counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    #[default]
    None,
    Any,
    Type,
    Named,
}

impl Preference {
    fn consider(&mut self, range: &MediaRange<'_>, kind: &[u8], subtype: &[u8], version: &[u8]) {
        let closeness = if range.kind == b"*" && range.subtype == b"*" {
            Closeness::Any
        } else if !range.kind.eq_ignore_ascii_case(kind) {
            Closeness::None
        } else if range.subtype == b"*" {
            Closeness::Type
        } else if range.subtype.eq_ignore_ascii_case(subtype)
            && range.version.is_none_or(|wanted| wanted == version)
        {
            Closeness::Named
        } else {
            Closeness::None
        };
        if closeness > self.closeness {
            *self = Self {
                closeness,
                quality: range.quality,
            };
        } else if closeness == self.closeness && closeness != Closeness::None {
            self.quality = self.quality.max(range.quality);
        }
    }
}

/// One element of an `Accept` field.
struct MediaRange<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    version: Option<&'a [u8]>,
    quality: Quality,
}

impl<'a> MediaRange<'a> {
    fn parse(range: &'a [u8]) -> Self {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let (kind, subtype) = halves(parts.next().unwrap_or_default(), b'/');
        let mut parsed = Self {
            kind,
            subtype,
            version: None,
            quality: 1000,
        };
        for (name, value) in parts.map(|parameter| halves(parameter, b'=')) {
            if name.eq_ignore_ascii_case(b"version") {
                parsed.version = Some(value.strip_prefix(b"\"").unwrap_or(value));
                parsed.version = parsed
                    .version
                    .map(|text| text.strip_suffix(b"\"").unwrap_or(text));
            } else if name.eq_ignore_ascii_case(b"q") {
                parsed.quality = quality(value);
            }
        }
        parsed
    }
}

/// What stands before and after the first `separator`.
fn halves(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == separator) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

/// Reads `0`, `0.5`, `1.000`; what is no quality counts as not wanted.
fn quality(text: &[u8]) -> Quality {
    let (whole, decimals) = halves(text, b'.');
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let thousandths = [100, 10, 1]
        .iter()
        .zip(decimals)
        .map(|(place, digit)| place * Quality::from(digit - b'0'))
        .sum();
    match whole {
        b"0" => thousandths,
        b"1" => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_who_names_it_and_likes_it_no_less_than_text() {
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/*", Format::Text),
            ("application/json", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0",
                Format::OpenMetrics,
            ),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=2", Format::Text),
            (
                "application/openmetrics-text;q=0.5,text/plain;q=0.6",
                Format::Text,
            ),
            (
                "application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.5",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.5,text/*;q=0.6",
                Format::Text,
            ),
            (
                "application/openmetrics-text;q=0.5,text/*;q=0.6,text/plain;q=0.2",
                Format::OpenMetrics,
            ),
            // What Prometheus 2 and 3 send.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                 q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(
                metrics_format([accept.as_bytes()].into_iter()),
                expected,
                "{accept}"
            );
        }
    }

    #[test]
    fn several_accept_fields_count_as_one() {
        let values = [
            &b"text/plain;q=0.2"[..],
            b"application/openmetrics-text;q=0.3",
        ];
        assert_eq!(metrics_format(values.into_iter()), Format::OpenMetrics);
    }
}
