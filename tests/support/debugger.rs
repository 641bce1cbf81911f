//! QEMU's debugger port, for what no peer of the image can do to it.
//!
//! Source: the GDB remote serial protocol ("Packets").

use std::io::{Read, Write};
use std::net::TcpStream;

use super::guest::connect;

/// The program counter's number in GDB's list of aarch64 registers.
const PROGRAM_COUNTER: u32 = 32;

/// A stopped machine.
pub(crate) struct Debugger(TcpStream);

impl Debugger {
    /// Connects, which stops the machine.
    pub(crate) fn connect(port: u16) -> Self {
        Self(connect(port))
    }

    /// Lets the first CPU go on from `address`.
    pub(crate) fn jump_to(mut self, address: u64) {
        let hex: String = address
            .to_le_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // QEMU writes single registers only for those who have read which there are.
        self.ask("qXfer:features:read:target.xml:0,ffb");
        assert_eq!(self.ask(&format!("P{PROGRAM_COUNTER:x}={hex}")), "OK");
        assert_eq!(self.ask("D"), "OK");
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
