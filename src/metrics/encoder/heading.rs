//! The HELP and TYPE lines of a family, put together when the image is built.

/// What a family is: its name, its type and its help, as the page has them. [`heading!`](macro@heading) makes one.
///
/// One address and two lengths: each address in a constant is another entry of the image's relocations.
#[derive(Clone, Copy, Debug)]
pub struct Heading {
    /// All of it in text format 0.0.4.
    pub(super) text: &'static str,
    name_bytes: u32,
    end_bytes: u32,
}

/// The start of each heading.
pub(super) const START: &str = "# HELP ";

impl Heading {
    /// For [`heading!`](macro@heading), which composes `text` of the name, the help and `end`.
    ///
    /// # Panics
    /// If a counter's name does not end in `_total`, or another's does; if the help has what one of the formats
    /// escapes. At build, as it is called in constants.
    #[doc(hidden)]
    pub const fn new(text: &'static str, name: &str, end: &str) -> Self {
        assert!(
            matches!(name.as_bytes(), [.., b'_', b't', b'o', b't', b'a', b'l'])
                == matches!(end.as_bytes(), b" counter\n"),
            "counters, and nothing else, end in _total"
        );
        // The ends of the two lines.
        assert!(is_plain(text, 2), "a help needs escaping");
        Self {
            text,
            name_bytes: name.len() as u32,
            end_bytes: end.len() as u32,
        }
    }

    /// The name.
    pub(super) fn name(&self) -> &'static str {
        &self.text[START.len()..][..self.name_bytes as usize]
    }

    /// What stands between the two places of the name, and what stands behind the second.
    pub(super) fn middle_and_end(&self) -> (&'static str, &'static str) {
        let name_bytes = self.name_bytes as usize;
        let (rest, end) = self
            .text
            .split_at(self.text.len() - self.end_bytes as usize);
        let middle = START.len() + name_bytes..rest.len() - name_bytes;
        (&rest[middle], end)
    }
}

/// True if neither format escapes anything in `text`, which has so many line feeds of its own.
pub(super) const fn is_plain(text: &str, mut line_feeds: usize) -> bool {
    let mut rest = text.as_bytes();
    while let [byte, others @ ..] = rest {
        match byte {
            b'\\' | b'"' => return false,
            b'\n' if line_feeds == 0 => return false,
            b'\n' => line_feeds -= 1,
            _ => {}
        }
        rest = others;
    }
    true
}

/// The [`Heading`](crate::metrics::Heading) of a family: `Counter`, `Gauge` or `Histogram`, its name, its help.
#[macro_export]
macro_rules! heading {
    (Counter, $name:literal, $help:literal $(,)?) => {
        $crate::metrics::heading!($name, $help, " counter\n")
    };
    (Gauge, $name:literal, $help:literal $(,)?) => {
        $crate::metrics::heading!($name, $help, " gauge\n")
    };
    (Histogram, $name:literal, $help:literal $(,)?) => {
        $crate::metrics::heading!($name, $help, " histogram\n")
    };
    ($name:literal, $help:literal, $end:literal) => {
        const {
            &$crate::metrics::Heading::new(
                concat!("# HELP ", $name, " ", $help, "\n# TYPE ", $name, $end),
                $name,
                $end,
            )
        }
    };
}

pub use heading;
