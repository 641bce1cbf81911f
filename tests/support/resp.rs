//! A small RESP client: exact about what it sends and what it gets.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use super::guest::connect;

/// A RESP2 reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
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
            "$" => match usize::try_from(number()?) {
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
                n @ 0.. => Reply::Array(
                    (0..n)
                        .map(|_| self.try_reply())
                        .collect::<io::Result<_>>()?,
                ),
                _ => Reply::Nil,
            },
            _ => return Err(malformed(&line)),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        if line.is_empty() {
            return Err(malformed("an empty line"));
        }
        String::from_utf8(line).map_err(|_| malformed("a line that is not text"))
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
