//! Makes the line table of an image, in the form that `src/diagnosis/lines` reads: the linked image with its DWARF is its
//! input, the table its output. `line-table IMAGE SOURCES >TABLE`: files below the directory SOURCES are named from there.

mod elf;
#[path = "../../src/diagnosis/lines"]
mod lines {
    pub(crate) mod checksum;
    pub(crate) mod pack;
}
#[path = "../../src/diagnosis/symbols"]
mod symbols {
    mod grammar;
    pub(crate) mod pack_names;
}

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use elf::Elf;
use lines::pack::{Frame, Run, pack};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What the compiler calls the place of the standard library's sources: this, a hash, and the path.
const STANDARD: &str = "/rustc/";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, sources] = &arguments[..] else {
        return fail("usage: line-table IMAGE SOURCES >TABLE");
    };
    match table(image, sources) {
        Ok(table) => match std::io::stdout().write_all(&table) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the table cannot be written: {error}")),
        },
        Err(what) => fail(&what),
    }
}

fn fail(what: &str) -> ExitCode {
    eprintln!("line-table: error: {what}");
    ExitCode::FAILURE
}

/// The table, or what is wrong.
fn table(image: &str, sources: &str) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(image).map_err(|error| format!("{image}: {error}"))?;
    let elf = Elf::read(&bytes).ok_or(format!("{image} is no ELF file of 64 bits"))?;
    let text = elf.section(".text").ok_or("the image has no .text")?;
    let note = elf.section(".note.gnu.build-id");
    let identity = note.and_then(|note| note.bytes.last_chunk());
    let identity = *identity.ok_or("the image has no build id of 8 bytes")?;

    let section = |id: SectionId| {
        let section = elf.section(id.name());
        let bytes = section.map_or(&[][..], |section| section.bytes);
        Ok::<_, String>(EndianSlice::new(bytes, LittleEndian))
    };
    let told = |error| format!("the DWARF of {image}: {error}");
    let context = Context::from_dwarf(Dwarf::load(section)?).map_err(told)?;
    let functions = elf.functions();
    let symbol = |place: u64| {
        let before = functions.partition_point(|(start, _)| *start <= place);
        let (_, name) = functions.get(before.checked_sub(1)?)?;
        let name = format!("{:#}", rustc_demangle::demangle(name));
        let name = plain(&name);
        name.rsplit("::").next().map(String::from)
    };
    let mut runs: Vec<Run> = Vec::new();
    for offset in (0..text.bytes.len() as u32).step_by(4) {
        let place = text.address + u64::from(offset);
        let mut found = context.find_frames(place).skip_all_loads().map_err(told)?;
        let mut frames = Vec::new();
        while let Some(frame) = found.next().map_err(told)? {
            // The compiler leaves out functions into which nothing was inlined: their lines are there, their names are not.
            let name = match &frame.function {
                Some(function) => Some(plain(&function.demangle().map_err(told)?)),
                None => symbol(place),
            };
            let Some(function) = name else {
                continue;
            };
            let location = frame.location;
            let file = location.as_ref().and_then(|location| location.file);
            frames.push(Frame {
                function,
                file: short(file.unwrap_or("?"), sources),
                line: location.and_then(|location| location.line).unwrap_or(0),
            });
        }
        frames.reverse();
        runs.push((offset, frames));
    }
    if runs.iter().all(|(_, frames)| frames.is_empty()) {
        return Err(format!("{image} has no DWARF"));
    }
    let table = pack(&runs, text.bytes.len() as u32, identity);
    eprintln!(
        "line-table: {} bytes for {} of text",
        table.len(),
        text.bytes.len()
    );
    Ok(table)
}

/// A function's name without what it is instantiated for: `<A<B> as C>::f::<D>` is `<A as C>::f`.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    // Of each bracket that is open, whether what is in it stays: a name may begin with a type.
    let mut open: Vec<bool> = Vec::new();
    let mut before = ' ';
    for character in name.chars() {
        let stays = open.iter().all(|&stays| stays);
        match character {
            '<' => {
                open.push(plain.is_empty() || plain.ends_with('<'));
                if stays && open.last() == Some(&true) {
                    plain.push(character);
                } else if stays && plain.ends_with("::") {
                    plain.truncate(plain.len() - 2);
                }
            }
            // Not that of an arrow.
            '>' if before != '-' => {
                open.pop();
                if stays {
                    plain.push(character);
                }
            }
            _ if stays => plain.push(character),
            _ => {}
        }
        before = character;
    }
    plain
}

/// A file's name without what only says where this machine keeps it.
fn short(file: &str, sources: &str) -> String {
    let within = Path::new(file).strip_prefix(sources).ok();
    let within = within.and_then(Path::to_str).unwrap_or(file);
    let standard = within.strip_prefix(STANDARD);
    let standard = standard.and_then(|rest| rest.split_once('/'));
    standard.map_or(within, |(_, path)| path).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_they_are_instantiated_for() {
        for (name, expected) in [
            ("poll", "poll"),
            ("drop_in_place<alloc::vec::Vec<u8, A>>", "drop_in_place"),
            ("<A<B> as C<D>>::f::<E>", "<A as C>::f"),
            ("<<A as B>::C as D<E>>::f", "<<A as B>::C as D>::f"),
            (
                "core::iter::map::<fn(u8) -> u8>::{closure#0}",
                "core::iter::map::{closure#0}",
            ),
            ("<[T]>::sort", "<[T]>::sort"),
        ] {
            assert_eq!(plain(name), expected);
        }
    }

    #[test]
    fn files_are_named_from_where_the_sources_are() {
        for (file, expected) in [
            ("/home/me/nos/src/main.rs", "src/main.rs"),
            ("fdt-0.1.5/src/lib.rs", "fdt-0.1.5/src/lib.rs"),
            (
                "/rustc/0123abcd/library/core/src/option.rs",
                "library/core/src/option.rs",
            ),
        ] {
            assert_eq!(short(file, "/home/me/nos"), expected);
        }
    }
}
