//! QEMU's debugger port, for what no peer of the image can do to it.
//!
//! Source: the GDB remote serial protocol ("Packets").

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Numbers in GDB's list of aarch64 registers; x0 is 0.
const PROGRAM_COUNTER: u32 = 32;

/// How long QEMU may take to open its port, and to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Bytes of memory that fit an answer, with room to spare.
const PIECE_BYTES: usize = 1024;

/// A stopped machine.
pub(crate) struct Debugger(TcpStream);

impl Debugger {
    /// Connects, which stops the machine, as soon as QEMU is there.
    pub(crate) fn connect(port: u16) -> Self {
        let deadline = Instant::now() + LIMIT;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(fault) => assert!(Instant::now() < deadline, "port {port}: {fault}"),
            }
            sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(LIMIT)).expect("it is above 0");
        let mut debugger = Self(stream);
        // QEMU writes single registers only for those who have read which there are.
        debugger.ask("qXfer:features:read:target.xml:0,ffb");
        debugger
    }

    /// Lets the first CPU go on from `address`, with `argument` in x0.
    pub(crate) fn jump_to(mut self, address: u64, argument: u64) {
        self.set(0, argument);
        self.set(PROGRAM_COUNTER, address);
        assert_eq!(self.ask("D"), "OK");
    }

    /// Lets the machine go on where it was.
    pub(crate) fn go_on(mut self) {
        assert_eq!(self.ask("D"), "OK");
    }

    /// Resets the machine, as PSCI does, and lets it go.
    pub(crate) fn reset(mut self) {
        let command = hex(b"system_reset");
        assert_eq!(self.ask(&format!("qRcmd,{command}")), "OK");
        self.go_on();
    }

    /// What memory holds.
    pub(crate) fn read(&mut self, address: u64, bytes: usize) -> Vec<u8> {
        let pieces = (0..bytes).step_by(PIECE_BYTES);
        let piece = |at: usize| self.read_piece(address + at as u64, PIECE_BYTES.min(bytes - at));
        pieces.flat_map(piece).collect()
    }

    fn read_piece(&mut self, address: u64, bytes: usize) -> Vec<u8> {
        let text = self.ask(&format!("m{address:x},{bytes:x}"));
        let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let read: Option<Vec<u8>> = (0..bytes).map(|n| byte(2 * n)).collect();
        read.unwrap_or_else(|| panic!("no memory at {address:#x}: {text}"))
    }

    /// Changes memory.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        let packet = format!("M{address:x},{:x}:{}", bytes.len(), hex(bytes));
        assert_eq!(self.ask(&packet), "OK");
    }

    /// Lets the machine go on, the first CPU by `instruction` in place of what it would run next.
    pub(crate) fn replace_next_instruction(mut self, instruction: u32) {
        let reply = self.ask(&format!("p{PROGRAM_COUNTER:x}"));
        let address = u64::from_str_radix(&reply, 16).map(u64::swap_bytes);
        let address = address.expect("a register is 16 digits");
        let bytes = hex(&instruction.to_le_bytes());
        assert_eq!(self.ask(&format!("M{address:x},4:{bytes}")), "OK");
        assert_eq!(self.ask("D"), "OK");
    }

    fn set(&mut self, register: u32, value: u64) {
        let value = hex(&value.to_le_bytes());
        assert_eq!(self.ask(&format!("P{register:x}={value}")), "OK");
    }

    fn ask(&mut self, body: &str) -> String {
        let sum = body.bytes().fold(0u8, u8::wrapping_add);
        let packet = format!("${body}#{sum:02x}");
        self.0.write_all(packet.as_bytes()).expect("QEMU listens");
        loop {
            let reply = self.packet();
            // That the machine stopped is told when it has, in between.
            if !reply.starts_with('T') {
                return reply;
            }
        }
    }

    /// The text between `$` and `#`, without the two digits behind.
    fn packet(&mut self) -> String {
        let mut bytes = Vec::new();
        while bytes.len() < 3 || bytes[bytes.len() - 3] != b'#' {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("QEMU answers");
            bytes.push(byte[0]);
        }
        self.0.write_all(b"+").expect("QEMU listens");
        let start = bytes.iter().position(|&byte| byte == b'$');
        let start = start.expect("a packet begins so") + 1;
        String::from_utf8_lossy(&bytes[start..bytes.len() - 3]).into_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
