//! The sections and functions of an ELF file of 64 bits, little-endian: as many lines as it takes to find one by its name.

/// Bytes of a section's header.
const HEADER_BYTES: usize = 64;
/// The type of a section that takes no bytes of the file.
const NO_BITS: u64 = 8;

/// A file.
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
    headers: &'a [[u8; HEADER_BYTES]],
    names: &'a [u8],
}

/// A section of it.
pub(crate) struct Section<'a> {
    /// Where it lies when the image runs where it was linked to.
    pub(crate) address: u64,
    /// What it holds.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Elf<'a> {
    /// A file's sections; `None` if it is no such file.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        // 64 bits, little-endian.
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let at = number(bytes, 40, 8)? as usize;
        let (headers, _) = bytes.get(at..)?.as_chunks();
        let headers = headers.get(..number(bytes, 60, 2)? as usize)?;
        let names = headers.get(number(bytes, 62, 2)? as usize)?;
        let names = contents(bytes, names)?;
        Some(Self {
            bytes,
            headers,
            names,
        })
    }

    /// The section of that name.
    pub(crate) fn section(&self, name: &str) -> Option<Section<'a>> {
        let has_name = |header: &&[u8; HEADER_BYTES]| {
            let at = number(&header[..], 0, 4).unwrap_or(u64::MAX) as usize;
            let rest = self.names.get(at..).unwrap_or_default();
            rest.split(|&byte| byte == 0).next() == Some(name.as_bytes())
        };
        let header = self.headers.iter().find(has_name)?;
        Some(Section {
            address: number(header, 16, 8)?,
            bytes: contents(self.bytes, header)?,
        })
    }
}

/// Bytes of a symbol.
const SYMBOL_BYTES: usize = 24;
/// The type of a symbol that is a function.
const FUNCTION: u64 = 2;

impl<'a> Elf<'a> {
    /// Where each function begins, and its name, in order.
    pub(crate) fn functions(&self) -> Vec<(u64, &'a str)> {
        let bytes = |name| self.section(name).map_or(&[][..], |section| section.bytes);
        let names = bytes(".strtab");
        let (symbols, _) = bytes(".symtab").as_chunks::<SYMBOL_BYTES>();
        let function = |symbol: &[u8; SYMBOL_BYTES]| {
            let is_function = number(symbol, 4, 1)? & 15 == FUNCTION;
            let name = names.get(number(symbol, 0, 4)? as usize..)?;
            let name = name.split(|&byte| byte == 0).next()?;
            let name = std::str::from_utf8(name).ok()?;
            is_function.then_some((number(symbol, 8, 8)?, name))
        };
        let mut functions: Vec<_> = symbols.iter().filter_map(function).collect();
        functions.sort_unstable();
        functions
    }
}

fn contents<'a>(bytes: &'a [u8], header: &[u8; HEADER_BYTES]) -> Option<&'a [u8]> {
    if number(header, 4, 4)? == NO_BITS {
        return Some(&[]);
    }
    let at = number(header, 24, 8)? as usize;
    bytes.get(at..)?.get(..number(header, 32, 8)? as usize)
}

/// The number of so many bytes at `at`.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.get(..len)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    )
}
