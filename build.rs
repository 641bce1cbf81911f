//! Hands the linker script to the linker for the guest, with the sizes of the stack and of the symbol table that it
//! leaves room for, and links again when it changes; what the linker makes has an identity. Packs what COMMAND tells of commands.

#[path = "src/diagnosis/symbols/grammar.rs"]
mod grammar;

use grammar::{Limits, find_rules};
use std::path::Path;
use std::{env, fs};

/// What `COMMAND` tells, and how it is packed is told by `document.rs` beside it.
const DOCUMENTS: &str = "src/app/cache_server/commands/documents.txt";
/// Says how many bytes the linker leaves room for, for the names of functions.
const SYMBOLS_BYTES: &str = "NOS_SYMBOLS_BYTES";
/// As many pairs as a byte can stand for.
const LIMITS: Limits = Limits {
    rules: 128,
    uses_min: 1,
    depth_max: 12,
};

fn main() {
    println!("cargo::rerun-if-changed={DOCUMENTS}");
    let directory = env::var("OUT_DIR").expect("cargo sets it for build scripts");
    let text = fs::read(DOCUMENTS).expect("the documents can be read");
    let packed = Path::new(&directory).join("documents.packed");
    fs::write(packed, pack(&text)).expect("cargo's directory can be written");
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/diagnosis/symbols/grammar.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        println!("cargo::rustc-link-arg=-T{directory}/linker.ld");
        println!("cargo::rustc-link-arg=--build-id=fast");
        // Of the CPU that boots: what is made there is moved through it, by code that is not optimised many times.
        let is_optimised = env::var("OPT_LEVEL").is_ok_and(|level| level != "0");
        let stack_bytes = if is_optimised { 128 << 10 } else { 512 << 10 };
        println!("cargo::rustc-link-arg=--defsym=STACK_BYTES={stack_bytes}");
        // By whoever puts names there once all is linked.
        println!("cargo::rerun-if-env-changed={SYMBOLS_BYTES}");
        let symbols_bytes = env::var(SYMBOLS_BYTES).unwrap_or("0".into());
        println!("cargo::rustc-link-arg=--defsym=SYMBOLS_BYTES={symbols_bytes}");
    }
}

/// Packs a text by byte pair encoding: the number of pairs, the pairs, and the text with a byte from 128 on for each.
fn pack(text: &[u8]) -> Vec<u8> {
    assert!(text.is_ascii(), "bytes from 128 on stand for pairs");
    let mut texts = [text.iter().copied().map(u16::from).collect()];
    let pairs = find_rules(&mut texts, &LIMITS);
    let byte = |&symbol: &u16| symbol as u8;
    let mut packed = vec![pairs.len() as u8];
    packed.extend(pairs.as_flattened().iter().map(byte));
    packed.extend(texts[0].iter().map(byte));
    packed
}
