//! What a page looks like, for each kind of family and value.

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
        let mut family = page.family(heading!(Counter, "nos_x_total", "What x is."));
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
        page.counter(heading!(Counter, "nos_x_total", "X."), 1)
    });
    assert_eq!(
        text,
        "# HELP nos_x X.\n# TYPE nos_x counter\nnos_x_total 1\n# EOF\n"
    );
}

#[test]
fn nanoseconds_are_shown_in_seconds_without_trailing_zeros() {
    let text = page(Format::Text, |page| {
        page.gauge(heading!(Gauge, "nos_a", "A."), Value::Nanos(1_000_000_001));
        page.gauge(heading!(Gauge, "nos_b", "B."), Value::Nanos(2_500));
        page.gauge(heading!(Gauge, "nos_c", "C."), Value::Millionths(250_000));
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
        page.histogram(heading!(Histogram, "nos_h_seconds", "H."), &histogram)
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
    for (bound, text) in LATENCY_BOUNDS_NS.into_iter().zip(BUCKET_BOUNDS) {
        let seconds: f64 = text.parse().expect("a number");
        assert_eq!((seconds * 1e9).round() as u64, bound, "{text}");
    }
}

#[test]
fn open_metrics_writes_whole_bounds_as_the_floats_they_are() {
    let text = page(Format::OpenMetrics, |page| {
        page.histogram(
            heading!(Histogram, "nos_h_seconds", "H."),
            &Histogram::new(),
        );
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
        let digits = Digits::of(value);
        assert_eq!(str::from_utf8(digits.as_bytes()), Ok(expected));
    }
}

#[test]
fn samples_with_other_first_labels_start_their_lines_anew() {
    let text = page(Format::Text, |page| {
        let mut family = page.family(heading!(Gauge, "nos_x", "X."));
        for (key, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 40), ("a", 5)] {
            family.sample(&[(key, Label::Number(number))], Value::Whole(number));
        }
        family.sample(&[], Value::Whole(6));
    });
    let samples = "nos_x{a=\"1\"} 1\nnos_x{a=\"2\"} 2\nnos_x{b=\"3\"} 3\nnos_x{b=\"40\"} 40\n\
                   nos_x{a=\"5\"} 5\nnos_x 6\n";
    assert!(text.ends_with(samples), "{text}");
}

#[test]
fn a_line_repeats_of_the_one_before_only_what_is_the_same() {
    let rows = [
        ("red", "x", 1),
        ("red", "y", 22),
        ("green", "y", 333),
        ("green", "x", 4_444),
        ("red", "x", 55_555),
    ];
    let text = page(Format::Text, |page| {
        let mut family = page.family(heading!(Gauge, "nos_x", "X."));
        for (colour, axis, number) in rows {
            let labels = [("colour", Label::Word(colour)), ("axis", Label::Word(axis))];
            family.sample(&labels, Value::Whole(number));
        }
        for (cpu, order) in [(0, 1), (0, 2), (10, 2)] {
            let labels = [("cpu", Label::Number(cpu)), ("order", Label::Number(order))];
            family.sample(&labels, Value::Whole(0));
        }
        family.sample(&[("cpu", Label::Number(3))], Value::Whole(0));
        let three = [
            ("cpu", Label::Number(3)),
            ("order", Label::Number(1)),
            ("zone", Label::Word("normal")),
        ];
        family.sample(&three, Value::Whole(9));
        family.sample(&three[..2], Value::Whole(8));
    });
    let mut expected = String::new();
    for (colour, axis, number) in rows {
        expected += &std::format!("nos_x{{colour=\"{colour}\",axis=\"{axis}\"}} {number}\n");
    }
    expected += "nos_x{cpu=\"0\",order=\"1\"} 0\nnos_x{cpu=\"0\",order=\"2\"} 0\n\
                 nos_x{cpu=\"10\",order=\"2\"} 0\nnos_x{cpu=\"3\"} 0\n\
                 nos_x{cpu=\"3\",order=\"1\",zone=\"normal\"} 9\nnos_x{cpu=\"3\",order=\"1\"} 8\n";
    assert!(text.ends_with(&expected), "{text}");
}

#[test]
fn words_of_every_length_are_written_whole_and_a_line_too_long_is_refused() {
    let letters: &'static str = String::from_iter(('a'..='z').cycle().take(1100)).leak();
    for len in (0..100).chain([LINE_BYTES_MAX - 20, LINE_BYTES_MAX, 1100]) {
        let word = &letters[..len];
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, Format::Text);
        let mut family = encoder.family(heading!(Gauge, "nos_x", "X."));
        family.sample(&[("word", Label::Word(word))], Value::Whole(1));
        let line = std::format!("nos_x{{word=\"{word}\"}} 1\n");
        let outcome = encoder.finish();
        if line.len() > LINE_BYTES_MAX {
            let kind = outcome.expect_err("no room").kind();
            assert!(matches!(kind, Kind::LimitReached { .. }), "{kind:?}");
        } else {
            outcome.expect("room");
            assert!(bytes.ends_with(line.as_bytes()), "{len}");
        }
    }
}

#[test]
fn numbers_are_written_as_the_standard_library_writes_them() {
    let mut number = 1_u64;
    for _ in 0..2_000 {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let value = number >> (number % 64);
        let digits = Digits::of(Value::Whole(value));
        assert_eq!(digits.as_bytes(), std::format!("{value}").as_bytes());
        let shown = Digits::of(Value::Millionths(value));
        let (whole, rest) = (value / 1_000_000, value % 1_000_000);
        let exact = std::format!("{whole}.{rest:06}");
        let exact = exact.trim_end_matches('0').trim_end_matches('.');
        assert_eq!(shown.as_bytes(), exact.as_bytes());
    }
}
