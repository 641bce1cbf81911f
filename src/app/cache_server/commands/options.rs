//! The options that SET and GETEX share.

use super::expiry::{Unit, expire_at};
use crate::app::cache_server::number::{integer, refused};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::Expiry;
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// When SET writes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    IfMissing,
    IfPresent,
}

/// What GETEX and SET were asked besides.
pub(super) struct Options<'a> {
    /// When it writes at all.
    pub(super) condition: Condition,
    /// It answers with the value before.
    pub(super) returns_old: bool,
    /// The expiry stays as it is.
    pub(super) keeps_expiry: bool,
    /// The expiry is removed.
    pub(super) persists: bool,
    /// The argument, its unit, and what it counts from.
    expiry: Option<(&'a [u8], Unit, Base)>,
}

/// What an expiry counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Now,
    Epoch,
}

/// Whose options are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Set,
    GetEx,
}

impl<'a> Options<'a> {
    /// Reads the arguments from `first` on.
    ///
    /// # Errors
    /// `Syntax`.
    pub(super) fn parse(args: Args<'a>, first: usize, reader: Reader) -> Result<Self> {
        let mut options = Self {
            condition: Condition::Always,
            returns_old: false,
            keeps_expiry: false,
            persists: false,
            expiry: None,
        };
        let mut number = first;
        while let Some(word) = args.get(number) {
            let is = |name: &str| word.is_word(name.as_bytes());
            let is_set = reader == Reader::Set;
            let time = [
                ("EX", Unit::Seconds, Base::Now),
                ("PX", Unit::Millis, Base::Now),
                ("EXAT", Unit::Seconds, Base::Epoch),
                ("PXAT", Unit::Millis, Base::Epoch),
            ]
            .into_iter()
            .find(|(name, ..)| is(name));
            if is_set && is("NX") && options.condition != Condition::IfPresent {
                options.condition = Condition::IfMissing;
            } else if is_set && is("XX") && options.condition != Condition::IfMissing {
                options.condition = Condition::IfPresent;
            } else if is_set && is("GET") {
                options.returns_old = true;
            } else if is_set && is("KEEPTTL") && options.expiry.is_none() {
                options.keeps_expiry = true;
            } else if !is_set && is("PERSIST") && options.expiry.is_none() {
                options.persists = true;
            } else if let Some((_, unit, base)) = time
                && !options.keeps_expiry
                && !options.persists
                && options
                    .expiry
                    .is_none_or(|(_, u, b)| (u, b) == (unit, base))
                && let Some(text) = args.get(number + 1)
            {
                options.expiry = Some((text, unit, base));
                number += 1;
            } else {
                return Err(refused(CommandFault::Syntax));
            }
            number += 1;
        }
        Ok(options)
    }

    /// The expiry asked for.
    ///
    /// # Errors
    /// `NotAnInteger`, or `InvalidExpire` for `command`.
    pub(super) fn expiry(&self, now_ms: u64, command: &'static str) -> Result<Option<Expiry>> {
        let Some((text, unit, base)) = self.expiry else {
            return Ok(None);
        };
        let at_ms = expire_at(integer(text)?, unit, base, now_ms, command)?;
        Ok(Some(Expiry::AtMs(at_ms)))
    }
}
