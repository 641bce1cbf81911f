//! Writes replies: the RESP2 and RESP3 types, and the one place where an [`Error`] becomes RESP text.
//!
//! A handler says what it means (a map, a null); the protocol the client chose by HELLO decides the bytes.

use super::resp::Args;
use crate::error::{CommandFault, Error, Kind, Result, try_to_vec};
use crate::net::service::Output;
use alloc::vec::Vec;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    /// RESP2.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// Bytes of a command's name or arguments that an error repeats (Redis' `%.128s`).
pub(crate) const QUOTED_BYTES_MAX: usize = 128;

/// Where a command's reply goes.
pub(super) struct Reply<'a> {
    /// The bytes so far.
    pub output: &'a mut Output,
    /// The client's protocol.
    pub protocol: Protocol,
}

impl Reply<'_> {
    /// `+OK`.
    #[inline(never)]
    pub(super) fn ok(&mut self) {
        self.ok_inline();
    }

    /// [`Reply::ok`] for the command that is run most: it becomes part of its handler.
    #[inline(always)]
    pub(super) fn ok_inline(&mut self) {
        self.output.write_pieces([b"+OK\r\n"]);
    }

    /// A status.
    pub(super) fn status(&mut self, text: &str) {
        self.raw(&[b"+", text.as_bytes(), b"\r\n"]);
    }

    /// An integer.
    #[inline]
    pub(super) fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.header(b':', value),
            Err(_) => {
                let mut buffer = itoa::Buffer::new();
                self.raw(&[b":", buffer.format(value).as_bytes(), b"\r\n"]);
            }
        }
    }

    /// A count.
    pub(super) fn count(&mut self, value: usize) {
        self.header(b':', value as u64);
    }

    /// A string of any bytes.
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.bulk_inline(bytes);
    }

    /// [`Reply::bulk`] for the command that is run most: it becomes part of its handler.
    #[inline(always)]
    pub(crate) fn bulk_inline(&mut self, bytes: &[u8]) {
        match bytes.len() {
            len @ 0..=9 => {
                let header = [b'$', digit(len), b'\r', b'\n'];
                self.output.write_pieces([&header, bytes, b"\r\n"]);
            }
            len @ 10..=99 => {
                let [tens, ones] = TWO_DIGITS[len];
                let header = [b'$', tens, ones, b'\r', b'\n'];
                self.output.write_pieces([&header, bytes, b"\r\n"]);
            }
            _ => self.long_bulk(bytes),
        }
    }

    #[inline(never)]
    fn long_bulk(&mut self, bytes: &[u8]) {
        let mut buffer = itoa::Buffer::new();
        let len = buffer.format(bytes.len()).as_bytes();
        self.output
            .write_pieces([b"$", len, b"\r\n", bytes, b"\r\n"]);
    }

    /// A string, or null.
    #[inline]
    pub(super) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// An integer as a string.
    pub(super) fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A quotient, as a number with a fraction: four digits of it.
    pub(super) fn ratio(&mut self, number: u64, of: u64) {
        let parts = u128::from(number) * 10_000 / u128::from(of.max(1));
        let mut text = heapless::String::<40>::new();
        // 40 bytes hold any two numbers of this size.
        let _ = core::fmt::write(
            &mut text,
            format_args!("{}.{:04}", parts / 10_000, parts % 10_000),
        );
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.raw(&[b",", text.as_bytes(), b"\r\n"]),
        }
    }

    /// No value.
    #[inline]
    pub(super) fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.output.write(b"$-1\r\n"),
            Protocol::Resp3 => self.output.write(b"_\r\n"),
        }
    }

    /// No array.
    pub(super) fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.output.write(b"*-1\r\n"),
            Protocol::Resp3 => self.output.write(b"_\r\n"),
        }
    }

    /// The head of an array of `len` elements.
    #[inline]
    pub(super) fn array(&mut self, len: usize) {
        self.header(b'*', len as u64);
    }

    /// The head of a message of `len` elements that is no reply: RESP3 alone has them.
    pub(super) fn push(&mut self, len: usize) {
        self.header(b'>', len as u64);
    }

    /// The head of a map of `len` pairs.
    pub(super) fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(len * 2),
            Protocol::Resp3 => self.header(b'%', len as u64),
        }
    }

    /// The head of a set of `len` elements.
    pub(super) fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(len),
            Protocol::Resp3 => self.header(b'~', len as u64),
        }
    }

    /// Text for people.
    pub(super) fn verbatim(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() as u64 + 4);
                self.raw(&[b"txt:", text, b"\r\n"]);
            }
        }
    }

    /// The lines of a HELP subcommand, as statuses.
    pub(super) fn help(&mut self, command: &str, text: &str) {
        self.array(text.lines().count() + 3);
        self.raw(&[
            b"+",
            command.as_bytes(),
            b" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n",
        ]);
        text.lines().for_each(|line| self.status(line));
        self.status("HELP");
        self.status("    Prints this help.");
    }

    /// Begins a string whose length is known only after it was written: call [`Reply::end_text`] with
    /// the answer when it is complete.
    pub(super) fn begin_text(&mut self) -> usize {
        self.output.len()
    }

    /// Turns what was written since `start` into a verbatim string.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn end_text(&mut self, start: usize) -> Result<()> {
        let text = self.take_since(start)?;
        self.verbatim(&text);
        Ok(())
    }

    /// Takes away what was written since `start`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn take_since(&mut self, start: usize) -> Result<Vec<u8>> {
        let text = try_to_vec(self.output.as_slice().get(start..).unwrap_or_default())?;
        self.output.truncate(start);
        Ok(text)
    }

    /// Writes several pieces one after the other.
    pub(super) fn raw(&mut self, pieces: &[&[u8]]) {
        pieces.iter().for_each(|piece| self.output.write(piece));
    }

    /// The error reply for `error`, which the request `args` met.
    pub(super) fn error(&mut self, error: &Error, args: Args<'_>) {
        match error.kind() {
            Kind::Command(fault) => self.fault(fault, args),
            Kind::Protocol { what } => {
                self.raw(&[b"-ERR Protocol error: ", what.as_bytes(), b"\r\n"]);
            }
            Kind::UnexpectedByte { expected, found } => self.raw(&[
                b"-ERR Protocol error: expected '",
                &[expected],
                b"', got '",
                printable(&[found]),
                b"'\r\n",
            ]),
            Kind::OutOfMemory { .. } => self.fault(CommandFault::OutOfMemory, args),
            Kind::BadValue { expected, .. } => {
                self.raw(&[b"-ERR ", expected.as_bytes(), b"\r\n"]);
            }
            _ => self.raw(&[b"-ERR internal error\r\n"]),
        }
    }

    fn fault(&mut self, fault: CommandFault, args: Args<'_>) {
        let text = match fault {
            CommandFault::Unknown => return self.unknown_command(args),
            CommandFault::UnknownSubcommand(parent) => {
                let name = args.get(1).unwrap_or_default();
                self.raw(&[b"-ERR unknown subcommand '"]);
                self.quoted(name, QUOTED_BYTES_MAX);
                self.raw(&[b"'. Try "]);
                for byte in parent.bytes() {
                    self.output.write(&[byte.to_ascii_uppercase()]);
                }
                return self.raw(&[b" HELP.\r\n"]);
            }
            CommandFault::WrongArity(name) => {
                let start: &[u8] = b"-ERR wrong number of arguments for '";
                return self.raw(&[start, name.as_bytes(), b"' command\r\n"]);
            }
            CommandFault::InvalidExpire(name) => {
                let start: &[u8] = b"-ERR invalid expire time in '";
                return self.raw(&[start, name.as_bytes(), b"' command\r\n"]);
            }
            CommandFault::Syntax => "ERR syntax error",
            CommandFault::NotAnInteger => "ERR value is not an integer or out of range",
            CommandFault::NotAFloat => "ERR value is not a valid float",
            CommandFault::Overflow => "ERR increment or decrement would overflow",
            CommandFault::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            }
            CommandFault::OutOfMemory => OUT_OF_MEMORY,
            CommandFault::TooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            CommandFault::OutOfRange => "ERR index out of range",
            CommandFault::InvalidCursor => "ERR invalid cursor",
            CommandFault::NoSuchKey => "ERR no such key",
            CommandFault::AuthRequired => "NOAUTH Authentication required.",
            CommandFault::WrongPassword => {
                "WRONGPASS invalid username-password pair or user is disabled."
            }
            CommandFault::Text(text) => text,
            CommandFault::Told => return,
        };
        self.raw(&[b"-", text.as_bytes(), b"\r\n"]);
    }

    fn unknown_command(&mut self, args: Args<'_>) {
        self.raw(&[b"-ERR unknown command '"]);
        self.quoted(args.get(0).unwrap_or_default(), QUOTED_BYTES_MAX);
        self.raw(&[b"', with args beginning with: "]);
        let mut left = QUOTED_BYTES_MAX;
        for arg in args.from(1) {
            self.raw(&[b"'"]);
            let written = self.quoted(arg, left);
            self.raw(&[b"' "]);
            match left.checked_sub(written + 3) {
                None | Some(0) => break,
                Some(rest) => left = rest,
            }
        }
        self.raw(&[b"\r\n"]);
    }

    /// Repeats up to `limit` bytes of what a client sent, without line breaks; a NUL ends it, as in C.
    pub(super) fn quoted(&mut self, bytes: &[u8], limit: usize) -> usize {
        let end = bytes
            .iter()
            .position(|&b| b == 0)
            .unwrap_or(bytes.len())
            .min(limit);
        for byte in &bytes[..end] {
            self.output.write(printable(core::slice::from_ref(byte)));
        }
        end
    }

    /// A type byte, a number and the line's end. A call of its own, from hundreds of places.
    #[inline(never)]
    fn header(&mut self, kind: u8, number: u64) {
        let small = number as usize;
        match number {
            0..=9 => self.output.write(&[kind, digit(small), b'\r', b'\n']),
            10..=99 => {
                let [tens, ones] = TWO_DIGITS[small];
                self.output.write(&[kind, tens, ones, b'\r', b'\n']);
            }
            _ => self.long_header(kind, number),
        }
    }

    #[inline(never)]
    fn long_header(&mut self, kind: u8, number: u64) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        self.output.write_pieces([&[kind], digits, b"\r\n"]);
    }
}

/// What a client is told for which there is no memory.
pub(super) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// A number below ten as text.
#[inline]
const fn digit(number: usize) -> u8 {
    b'0' + number as u8
}

/// The numbers below a hundred as text of two digits.
static TWO_DIGITS: [[u8; 2]; 100] = {
    let mut texts = [[0; 2]; 100];
    let mut number = 0;
    while number < texts.len() {
        texts[number] = [digit(number / 10), digit(number % 10)];
        number += 1;
    }
    texts
};

/// One byte as an error may repeat it: line breaks become blanks.
fn printable(byte: &[u8]) -> &[u8] {
    if matches!(byte, [b'\r' | b'\n']) {
        b" "
    } else {
        byte
    }
}

impl core::fmt::Write for Reply<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.output.write(text.as_bytes());
        Ok(())
    }
}
