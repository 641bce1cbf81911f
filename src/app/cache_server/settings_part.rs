//! The settings in a checkpoint: those that CONFIG SET changed, by name and as text. A boot argument comes before what
//! was saved.
//!
//! Each is the length of its name (1 byte), the length of its value (2 bytes, little-endian), name, value.

use super::config::CacheConfig;
use super::parameters::{PARAMETERS, Parameter};
use super::server::Server;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use alloc::vec::Vec;

/// The part's name.
pub(super) const NAME: &str = "configuration";

/// Appends the settings that were changed.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn save(config: &CacheConfig, out: &mut Vec<u8>) -> Result<()> {
    let changed = PARAMETERS.iter().enumerate();
    for (_, parameter) in changed.filter(|(number, _)| config.changed >> number & 1 != 0) {
        let mut outcome = Ok(());
        parameter.show(config, |value| {
            let name = parameter.name.as_bytes();
            let len = (value.len() as u16).to_le_bytes();
            outcome = out
                .try_append(&[name.len() as u8, len[0], len[1]])
                .and_then(|()| out.try_append(name))
                .and_then(|()| out.try_append(value));
        });
        outcome?;
    }
    Ok(())
}

/// Takes up saved settings. One that is no more, or cannot have that value any more, is logged and left as it is.
///
/// # Errors
/// `Protocol` if they cannot be read; those before are taken up.
pub(super) fn restore(server: &mut Server, mut from: &[u8]) -> Result<()> {
    let mut config = server.config.clone();
    let mut outcome = Ok(());
    while !from.is_empty() {
        let one = from.split_first_chunk::<3>().and_then(|(lens, rest)| {
            let (name, rest) = rest.split_at_checked(lens[0].into())?;
            let (value, rest) =
                rest.split_at_checked(u16::from_le_bytes([lens[1], lens[2]]).into())?;
            from = rest;
            Some((name, value))
        });
        let Some((name, value)) = one else {
            let what = "saved settings";
            outcome = Err(Error::new(Subsystem::Cache, Kind::Protocol { what }));
            break;
        };
        let Some(parameter) = Parameter::named(name) else {
            continue;
        };
        if config.given & parameter.bit() != 0 || parameter.is_immutable() {
            continue;
        }
        match parameter.set(&mut config, value) {
            Ok(()) => config.changed |= parameter.bit(),
            Err(error) => log::error!("a saved setting: {error}"),
        }
    }
    server.change_settings(config);
    outcome
}
