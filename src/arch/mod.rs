//! The machine's architecture: the only assembly in the image.

pub mod aarch64;
