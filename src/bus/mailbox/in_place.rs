//! Large bodies: made where they are to lie in the mailbox, and taken from there straight to where their reader wants them.
//!
//! As [`Mailbox::send`] and [`Mailbox::try_receive`], which move a message once or twice more. What their callers do half
//! way is done in the section that keeps them from being stopped: it is to be short.

use super::{Mailbox, Policy, ReaderWord};
use crate::bus::envelope::Message;
use crate::bus::parcel::Owner;
use crate::bus::port::Port;
use crate::bus::ready::{Knock, ReadyWord};
use crate::bus::ring::Claim;
use crate::bus::tally::Reason;

impl<M: Message> Mailbox<M> {
    /// As [`Mailbox::send`], for a body that is large: `make` makes what is small of it, and `finish` does the rest where
    /// the body lies in the mailbox, so that it is not moved. Neither is called unless there is room; then nobody stops
    /// the sender before they have returned, so they are to be short, and must not panic.
    ///
    /// False if it was refused, which is counted.
    #[inline(always)]
    pub fn send_in_place(
        &self,
        port: &Port,
        make: impl FnOnce() -> M,
        finish: impl FnOnce(&mut M),
    ) -> bool {
        self.put_in_place(port, make, finish, ReadyWord::knock)
    }

    /// As [`Mailbox::send_in_place`], but leaves the reader's bell to [`Mailbox::ring`], which the sender owes: for one who
    /// is about to sleep, so that the reader need not interrupt it first.
    #[inline(always)]
    pub fn leave_in_place(
        &self,
        port: &Port,
        make: impl FnOnce() -> M,
        finish: impl FnOnce(&mut M),
    ) -> bool {
        self.put_in_place(port, make, finish, ReadyWord::leave)
    }

    #[inline(always)]
    fn put_in_place(
        &self,
        port: &Port,
        make: impl FnOnce() -> M,
        finish: impl FnOnce(&mut M),
        tell: impl FnOnce(&ReaderWord, Knock),
    ) -> bool {
        debug_assert!(
            self.policy == Policy::Refuse,
            "what is not made can displace nothing, and not wait"
        );
        let section = port.section();
        let place = match self.normal.claim() {
            Claim::Place(place) => place,
            Claim::Full => return self.refuses(Reason::Full),
            Claim::Closed => return self.refuses(Reason::NoReader),
        };
        // The one use of what is made: it is built where it is to lie.
        place.fill_and(self.envelope(port, make()), |envelope| {
            finish(&mut envelope.body);
            envelope.body.recharge(Owner::KERNEL);
        });
        tell(&self.reader.ready, self.knock);
        drop(section);
        true
    }

    /// Counts a message that was not made.
    #[cold]
    fn refuses(&self, reason: Reason) -> bool {
        self.drops.count(reason);
        false
    }

    /// As [`Mailbox::try_receive`], with the body moved to where `place` says that it is to be, in one move; what was there
    /// is dropped. `place` looks at the body in the mailbox: it is to be short, and must not panic, as nobody stops the
    /// reader meanwhile.
    ///
    /// False if no message waits; `place` is not called then.
    #[inline(always)]
    pub fn receive_to<'p>(&self, place: impl FnOnce(&M) -> &'p mut Option<M>) -> bool
    where
        M: 'p,
    {
        if self.policy == Policy::Wait || !self.urgent.is_surely_empty() {
            return self.receive_from_both_to(place);
        }
        let reader = &*self.reader;
        let section = reader.section();
        let Some(found) = self.normal.find() else {
            return false;
        };
        if found.look(|envelope| envelope.deadline) <= reader.now() {
            let expired = found.take();
            drop(section);
            self.lose(&expired, Reason::Expired);
            return self.receive_from_both_to(place);
        }
        self.count_received();
        found.note(found.look(|envelope| envelope.id.as_u64()));
        let place = found.look(|envelope| place(&envelope.body));
        found.take_part(|envelope| &mut envelope.body, place);
        if let Some(body) = place {
            body.recharge(reader.owner());
        }
        drop(section);
        true
    }

    #[cold]
    fn receive_from_both_to<'p>(&self, place: impl FnOnce(&M) -> &'p mut Option<M>) -> bool
    where
        M: 'p,
    {
        let received = self.receive_from_both();
        let is_any = received.is_some();
        if let Some(envelope) = received {
            let place = place(&envelope.body);
            *place = Some(envelope.body);
        }
        is_any
    }
}
