//! Makes the symbol table of an image, by the form that `src/diagnosis/symbols` reads: `llvm-nm` of the linked image is
//! its input, the table its output, filled up with zeros to the bytes that the linker has left room for.
//! `scripts/image.sh` builds and runs it.

#[path = "../../src/diagnosis/symbols"]
mod symbols {
    mod grammar;
    pub(crate) mod pack;
    mod pack_names;
}

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match table() {
        Ok(table) => match std::io::stdout().write_all(&table) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the table cannot be written: {error}")),
        },
        Err(what) => fail(&what),
    }
}

fn fail(what: &str) -> ExitCode {
    eprintln!("symbol-table: error: {what}");
    ExitCode::FAILURE
}

/// The table, or what is wrong.
fn table() -> Result<Vec<u8>, String> {
    let mut names = String::new();
    let read = std::io::stdin().read_to_string(&mut names);
    read.map_err(|error| format!("what llvm-nm says cannot be read: {error}"))?;
    let place = |name: &str| {
        let mut lines = names.lines().filter_map(line);
        let found = lines.find(|(_, _, symbol)| *symbol == name);
        found
            .map(|(address, ..)| address)
            .ok_or(format!("the image has no symbol {name}"))
    };
    let (start, end) = (place("__image_start")?, place("__text_end")?);
    let room = place("__symbols_end")? - place("__symbols_start")?;
    let functions = names
        .lines()
        .filter_map(line)
        .filter(|(address, kind, name)| {
            // Names that begin with $ mark code and data in it.
            matches!(kind, 't' | 'T') && !name.starts_with('$') && (start..end).contains(address)
        });
    let functions: Vec<_> = functions
        .map(|(address, _, name)| ((address - start) as u32 & !3, demangled(name)))
        .collect();
    let mut table = symbols::pack::pack(&functions, (end - start) as u32);
    if table.len() as u64 > room {
        return Err(format!(
            "the symbol table takes {} bytes, and NOS_SYMBOLS_BYTES leaves room for {room}",
            table.len()
        ));
    }
    eprintln!(
        "symbol-table: {} functions, {} of {room} bytes",
        functions.len(),
        table.len()
    );
    table.resize(room as usize, 0);
    Ok(table)
}

/// A mangled name as people write it, without the hashes in it.
fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// An address, the kind of symbol, its name.
fn line(line: &str) -> Option<(u64, char, &str)> {
    let mut words = line.splitn(3, ' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((address, words.next()?.chars().next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_demangled_without_their_hashes() {
        for (mangled, name) in [
            (
                "_ZN3nos3net4flow4Flow4poll17h0123456789abcdefE",
                "nos::net::flow::Flow::poll",
            ),
            (
                "_ZN74_$LT$nos..bus..topic..Topic$LT$M$GT$$u20$as$u20$nos..bus..tally..Queue$GT$5tally17h0123456789abcdefE",
                "<nos::bus::topic::Topic<M> as nos::bus::tally::Queue>::tally",
            ),
            (
                "_RNvMsa_NtCsbcsGJ9IzBgZ_4core3fmtNtB5_9Formatter9write_str",
                "<core::fmt::Formatter>::write_str",
            ),
            ("memcpy", "memcpy"),
        ] {
            assert_eq!(demangled(mangled), name);
        }
    }
}
