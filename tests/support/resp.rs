//! A small RESP client: exact about what it sends and what it gets.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::guest::connect;

/// A reply: of RESP2 by its type, of RESP3 what it adds by its first byte.
#[derive(Clone, PartialEq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
    /// A line of RESP3: null, boolean, double, big number.
    Line(String),
    /// Several replies of RESP3: map (keys and values in turn), set, push.
    Many(char, Vec<Reply>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(n) => write!(f, ":{n}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Nil => write!(f, "nil"),
            Self::Line(line) => write!(f, "{line}"),
            Self::Array(replies) => f.debug_list().entries(replies).finish(),
            Self::Many(kind, replies) => {
                write!(f, "{kind}")?;
                f.debug_list().entries(replies).finish()
            }
        }
    }
}

impl Reply {
    pub(crate) fn bulk(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    pub(crate) fn ok() -> Self {
        Self::Simple("OK".into())
    }

    #[track_caller]
    pub(crate) fn integer(&self) -> i64 {
        let Self::Integer(n) = self else {
            panic!("no integer: {self:?}")
        };
        *n
    }

    #[track_caller]
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }
}

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self(BufReader::new(connect(port)))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Sends one command and reads its reply.
    #[track_caller]
    pub(crate) fn command<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Reply {
        self.send(&encode(words));
        self.reply()
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream()
            .write_all(bytes)
            .expect("the server takes a command");
    }

    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply().expect("the server replies")
    }

    pub(crate) fn try_reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().map_err(|_| malformed(&line));
        Ok(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number()?),
            // Verbatim text keeps its three letters and colon: the image writes them too.
            "$" | "=" => match usize::try_from(number()?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.0.read_exact(&mut bytes)?;
                    if !bytes.ends_with(b"\r\n") {
                        return Err(malformed(&line));
                    }
                    bytes.truncate(length);
                    Reply::Bulk(bytes)
                }
            },
            "*" => match number()? {
                n @ 0.. => Reply::Array(self.replies(n)?),
                _ => Reply::Nil,
            },
            "_" | "#" | "," | "(" => Reply::Line(line.clone()),
            "%" => Reply::Many('%', self.replies(2 * number()?)?),
            "~" => Reply::Many('~', self.replies(number()?)?),
            ">" => Reply::Many('>', self.replies(number()?)?),
            _ => return Err(malformed(&line)),
        })
    }

    fn replies(&mut self, count: i64) -> io::Result<Vec<Reply>> {
        (0..count).map(|_| self.try_reply()).collect()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if self.0.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        line.truncate(line.len() - 2);
        if line.is_empty() {
            return Err(malformed("an empty line"));
        }
        // An error quotes the bytes it was sent.
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("malformed reply: {what}"),
    )
}

/// A command as a client sends it: an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(words: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
