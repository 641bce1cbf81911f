//! The request: a head is parsed once, at the border, into [`Head`], which cannot be malformed.
//!
//! httparse does the syntax; this module adds what RFC 9110 and 9112 ask beyond it: one `Host`, one way of
//! framing, no bare line feed, and the limits. What is refused here ends the connection, because where the
//! next request starts is not certain any more; a method nobody knows is framed well and refused later.
//!
//! The outcome does not depend on how the bytes were cut into segments: each limit is judged on the same
//! bytes whether they came at once or one by one.

use super::fault::{bad, fault};
use super::fields::Summary;
use super::response::Persistence;
use super::route::Method;
use super::target::Target;
use crate::error::{HttpFault, Result};
use crate::platform::time::{Duration, Instant};
use core::mem::MaybeUninit;
use httparse::{Header, Status};

/// Most header fields in a head; nginx and hyper take 100, no client sends as many.
const HEADER_FIELDS_MAX: usize = 64;

/// What a peer may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest request line in bytes; 414 beyond.
    pub line_bytes: usize,
    /// Longest head in bytes, request line included; 431 beyond.
    pub head_bytes: usize,
    /// Longest body in bytes; 413 beyond.
    pub body_bytes: usize,
    /// Most connections at once; beyond, the longest idle one is ended, or the new one answered 503.
    pub connections: usize,
    /// How long a connection may wait between requests.
    pub idle: Duration,
    /// How long a head may take from its first byte; 408 beyond.
    pub head: Duration,
    /// How long a body may take after its head; 408 beyond.
    pub body: Duration,
}

impl Limits {
    /// The limits of the image: the sizes of the usual servers, times for a scraper and a browser.
    pub const DEFAULT: Self = Self {
        line_bytes: 4 * 1024,
        head_bytes: 8 * 1024,
        body_bytes: 64 * 1024,
        connections: 1024,
        idle: Duration::from_secs(60),
        head: Duration::from_secs(10),
        body: Duration::from_secs(30),
    };
}

/// A request, whole, as its handler sees it.
pub struct Request<'a> {
    /// GET, HEAD (answered as GET, its body is dropped) or what else the route permits.
    pub method: Method,
    /// The path as it was sent, from the first `/`, without query.
    pub path: &'a str,
    /// What follows `?`, still escaped.
    pub query: Option<&'a str>,
    /// The body, its transfer coding removed.
    pub body: &'a [u8],
    /// When it is being answered.
    pub now: Instant,
    pub(super) fields: &'a [Header<'a>],
}

impl<'a> Request<'a> {
    /// The values of all fields of that name, in order; names match in any case.
    pub fn field_values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After that many bytes; without `Content-Length` or coding, after none.
    Length(usize),
    /// After the last chunk and its trailer.
    Chunked,
}

/// A head whose syntax, host and framing are good.
pub(super) struct Head<'b, 'h> {
    /// The method, if it is a known one.
    pub(super) method: Option<Method>,
    pub(super) target: Target<'b>,
    pub(super) fields: &'h [Header<'b>],
    /// Its bytes, the empty line included.
    pub(super) len: usize,
    pub(super) framing: Framing,
    pub(super) persistence: Persistence,
    /// True if the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// Room for the fields of a head.
pub(super) type FieldSpace<'b> = [MaybeUninit<Header<'b>>; HEADER_FIELDS_MAX];

/// Empty room for the fields of a head.
pub(super) const fn field_space<'b>() -> FieldSpace<'b> {
    [const { MaybeUninit::uninit() }; HEADER_FIELDS_MAX]
}

/// Parses the head at the start of `input`; `None` if it goes on beyond it.
///
/// # Errors
/// The fault to be told before the connection is closed.
pub(super) fn parse<'b, 'h>(
    input: &'b [u8],
    limits: &Limits,
    space: &'h mut FieldSpace<'b>,
) -> Result<Option<Head<'b, 'h>>> {
    if input.first() == Some(&b'\n') {
        return Err(bad("line feed without carriage return"));
    }
    let (window, beyond) = window(input, limits);
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(window, space) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if window.len() < input.len() => return Err(fault(beyond)),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(fault(syntax_fault(error, window))),
    };
    let head = &window[..len];
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(bad("incomplete request line"));
    };
    let fields: &'h [Header<'b>] = parsed.headers;
    if !lines_end_well(head, fields) {
        return Err(bad("line feed without carriage return"));
    }
    let summary = Summary::of(fields)?;
    let framing = summary.framing(version, limits)?;
    if version >= 1 && !summary.has_host {
        return Err(bad("no Host field"));
    }
    Ok(Some(Head {
        method: Method::named(method),
        target: Target::parse(target)?,
        fields,
        len,
        framing,
        persistence: summary.persistence(version),
        expects_continue: version >= 1 && summary.expects_continue,
    }))
}

/// The bytes a head may be parsed from, and what to say if it goes on beyond them.
fn window<'b>(input: &'b [u8], limits: &Limits) -> (&'b [u8], HttpFault) {
    if input.len() > limits.line_bytes && !input[..limits.line_bytes].contains(&b'\n') {
        return (&input[..limits.line_bytes], HttpFault::TargetTooLong);
    }
    (
        &input[..input.len().min(limits.head_bytes)],
        HttpFault::HeadTooLarge,
    )
}

fn syntax_fault(error: httparse::Error, head: &[u8]) -> HttpFault {
    match error {
        httparse::Error::TooManyHeaders => HttpFault::HeadTooLarge,
        httparse::Error::Version if names_another_version(head) => HttpFault::VersionNotSupported,
        httparse::Error::Version => HttpFault::BadRequest("bad version"),
        httparse::Error::HeaderName => HttpFault::BadRequest("bad field name"),
        httparse::Error::HeaderValue => HttpFault::BadRequest("bad field value"),
        httparse::Error::NewLine => HttpFault::BadRequest("bad line end"),
        _ => HttpFault::BadRequest("bad request line"),
    }
}

/// True if the third word of the first line is a version that is not 1.0 or 1.1; as much of it is looked at
/// as httparse needs to refuse it.
fn names_another_version(head: &[u8]) -> bool {
    let line = head
        .split(|&byte| byte == b'\r' || byte == b'\n')
        .next()
        .unwrap_or(head);
    let version = line.split(|&byte| byte == b' ').nth(2).unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([b'1', b'.', minor, ..]) => matches!(minor, b'2'..=b'9'),
        Some([b'1', ..]) => false,
        Some([major, ..]) => major.is_ascii_digit(),
        _ => false,
    }
}

/// True if each line of a head that httparse accepted ends with a carriage return and a line feed: httparse
/// takes a line feed alone as well. A line ends where the next one's name starts, so only those places are
/// looked at.
fn lines_end_well(head: &[u8], fields: &[Header<'_>]) -> bool {
    let ends_well_before = |name: &str| {
        let start = name.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
        head.get(..start)
            .is_some_and(|before| before.ends_with(b"\r\n"))
    };
    head.ends_with(b"\r\n\r\n") && fields.iter().all(|field| ends_well_before(field.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::format;
    use std::string::String;

    fn outcome(head: &str) -> core::result::Result<(), HttpFault> {
        let mut space = field_space();
        match parse(head.as_bytes(), &Limits::DEFAULT, &mut space) {
            Ok(Some(head)) => {
                assert!(head.len > 0);
                Ok(())
            }
            Ok(None) => panic!("{head:?} is complete"),
            Err(error) => match error.kind() {
                Kind::Http(fault) => Err(fault),
                kind => panic!("{kind}"),
            },
        }
    }

    fn get(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn heads_that_two_parsers_could_read_in_two_ways_are_refused() {
        for (fields, what) in [
            (
                "Content-Length: 1\r\nContent-Length: 2\r\n",
                "two Content-Length fields",
            ),
            (
                "Content-Length: 1\r\nContent-Length: 1\r\n",
                "two Content-Length fields",
            ),
            ("Content-Length: 1, 1\r\n", "bad Content-Length"),
            ("Content-Length: +1\r\n", "bad Content-Length"),
            ("Content-Length: -1\r\n", "bad Content-Length"),
            ("Content-Length: 0x1\r\n", "bad Content-Length"),
            ("Content-Length: 1 1\r\n", "bad Content-Length"),
            ("Content-Length:\r\n", "bad Content-Length"),
            (
                "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                "both Content-Length and Transfer-Encoding",
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "two Transfer-Encoding fields",
            ),
            (
                "Transfer-Encoding: chunked, chunked\r\n",
                "bad Transfer-Encoding",
            ),
            (
                "Transfer-Encoding: chunked, gzip\r\n",
                "bad Transfer-Encoding",
            ),
            ("Transfer-Encoding: , chunked\r\n", "bad Transfer-Encoding"),
            ("Transfer-Encoding : chunked\r\n", "bad field name"),
            ("X: a\r\n b\r\n", "bad field name"),
            (" X: a\r\n", "bad field name"),
            ("X\r\n", "bad field name"),
            (": a\r\n", "bad field name"),
            ("X: a\n", "line feed without carriage return"),
            ("X: a\nY: b\r\n", "line feed without carriage return"),
            ("\n", "line feed without carriage return"),
            ("X: a\0b\r\n", "bad field value"),
            ("X: a\rb\r\n", "bad field value"),
            ("Host: a\r\n", "two Host fields"),
        ] {
            assert_eq!(
                outcome(&get(fields)),
                Err(HttpFault::BadRequest(what)),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn a_transfer_coding_that_is_not_implemented_is_told_so() {
        for coding in [
            "gzip",
            "gzip, chunked",
            "identity",
            "xchunked",
            "chunked;a=b",
            "\"chunked\"",
        ] {
            let fields = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(
                outcome(&get(&fields)),
                Err(HttpFault::NotImplemented("transfer coding")),
                "{coding}"
            );
        }
        assert_eq!(outcome(&get("Transfer-Encoding: cHunked\r\n")), Ok(()));
    }

    #[test]
    fn the_host_is_asked_of_1_1_and_only_of_1_1() {
        assert_eq!(outcome("GET / HTTP/1.0\r\n\r\n"), Ok(()));
        assert_eq!(outcome("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Ok(()));
        assert_eq!(outcome("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), Ok(()));
        assert_eq!(
            outcome("GET / HTTP/1.1\r\n\r\n"),
            Err(HttpFault::BadRequest("no Host field"))
        );
        for host in ["a b", "a/b", "a@b", "é", "a\"b"] {
            assert_eq!(
                outcome(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
                Err(HttpFault::BadRequest("bad Host field")),
                "{host}"
            );
        }
    }

    #[test]
    fn request_lines_are_read_strictly() {
        for line in [
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET\t/ HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /",
            "GET / http/1.1",
            "GET / HTTP/1.x",
            "GET / HTTP/11",
            "G(T / HTTP/1.1",
            " GET / HTTP/1.1",
        ] {
            let result = outcome(&format!("{line}\r\nHost: a\r\n\r\n"));
            assert!(
                matches!(result, Err(HttpFault::BadRequest(_))),
                "{line}: {result:?}"
            );
        }
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3"] {
            let result = outcome(&format!("GET / {version}\r\nHost: a\r\n\r\n"));
            assert_eq!(result, Err(HttpFault::VersionNotSupported), "{version}");
        }
    }

    #[test]
    fn limits_have_their_own_faults() {
        let long = |n: usize| "a".repeat(n);
        let cases = [
            (
                format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(4096)),
                HttpFault::TargetTooLong,
            ),
            (
                get(&format!("X: {}\r\n", long(8192))),
                HttpFault::HeadTooLarge,
            ),
            (get(&"X: a\r\n".repeat(64)), HttpFault::HeadTooLarge),
            (get("Content-Length: 65537\r\n"), HttpFault::BodyTooLarge),
            (
                get("Content-Length: 99999999999999999999999999\r\n"),
                HttpFault::BodyTooLarge,
            ),
        ];
        for (head, fault) in cases {
            assert_eq!(outcome(&head), Err(fault));
        }
        assert_eq!(outcome(&get(&"X: a\r\n".repeat(63))), Ok(()));
        assert_eq!(outcome(&get("Content-Length: 065536\r\n")), Ok(()));
    }

    #[test]
    fn connections_persist_by_the_rules_of_their_version() {
        for (version, connection, expected) in [
            ("1.1", "", Persistence::Keep),
            ("1.1", "Connection: close\r\n", Persistence::Close),
            ("1.1", "Connection: foo , CLOSE\r\n", Persistence::Close),
            ("1.1", "Connection: closed\r\n", Persistence::Keep),
            ("1.0", "", Persistence::Close),
            (
                "1.0",
                "Connection: Keep-Alive\r\n",
                Persistence::KeepAsAsked,
            ),
            (
                "1.0",
                "Connection: keep-alive, close\r\n",
                Persistence::Close,
            ),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
            let mut space = field_space();
            let head = parse(text.as_bytes(), &Limits::DEFAULT, &mut space);
            let head = head.expect("good").expect("complete");
            assert_eq!(head.persistence, expected, "{version} {connection}");
        }
    }
}
