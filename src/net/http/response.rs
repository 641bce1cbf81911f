//! Replies: the [`Response`] a handler writes, and the one place where an [`Error`] becomes a [`Status`].
//!
//! A body goes straight into the connection's output. When its length is known the head is written with
//! it ([`Response::send`]); when not ([`Response::begin`]), the head leaves a field of fixed width for the
//! length, which is patched in at the end: blanks before a field's value are no part of it (RFC 9110, 5.5).
//!
//! Always true: a reply is whole or not there; a reply to HEAD has the fields of the reply to GET, and no body.

use crate::error::{Error, HttpFault, Kind};
use crate::net::service::Output;

/// The statuses this server answers with, by index in [`Status::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408.
    RequestTimeout,
    /// 409.
    Conflict,
    /// 413.
    ContentTooLarge,
    /// 414.
    UriTooLong,
    /// 431.
    FieldsTooLarge,
    /// 500.
    InternalError,
    /// 501.
    NotImplemented,
    /// 503.
    Unavailable,
    /// 505.
    VersionNotSupported,
}

impl Status {
    /// All of them, rising.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::FieldsTooLarge,
        Self::InternalError,
        Self::NotImplemented,
        Self::Unavailable,
        Self::VersionNotSupported,
    ];

    /// Its code and reason.
    pub fn as_str(self) -> &'static str {
        let line = &self.head()["HTTP/1.1 ".len()..];
        line.split_once('\r').map_or(line, |(status, _)| status)
    }

    /// Its code, as it is written.
    pub fn code(self) -> &'static str {
        // Asked for each series of a scrape, so nothing is searched for.
        &self.head()["HTTP/1.1 ".len()..][..3]
    }

    /// The start of each reply with it, up to the value of the first field: one piece, so one copy.
    const fn head(self) -> &'static str {
        macro_rules! head {
            ($status:literal) => {
                concat!("HTTP/1.1 ", $status, "\r\nContent-Type: ")
            };
        }
        match self {
            Self::Ok => head!("200 OK"),
            Self::BadRequest => head!("400 Bad Request"),
            Self::Unauthorized => {
                head!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"nos\"")
            }
            Self::Forbidden => head!("403 Forbidden"),
            Self::NotFound => head!("404 Not Found"),
            Self::MethodNotAllowed => head!("405 Method Not Allowed"),
            Self::RequestTimeout => head!("408 Request Timeout"),
            Self::Conflict => head!("409 Conflict"),
            Self::ContentTooLarge => head!("413 Content Too Large"),
            Self::UriTooLong => head!("414 URI Too Long"),
            Self::FieldsTooLarge => head!("431 Request Header Fields Too Large"),
            Self::InternalError => head!("500 Internal Server Error"),
            Self::NotImplemented => head!("501 Not Implemented"),
            Self::Unavailable => head!("503 Service Unavailable"),
            Self::VersionNotSupported => head!("505 HTTP Version Not Supported"),
        }
    }

    /// The status that tells of `error`.
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            Kind::Http(fault) => match fault {
                HttpFault::BadRequest(_) => Self::BadRequest,
                HttpFault::Unauthorized => Self::Unauthorized,
                HttpFault::Forbidden => Self::Forbidden,
                HttpFault::NotFound => Self::NotFound,
                HttpFault::MethodNotAllowed(_) => Self::MethodNotAllowed,
                HttpFault::Timeout => Self::RequestTimeout,
                HttpFault::Conflict(_) => Self::Conflict,
                HttpFault::BodyTooLarge => Self::ContentTooLarge,
                HttpFault::TargetTooLong => Self::UriTooLong,
                HttpFault::HeadTooLarge => Self::FieldsTooLarge,
                HttpFault::Internal => Self::InternalError,
                HttpFault::NotImplemented(_) => Self::NotImplemented,
                HttpFault::Unavailable => Self::Unavailable,
                HttpFault::VersionNotSupported => Self::VersionNotSupported,
            },
            Kind::OutOfMemory { .. } | Kind::LimitReached { .. } => Self::Unavailable,
            Kind::Missing { .. } => Self::NotFound,
            Kind::UnknownArgument { .. } | Kind::BadValue { .. } => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}

/// What the body of an error reply says after the status, where there is more to say.
fn detail_of(error: &Error) -> Option<&'static str> {
    match error.kind() {
        Kind::Http(
            HttpFault::BadRequest(what)
            | HttpFault::Conflict(what)
            | HttpFault::NotImplemented(what),
        ) => Some(what),
        Kind::Http(HttpFault::Unauthorized) => Some("this route needs the admin token"),
        Kind::Http(HttpFault::Forbidden) => Some("nos.admin-token is not set"),
        Kind::OutOfMemory { .. } => Some("out of memory"),
        Kind::LimitReached { what, .. } | Kind::Missing { what } => Some(what),
        Kind::BadValue { expected, .. } => Some(expected),
        _ => None,
    }
}

/// What becomes of the connection after a reply, and how the reply says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It stays, as is the rule in HTTP/1.1.
    Keep,
    /// It stays, and an HTTP/1.0 client that asked for it is told.
    KeepAsAsked,
    /// It is closed.
    Close,
}

impl Persistence {
    /// The end of a head that says so.
    fn head_end(self) -> &'static [u8] {
        match self {
            Self::Keep => b"\r\n\r\n",
            Self::KeepAsAsked => b"\r\nConnection: keep-alive\r\n\r\n",
            Self::Close => b"\r\nConnection: close\r\n\r\n",
        }
    }
}

/// Whether the body is sent or only measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A reply to any method but HEAD.
    Sent,
    /// A reply to HEAD.
    Measured,
}

/// The content type of plain text.
pub(super) const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// One reply under construction.
pub struct Response<'a> {
    output: &'a mut Output,
    start: usize,
    persistence: Persistence,
    content: Content,
    stage: Stage,
}

/// How far a reply has come.
enum Stage {
    /// Nothing is written.
    Empty,
    /// Head and body are written.
    Whole,
    /// The head is written but for the length at `length_at`; the body starts at `body_at`.
    Open { length_at: usize, body_at: usize },
}

/// What stands between the content type and the length.
const LENGTH_FIELD: &[u8] = b"\r\nContent-Length: ";
/// Room for a length: more digits than an output can have bytes.
const LENGTH_ROOM: &[u8; 10] = b"          ";

impl<'a> Response<'a> {
    pub(super) fn new(output: &'a mut Output, persistence: Persistence, content: Content) -> Self {
        let start = output.len();
        Self {
            output,
            start,
            persistence,
            content,
            stage: Stage::Empty,
        }
    }

    /// Answers 200 with `body`, whole.
    ///
    /// # Panics
    /// If an answer was begun already.
    pub fn send(&mut self, content_type: &str, body: &[u8]) {
        self.assert_empty();
        self.put_whole(Status::Ok, content_type, b"", &[body]);
    }

    /// Begins an answer with status 200 whose body is written next, in pieces.
    ///
    /// # Panics
    /// If an answer was begun already.
    pub fn begin(&mut self, content_type: &str) {
        self.assert_empty();
        self.put_status(Status::Ok, content_type);
        let length_at = self.output.len();
        self.output.write(LENGTH_ROOM);
        self.put_head_end(b"");
        self.stage = Stage::Open {
            length_at,
            body_at: self.output.len(),
        };
    }

    /// Appends to the body that [`Response::begin`] began.
    ///
    /// # Panics
    /// If none was begun.
    pub fn write(&mut self, bytes: &[u8]) {
        assert!(
            matches!(self.stage, Stage::Open { .. }),
            "begin() comes before write()"
        );
        self.output.write(bytes);
    }

    /// Ends the reply: puts in the length of a body that was written in pieces.
    pub(super) fn finish(&mut self) {
        match self.stage {
            Stage::Whole => {}
            Stage::Empty => self.put_whole(Status::Ok, PLAIN_TEXT, b"", &[]),
            Stage::Open { length_at, body_at } => {
                // When memory ran out on the way, less is there than was written.
                let length = self.output.len().saturating_sub(body_at);
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(length).as_bytes();
                self.output
                    .patch(length_at + LENGTH_ROOM.len() - digits.len(), digits);
                if self.content == Content::Measured {
                    self.output.truncate(body_at);
                }
                self.stage = Stage::Whole;
            }
        }
    }

    /// Answers OPTIONS: no body, the methods in `Allow`.
    pub(super) fn options(&mut self, allow: &'static str) {
        self.assert_empty();
        self.put_whole(Status::Ok, PLAIN_TEXT, allow.as_bytes(), &[]);
    }

    /// Takes back what was written and tells of `error` instead; returns the status it has.
    pub(super) fn fail(&mut self, error: &Error) -> Status {
        self.output.truncate(self.start);
        let status = Status::of(error);
        let allow = match error.kind() {
            Kind::Http(HttpFault::MethodNotAllowed(allow)) => allow,
            _ => "",
        };
        let (colon, detail) = match detail_of(error) {
            Some(detail) => (": ", detail),
            None => ("", ""),
        };
        let kind = error.kind();
        let (key, expected) = match &kind {
            Kind::BadValue { key, .. } => (key.as_str(), ": expected "),
            _ => ("", ""),
        };
        let body = [
            status.as_str().as_bytes(),
            colon.as_bytes(),
            key.as_bytes(),
            expected.as_bytes(),
            detail.as_bytes(),
            b"\n",
        ];
        self.put_whole(status, PLAIN_TEXT, allow.as_bytes(), &body);
        status
    }

    fn put_whole(&mut self, status: Status, content_type: &str, allow: &[u8], body: &[&[u8]]) {
        let length: usize = body.iter().map(|piece| piece.len()).sum();
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length).as_bytes();
        if let ([], &[body], Content::Sent) = (allow, body, self.content) {
            // The usual answer, in one go.
            self.output.write_pieces([
                status.head().as_bytes(),
                content_type.as_bytes(),
                LENGTH_FIELD,
                digits,
                self.persistence.head_end(),
                body,
            ]);
            self.stage = Stage::Whole;
            return;
        }
        self.put_status(status, content_type);
        self.output.write(digits);
        self.put_head_end(allow);
        if self.content == Content::Sent {
            for piece in body {
                self.output.write(piece);
            }
        }
        self.stage = Stage::Whole;
    }

    /// The status line and the fields up to where the length is to stand.
    fn put_status(&mut self, status: Status, content_type: &str) {
        self.output.write(status.head().as_bytes());
        self.output.write(content_type.as_bytes());
        self.output.write(LENGTH_FIELD);
    }

    fn put_head_end(&mut self, allow: &[u8]) {
        if !allow.is_empty() {
            self.output.write(b"\r\nAllow: ");
            self.output.write(allow);
        }
        self.output.write(self.persistence.head_end());
    }

    fn assert_empty(&self) {
        assert!(
            matches!(self.stage, Stage::Empty),
            "a request has one answer"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Subsystem;
    use std::string::String;

    fn reply(content: Content, write: impl FnOnce(&mut Response<'_>)) -> String {
        let mut output = Output::new();
        let mut response = Response::new(&mut output, Persistence::Keep, content);
        write(&mut response);
        response.finish();
        String::from_utf8(output.take()).expect("replies are text")
    }

    #[test]
    fn a_body_written_in_pieces_gets_its_length_patched_into_the_head() {
        let text = reply(Content::Sent, |response| {
            response.begin("a/b");
            response.write(b"12345");
            response.write(b"678901");
        });
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length:         11\r\n\r\n12345678901"
        );
    }

    #[test]
    fn a_reply_to_head_has_the_length_and_no_body() {
        let pieces = |response: &mut Response<'_>| {
            response.begin("a/b");
            response.write(b"123");
        };
        let (got, measured) = (
            reply(Content::Sent, pieces),
            reply(Content::Measured, pieces),
        );
        assert_eq!(got.strip_suffix("123"), Some(measured.as_str()));
        let whole = |response: &mut Response<'_>| response.send("a/b", b"123");
        let (got, measured) = (reply(Content::Sent, whole), reply(Content::Measured, whole));
        assert_eq!(got.strip_suffix("123"), Some(measured.as_str()));
    }

    #[test]
    fn an_error_replaces_what_was_begun() {
        let error = Error::new(
            Subsystem::Http,
            Kind::Http(HttpFault::MethodNotAllowed("GET")),
        );
        let text = reply(Content::Sent, |response| {
            response.begin("a/b");
            response.write(b"half of it");
            assert_eq!(response.fail(&error), Status::MethodNotAllowed);
        });
        assert_eq!(
            text,
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 23\r\nAllow: GET\r\n\r\n405 Method Not Allowed\n"
        );
    }

    #[test]
    fn every_status_is_listed_at_its_own_index() {
        for (i, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, i);
        }
    }

    #[test]
    fn memory_that_ran_out_is_told_as_unavailable_not_as_a_fault_of_the_client() {
        let error = Error::new(Subsystem::Memory, Kind::OutOfMemory { requested_bytes: 1 });
        assert_eq!(Status::of(&error), Status::Unavailable);
    }
}
