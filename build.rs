//! Hands the linker script to the linker for the guest, with the size of the stack that it leaves room for, and links
//! again when it changes.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        println!("cargo::rustc-link-arg=-T{directory}/linker.ld");
        // Of the CPU that boots: what is made there is moved through it, by code that is not optimised many times.
        let is_optimised = env::var("OPT_LEVEL").is_ok_and(|level| level != "0");
        let stack_bytes = if is_optimised { 128 << 10 } else { 512 << 10 };
        println!("cargo::rustc-link-arg=--defsym=STACK_BYTES={stack_bytes}");
    }
}
