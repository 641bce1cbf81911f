//! The [`Error`]: what went wrong, in which subsystem, with the facts its receiver needs to decide.
//!
//! Always true: it is `Copy`, at most 64 bytes, and neither building nor printing one allocates. It prints
//! as a lower-case clause. Protocol replies are derived from [`Kind`] in one place per protocol:
//! `app::cache_server::reply` for RESP, `net::http::response` for HTTP.

use core::fmt;

/// A result whose error is the image's one error type.
pub type Result<T> = core::result::Result<T, Error>;

/// What went wrong, where, and which lower layer said so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    subsystem: Subsystem,
    source: Option<&'static str>,
}

const _: () = assert!(
    core::mem::size_of::<Error>() <= 64,
    "an error must fit one cache line"
);

impl Error {
    /// Makes an error of `kind` that arose in `subsystem`.
    pub const fn new(subsystem: Subsystem, kind: Kind) -> Self {
        Self {
            kind,
            subsystem,
            source: None,
        }
    }

    /// Adds what the layer below said, in its own words.
    #[must_use]
    pub const fn caused_by(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }

    /// What went wrong.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The part of the image it arose in.
    pub const fn subsystem(&self) -> Subsystem {
        self.subsystem
    }

    /// What the layer below said, if one did.
    pub const fn source(&self) -> Option<&'static str> {
        self.source
    }
}

/// The parts an error can arise in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// Entry, exceptions, translation tables, power.
    Arch,
    /// Device tree, boot arguments, console, interrupt controller, clock, virtio.
    Platform,
    /// Frames, page caches, heap.
    Memory,
    /// Registry.
    Bus,
    /// Block devices, checkpoints.
    Storage,
    /// Sockets, flows, addresses.
    Network,
    /// The HTTP server.
    Http,
    /// Detectors.
    Diagnosis,
    /// Fibers.
    Scheduler,
    /// The cache server: protocol, commands, store.
    Cache,
    /// An application other than the default one.
    Application,
}

/// What went wrong, with the facts the receiver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No memory for a request of that many bytes; 0 where that is not known.
    OutOfMemory {
        /// Size of the request that was refused.
        requested_bytes: usize,
    },
    /// The machine has less memory than the image needs.
    TooLittleMemory {
        /// What the machine has.
        available_bytes: u64,
        /// The least that serves.
        required_bytes: u64,
    },
    /// A block was given back that was not handed out, or not with that order.
    BadFree {
        /// Frame number of the block.
        frame: u64,
        /// Order it was given back with.
        order: u8,
    },
    /// The device tree is damaged at that byte offset.
    BadDeviceTree {
        /// Offset from the start of the tree.
        offset: u32,
        /// What is wrong there.
        what: &'static str,
    },
    /// The device tree describes no such thing.
    Missing {
        /// The thing looked for.
        what: &'static str,
    },
    /// No boot argument has that name.
    UnknownArgument {
        /// The name as given, cut to what fits.
        key: ShortText,
    },
    /// A boot argument or setting has a value that cannot be used.
    BadValue {
        /// The name of the setting.
        key: ShortText,
        /// What it must be.
        expected: &'static str,
    },
    /// A name is registered already.
    Duplicate {
        /// The name.
        name: &'static str,
    },
    /// A limit was reached.
    LimitReached {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A device or its queue refused.
    Device {
        /// What it was asked.
        what: &'static str,
    },
    /// A firmware call failed.
    Firmware {
        /// The code it answered.
        code: i64,
    },
    /// A byte stream does not follow its protocol.
    Protocol {
        /// What is wrong, in the protocol's own words.
        what: &'static str,
    },
    /// A byte stream has another byte where its protocol has a fixed one.
    UnexpectedByte {
        /// The byte of the protocol.
        expected: u8,
        /// The byte found.
        found: u8,
    },
    /// A mailbox has no room.
    QueueFull {
        /// What its messages are counted under.
        topic: &'static str,
    },
    /// A message was past its deadline.
    MessageExpired {
        /// What it is counted under.
        topic: &'static str,
    },
    /// Nobody reads a mailbox or a topic.
    NoReader {
        /// The topic.
        topic: &'static str,
    },
    /// A request was not answered in time.
    TimedOut {
        /// Who was asked.
        peer: &'static str,
    },
    /// Who was asked died before it answered.
    PeerDied {
        /// Its name.
        peer: &'static str,
    },
    /// A part needs another one that is not there.
    MissingDependency {
        /// Who needs it.
        name: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// Parts need each other in a circle.
    DependencyCycle {
        /// One of them,
        name: &'static str,
        /// and the one it needs, which in the end needs it.
        needs: &'static str,
    },
    /// A handle is of something that is gone.
    StaleHandle {
        /// The thing.
        what: &'static str,
    },
    /// A record is of a version that this image does not read.
    UnknownVersion {
        /// The record's.
        found: u8,
        /// The one that is read.
        known: u8,
    },
    /// A cache command cannot be carried out as asked.
    Command(CommandFault),
    /// An HTTP request cannot be answered as asked.
    Http(HttpFault),
}

/// Why a cache command was refused; each has one RESP error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandFault {
    /// No command has that name.
    Unknown,
    /// No subcommand has that name; the parent command is told.
    UnknownSubcommand(&'static str),
    /// Too few or too many arguments for the command, or for `command|subcommand`.
    WrongArity(&'static str),
    /// Arguments that do not fit together.
    Syntax,
    /// An argument that must be an integer of 64 bits is none.
    NotAnInteger,
    /// An argument that must be a finite number is none.
    NotAFloat,
    /// The result would leave the range of 64 bits.
    Overflow,
    /// The expiry is out of range for that command.
    InvalidExpire(&'static str),
    /// The key holds another type.
    WrongType,
    /// The store is full and nothing may be evicted.
    OutOfMemory,
    /// A value or string would be longer than the bound.
    TooLong,
    /// An offset or index is out of range.
    OutOfRange,
    /// The cursor of a scan is not a number.
    InvalidCursor,
    /// No such key.
    NoSuchKey,
    /// The client has to authenticate first.
    AuthRequired,
    /// Wrong user name or password.
    WrongPassword,
    /// Any other refusal, with its full text after `-`.
    Text(&'static str),
    /// A refusal whose reply, which repeats words of the request, has been written already.
    Told,
}

/// Why an HTTP request was refused; each has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// 400: the request is malformed; says what.
    BadRequest(&'static str),
    /// 401: the admin token of the request is missing or wrong.
    Unauthorized,
    /// 403: the route needs an admin token, and the image was given none.
    Forbidden,
    /// 404: no such route.
    NotFound,
    /// 405: the route has other methods, as in `Allow`.
    MethodNotAllowed(&'static str),
    /// 408: the request did not arrive in time.
    Timeout,
    /// 409: it cannot be done as things stand; says why.
    Conflict(&'static str),
    /// 413: the body is longer than the bound.
    BodyTooLarge,
    /// 414: the target is longer than the bound.
    TargetTooLong,
    /// 431: the header fields are longer than the bound.
    HeadTooLarge,
    /// 500: the answer could not be made.
    Internal,
    /// 501: a transfer coding or method that is not implemented.
    NotImplemented(&'static str),
    /// 503: no room for another request now.
    Unavailable,
    /// 505: another version of HTTP.
    VersionNotSupported,
}

/// Up to 22 bytes of text kept by value, cut at a character's border; for names that came from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortText {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl ShortText {
    /// Bytes that fit.
    pub const CAPACITY: usize = 22;

    /// Keeps as much of `text` as fits.
    pub fn new(text: &str) -> Self {
        let mut len = text.len().min(Self::CAPACITY);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; Self::CAPACITY];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self {
            bytes,
            len: len as u8,
        }
    }

    /// The text kept.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)])
            .expect("new() cuts at a character's border")
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subsystem, self.kind)?;
        match self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

/// As it is displayed: what a panic over a refused result prints is for people too, and the image needs no second
/// text for each of its facts.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Subsystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arch => "arch",
            Self::Platform => "platform",
            Self::Memory => "memory",
            Self::Bus => "bus",
            Self::Network => "network",
            Self::Http => "http",
            Self::Diagnosis => "diagnosis",
            Self::Scheduler => "scheduler",
            Self::Storage => "storage",
            Self::Cache => "cache",
            Self::Application => "application",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            // Nobody knows for how many.
            Self::OutOfMemory { requested_bytes: 0 } => f.write_str("out of memory"),
            Self::OutOfMemory { requested_bytes } => {
                write!(f, "out of memory for {requested_bytes} bytes")
            }
            Self::TooLittleMemory {
                available_bytes,
                required_bytes,
            } => {
                write!(
                    f,
                    "too little memory: {available_bytes} bytes, need {required_bytes}"
                )
            }
            Self::BadFree { frame, order } => {
                write!(f, "bad free of frame {frame:#x} with order {order}")
            }
            Self::BadDeviceTree { offset, what } => {
                write!(f, "bad device tree at offset {offset:#x}: {what}")
            }
            Self::Missing { what } => write!(f, "no {what}"),
            Self::UnknownArgument { key } => write!(f, "unknown boot argument {}", key.as_str()),
            Self::BadValue { key, expected } => {
                write!(f, "bad value for {}: expected {expected}", key.as_str())
            }
            Self::Duplicate { name } => write!(f, "{name} is registered already"),
            Self::LimitReached { what, limit } => write!(f, "limit of {limit} {what} reached"),
            Self::Device { what } => write!(f, "device failed: {what}"),
            Self::Firmware { code } => write!(f, "firmware answered {code}"),
            Self::Protocol { what } => write!(f, "protocol error: {what}"),
            Self::UnexpectedByte { expected, found } => {
                write!(
                    f,
                    "protocol error: expected byte {expected:#04x}, found {found:#04x}"
                )
            }
            Self::QueueFull { topic } => write!(f, "no room for a message to {topic}"),
            Self::MessageExpired { topic } => write!(f, "a message to {topic} came too late"),
            Self::NoReader { topic } => write!(f, "nobody reads {topic}"),
            Self::TimedOut { peer } => write!(f, "no answer from {peer} in time"),
            Self::PeerDied { peer } => write!(f, "{peer} died before it answered"),
            Self::MissingDependency { name, needs } => {
                write!(f, "{name} needs {needs}, which is not there")
            }
            Self::DependencyCycle { name, needs } => {
                write!(f, "{name} needs {needs}, which in the end needs {name}")
            }
            Self::StaleHandle { what } => write!(f, "the {what} is gone"),
            Self::UnknownVersion { found, known } => {
                write!(f, "version {found} is not known, only {known}")
            }
            Self::Command(fault) => write!(f, "command refused: {fault:?}"),
            Self::Http(fault) => write!(f, "request refused: {fault:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn an_error_prints_as_a_lower_case_clause_with_its_source() {
        let error = Error::new(
            Subsystem::Platform,
            Kind::UnknownArgument {
                key: ShortText::new("nos.maxmem"),
            },
        )
        .caused_by("bootargs");
        assert_eq!(
            format!("{error}"),
            "platform: unknown boot argument nos.maxmem (bootargs)"
        );
    }

    #[test]
    fn short_text_is_cut_at_a_character_border() {
        let text = ShortText::new("aaaaaaaaaaaaaaaaaaaaaé");
        assert_eq!(text.as_str(), "aaaaaaaaaaaaaaaaaaaaa");
    }
}
