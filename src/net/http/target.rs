//! The request target: its path and query, and the comparison of a path with a route.
//!
//! Three forms of RFC 9112, 3.2 are read: origin (`/path?query`), absolute (`http://host/path?query`) and
//! asterisk (`*`, for OPTIONS). Paths are compared as RFC 3986, 6.2.2 has it: an escaped character that
//! needs no escape equals itself (`/%6Detrics` is `/metrics`), any other escape stands for itself, so an
//! escaped slash never becomes a separator. Dot segments are not resolved: no route has any.

use super::fault::bad;
use crate::error::Result;

/// A target whose escapes are well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// From the first `/`, as it was sent; `*` for the server as a whole.
    pub(super) path: &'a str,
    /// What follows the first `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads a target.
    ///
    /// # Errors
    /// `BadRequest` for one that has none of the three forms, a fragment, or a malformed escape.
    pub(super) fn parse(target: &'a str) -> Result<Self> {
        let origin = match target.as_bytes().first() {
            Some(b'/') => target,
            Some(b'*') if target.len() == 1 => {
                return Ok(Self {
                    path: target,
                    query: None,
                });
            }
            _ => after_authority(target)?,
        };
        let mut path_end = origin.len();
        for (i, &byte) in origin.as_bytes().iter().enumerate() {
            // Letters, digits and a slash, mostly.
            if matches!(byte, b'&'..=b'>' | b'@'..=127) {
                continue;
            }
            match byte {
                b'?' if path_end == origin.len() => path_end = i,
                b'%' if path_end == origin.len() => {
                    escaped(origin.as_bytes(), i).ok_or(bad("bad percent escape in the target"))?;
                }
                b'#' | 128.. => return Err(bad("bad character in the target")),
                _ => {}
            }
        }
        let (path, query) = (&origin[..path_end], origin.get(path_end + 1..));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { path, query })
    }

    /// True if the path is `route`, which has no escapes.
    #[inline]
    pub(super) fn is(&self, route: &str) -> bool {
        self.path == route || (self.path.len() > route.len() && self.is_escaped_form_of(route))
    }

    /// True if the path is `pattern` with anything that is one segment in the place of its `{…}`. The path's own escapes
    /// are not looked through.
    #[cold]
    pub(super) fn fits(&self, pattern: &str) -> bool {
        let Some((start, rest)) = pattern.split_once('{') else {
            return false;
        };
        let end = rest.split_once('}').map_or(rest, |(_, end)| end);
        let middle = self.path.strip_prefix(start);
        let middle = middle.and_then(|path| path.strip_suffix(end));
        middle.is_some_and(|segment| segment.bytes().all(|byte| byte != b'/'))
    }

    #[cold]
    fn is_escaped_form_of(&self, route: &str) -> bool {
        let path = self.path.as_bytes();
        let mut at = 0;
        for &wanted in route.as_bytes() {
            let (byte, step) = match path.get(at) {
                None => return false,
                Some(b'%') => match escaped(path, at) {
                    Some(byte) if is_unreserved(byte) => (byte, 3),
                    _ => return false,
                },
                Some(&byte) => (byte, 1),
            };
            if byte != wanted {
                return false;
            }
            at += step;
        }
        at == path.len()
    }
}

/// What follows `http://authority` in a target of absolute form.
fn after_authority(target: &str) -> Result<&str> {
    const SCHEME: &str = "http://";
    match target.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            if end == 0 {
                return Err(bad("no host in the target"));
            }
            Ok(&rest[end..])
        }
        _ => Err(bad("bad target")),
    }
}

/// The byte that the escape at `path[at..]` stands for.
fn escaped(path: &[u8], at: usize) -> Option<u8> {
    let digit = |i: usize| char::from(*path.get(i)?).to_digit(16);
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_read_from_each_form() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/metrics", "/metrics", None),
            ("/metrics?", "/metrics", Some("")),
            ("/a?b=c?d", "/a", Some("b=c?d")),
            ("http://host:9100/metrics?x", "/metrics", Some("x")),
            ("HTTP://host", "/", None),
            ("http://host?x", "/", Some("x")),
            ("*", "*", None),
        ] {
            assert_eq!(
                Target::parse(target),
                Ok(Target { path, query }),
                "{target}"
            );
        }
    }

    #[test]
    fn a_segment_of_a_pattern_stands_for_any() {
        let pattern = "/diagnosis/{id}/apply";
        for (path, fits) in [
            ("/diagnosis/17/apply", true),
            ("/diagnosis/x/apply", true),
            ("/diagnosis//apply", true),
            ("/diagnosis/apply", false),
            ("/diagnosis/1/2/apply", false),
            ("/diagnosis/1/apply/", false),
            ("/diagnosis/1/applyx", false),
            ("/diagnosi/1/apply", false),
        ] {
            let target = Target::parse(path).expect("a path");
            assert_eq!(target.fits(pattern), fits, "{path}");
            assert!(!target.fits("/diagnosis"), "{path}");
        }
    }

    #[test]
    fn a_target_of_no_known_form_is_refused() {
        for target in [
            "",
            "metrics",
            "host:80",
            "**",
            "http://",
            "http:///x",
            "https://h/",
            "ftp://h/",
            "/#a",
        ] {
            assert!(Target::parse(target).is_err(), "{target}");
        }
        for target in ["/%", "/%4", "/%zz", "/a%2", "/é"] {
            assert!(Target::parse(target).is_err(), "{target}");
        }
    }

    #[test]
    fn an_escape_equals_its_character_only_where_none_was_needed() {
        let is = |target, route| Target::parse(target).is_ok_and(|target| target.is(route));
        assert!(is("/%6Detrics", "/metrics"));
        assert!(is("/%6d%65trics", "/metrics"));
        assert!(!is("/%6Detric", "/metrics"));
        assert!(!is("/metrics%20", "/metrics"));
        assert!(!is("%2Fmetrics", "/metrics"));
        assert!(!is("/a%2Fb", "/a/b"));
        assert!(!is("/metrics/", "/metrics"));
        assert!(!is("/Metrics", "/metrics"));
    }
}
