//! Expiry: when keys end.

use super::Context;
use super::options::Base;
use crate::app::cache_server::number::{integer, refused, refused_text};
use crate::app::cache_server::resp::Args;
use crate::app::cache_server::store::{Expiry, Touch};
use crate::app::cache_server::word::Word;
use crate::error::{CommandFault, Result};

/// The unit of an expiry argument or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
}

/// True if a key that ends then has ended already.
pub(super) fn is_past(at_ms: u64, now_ms: u64) -> bool {
    at_ms <= now_ms
}

/// The time that an argument of `command` names, which must be positive and fit.
pub(super) fn expire_at(
    value: i64,
    unit: Unit,
    base: Base,
    now_ms: u64,
    command: &'static str,
) -> Result<u64> {
    let invalid = refused(CommandFault::InvalidExpire(command));
    if value <= 0 {
        return Err(invalid);
    }
    let at_ms = moment(value, unit, base, now_ms).ok_or(invalid)?;
    Ok(at_ms.unsigned_abs())
}

/// The time that an argument names, in milliseconds since the epoch; `None` if it does not fit.
fn moment(value: i64, unit: Unit, base: Base, now_ms: u64) -> Option<i64> {
    let millis = match unit {
        Unit::Seconds => value.checked_mul(1000)?,
        Unit::Millis => value,
    };
    match base {
        Base::Now => millis.checked_add(i64::try_from(now_ms).ok()?),
        Base::Epoch => Some(millis),
    }
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub(super) fn expire(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    expire_generic(context, args, Unit::Seconds, Base::Now, "expire")
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpire(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    expire_generic(context, args, Unit::Millis, Base::Now, "pexpire")
}

/// `EXPIREAT key unix-seconds [NX | XX | GT | LT]`
pub(super) fn expireat(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    expire_generic(context, args, Unit::Seconds, Base::Epoch, "expireat")
}

/// `PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpireat(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    expire_generic(context, args, Unit::Millis, Base::Epoch, "pexpireat")
}

/// Under which conditions EXPIRE takes effect.
#[derive(Default)]
struct Conditions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_sooner: bool,
}

impl Conditions {
    fn parse(context: &mut Context<'_>, args: Args<'_>) -> Result<Self> {
        let mut conditions = Self::default();
        for word in args.from(3) {
            let is = |name: &str| word.is_word(name.as_bytes());
            let flag = match () {
                () if is("NX") => &mut conditions.if_none,
                () if is("XX") => &mut conditions.if_any,
                () if is("GT") => &mut conditions.if_later,
                () if is("LT") => &mut conditions.if_sooner,
                () => return context.refuse("ERR Unsupported option ", word, ""),
            };
            *flag = true;
        }
        if conditions.if_none && (conditions.if_any || conditions.if_later || conditions.if_sooner)
        {
            return Err(refused_text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if conditions.if_later && conditions.if_sooner {
            return Err(refused_text(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    /// True if a key with the expiry `present` shall end at `at_ms`. No expiry counts as infinitely late.
    fn allow(&self, present: Option<u64>, at_ms: i64) -> bool {
        let present = present.map(|present| i64::try_from(present).unwrap_or(i64::MAX));
        !(self.if_none && present.is_some()
            || self.if_any && present.is_none()
            || self.if_later && present.is_none_or(|present| at_ms <= present)
            || self.if_sooner && present.is_some_and(|present| at_ms >= present))
    }
}

fn expire_generic(
    context: &mut Context<'_>,
    args: Args<'_>,
    unit: Unit,
    base: Base,
    command: &'static str,
) -> Result<()> {
    let conditions = Conditions::parse(context, args)?;
    let (key, database) = (args.at(1), context.database());
    let store = &mut context.server.store;
    let now_ms = store.now_ms();
    let at_ms = moment(integer(args.at(2))?, unit, base, now_ms)
        .ok_or(refused(CommandFault::InvalidExpire(command)))?;
    let is_done = match store.expiry(database, key, Touch::Use) {
        None => false,
        Some(present) if !conditions.allow(present, at_ms) => false,
        Some(_) => match u64::try_from(at_ms) {
            Ok(at_ms) if !is_past(at_ms, now_ms) => {
                store.set_expiry(database, key, Expiry::AtMs(at_ms))?
            }
            _ => store.remove(database, key),
        },
    };
    context.reply.integer(i64::from(is_done));
    Ok(())
}

/// `PERSIST key`
pub(super) fn persist(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    let (key, database) = (args.at(1), context.database());
    let had_expiry = context
        .server
        .store
        .expiry(database, key, Touch::Use)
        .flatten()
        .is_some();
    context
        .server
        .store
        .set_expiry(database, key, Expiry::Never)?;
    context.reply.integer(i64::from(had_expiry));
    Ok(())
}

/// `TTL key`
pub(super) fn ttl(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    tell_expiry(context, args, Unit::Seconds, Base::Now)
}

/// `PTTL key`
pub(super) fn pttl(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    tell_expiry(context, args, Unit::Millis, Base::Now)
}

/// `EXPIRETIME key`
pub(super) fn expiretime(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    tell_expiry(context, args, Unit::Seconds, Base::Epoch)
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(context: &mut Context<'_>, args: Args<'_>) -> Result<()> {
    tell_expiry(context, args, Unit::Millis, Base::Epoch)
}

fn tell_expiry(context: &mut Context<'_>, args: Args<'_>, unit: Unit, base: Base) -> Result<()> {
    let (key, database) = (args.at(1), context.database());
    let now_ms = context.server.store.now_ms();
    let is_there = context
        .server
        .read(database as u8, key, Touch::LookOnly)
        .is_some();
    let expiry = context
        .server
        .store
        .expiry(database, key, Touch::LookOnly)
        .flatten();
    let answer = match expiry {
        None if is_there => -1,
        None => -2,
        Some(at_ms) => {
            let millis = match base {
                Base::Now => at_ms.saturating_sub(now_ms),
                Base::Epoch => at_ms,
            };
            let shown = match unit {
                Unit::Seconds => millis.saturating_add(500) / 1000,
                Unit::Millis => millis,
            };
            i64::try_from(shown).unwrap_or(i64::MAX)
        }
    };
    context.reply.integer(answer);
    Ok(())
}
