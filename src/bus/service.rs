//! Requests: a mailbox of questions and a table for their answers, one pair for each thing that is served.
//!
//! A request is a message with a correlation; its future ends with the answer, with `TimedOut` at its deadline,
//! with the mailbox's refusal, or with `PeerDied` when the server dies first. Nothing is lost silently: an
//! answer that nobody waits for comes back to the server and is counted.
//!
//! The composition root makes services; they outlive both ends. After a death, the supervisor calls
//! [`Service::server_died`] or [`Service::client_died`] before it starts anything again.

use super::envelope::{Correlation, Envelope, Message, MessageId, SubsystemId};
use super::mailbox::{Mailbox, Plan, Sent, dropped};
use super::parcel::Owner;
use super::port::{Exchange, Port};
use super::replies::{Answer, Filled, ReplyTable};
use super::tally::{Queue, RECENT, Reason, Tally};
use crate::error::{Error, Kind, Result, Subsystem};
use crate::metrics::Counter;
use crate::platform::time::Instant;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// Where questions `Q` are asked and answers `R` come back. Answers are bodies too: see [`Message`].
pub struct Service<Q, R> {
    questions: Mailbox<Q>,
    answers: ReplyTable<Result<R>>,
    exchange: Arc<Exchange>,
    late: Counter,
}

impl<Q: Message, R: Message> Service<Q, R> {
    /// A service whose questions wait as `plan` says, with at most `open` of them unanswered at a time.
    ///
    /// # Errors
    /// `OutOfMemory`; `LimitReached` if the server has too many mailboxes.
    pub fn new(plan: Plan, open: usize) -> Result<Self> {
        Ok(Self {
            exchange: plan.exchange.clone(),
            questions: Mailbox::new(plan)?,
            answers: ReplyTable::new(open)?,
            late: Counter::new(),
        })
    }

    fn server(&self) -> &'static str {
        self.questions.reader().name()
    }

    /// Asks `question` from `port`; the answer must come before `deadline`.
    pub fn request<'a>(
        &'a self,
        port: &'a Port,
        question: Q,
        deadline: Instant,
    ) -> Request<'a, Q, R> {
        Request {
            service: self,
            port,
            deadline,
            stage: Stage::Unsent(question),
        }
    }

    fn ask(&self, port: &Port, question: Q, deadline: Instant) -> Result<Correlation> {
        let section = port.section();
        let Some(correlation) = self.answers.claim(port.current_task()) else {
            let (what, limit) = ("open requests", self.answers.capacity() as u64);
            return Err(Error::new(
                Subsystem::Bus,
                Kind::LimitReached { what, limit },
            ));
        };
        drop(section);
        let mut envelope = self.questions.envelope(port, question).due(deadline);
        envelope.correlation = Some(correlation);
        let displaced = |oldest: Envelope<Q>| {
            let full = dropped(self.questions.topic(), Reason::Full);
            self.settle(port, oldest.correlation, Err(full));
        };
        match self.questions.post_displacing(port, envelope, displaced) {
            Sent::Queued => Ok(correlation),
            Sent::Refused(_, error) => {
                self.answers.cancel(correlation);
                Err(error)
            }
        }
    }

    /// The next question, once there is one. For the server alone.
    pub async fn next(&self) -> Envelope<Q> {
        poll_fn(|_| self.poll_next()).await
    }

    /// The next question; without one, the task that is polled now is polled again when there is one.
    ///
    /// Questions that nobody waits for any more are dropped here, counted and told.
    pub fn poll_next(&self) -> Poll<Envelope<Q>> {
        loop {
            let envelope = ready!(self.questions.poll_receive());
            if self.is_waited_for(&envelope) {
                return Poll::Ready(envelope);
            }
        }
    }

    /// The next question, if there is one: for a server that looks in its own loop. Drops as `poll_next` does.
    pub fn try_next(&self) -> Option<Envelope<Q>> {
        core::iter::from_fn(|| self.questions.try_receive())
            .find(|envelope| self.is_waited_for(envelope))
    }

    /// False for a question that nobody waits for any more: it is counted and told.
    fn is_waited_for(&self, envelope: &Envelope<Q>) -> bool {
        let is_stale = |correlation| !self.answers.waits(correlation);
        if envelope.correlation.is_some_and(is_stale) {
            self.questions.lose_received(envelope, Reason::NoReader);
            return false;
        }
        true
    }

    /// Answers the question of that correlation, from the server's `port`.
    ///
    /// # Errors
    /// `StaleHandle` if nobody waits for the answer any more; it is dropped and counted.
    pub fn reply(
        &self,
        port: &Port,
        correlation: Option<Correlation>,
        answer: Result<R>,
    ) -> Result<()> {
        if self.settle(port, correlation, answer) {
            return Ok(());
        }
        self.late.increment();
        let what = "request that this answers";
        Err(Error::new(Subsystem::Bus, Kind::StaleHandle { what }))
    }

    fn settle(&self, port: &Port, correlation: Option<Correlation>, mut answer: Result<R>) -> bool {
        let _section = port.section();
        // As in a mailbox: what waits in the table must outlive the server.
        if let Ok(body) = &mut answer {
            body.recharge(Owner::KERNEL);
        }
        let filled = correlation.map(|correlation| self.answers.fill(correlation, answer));
        if let Some(Filled::For(requester)) = filled {
            requester.wake(&self.exchange);
            return true;
        }
        false
    }

    /// Answers `PeerDied` to all who wait. For the supervisor, from its `port`, once the server is dead.
    ///
    /// Returns how many it told.
    pub fn server_died(&self, port: &Port) -> usize {
        let peer = self.server();
        let died = || Error::new(Subsystem::Bus, Kind::PeerDied { peer });
        let open = self.answers.open();
        open.filter(|&(correlation, _)| self.settle(port, Some(correlation), Err(died())))
            .count()
    }

    /// Forgets the requests of a dead client. For the supervisor, from its `port`, once the client is dead.
    pub fn client_died(&self, port: &Port, client: SubsystemId) {
        let _section = port.section();
        let open = self.answers.open();
        for (correlation, _) in open.filter(|(_, requester)| requester.subsystem() == client) {
            // An answer that was ready is dropped with its client.
            drop(self.answers.cancel(correlation));
        }
    }

    /// Requests without an answer, or whose answer was not taken yet.
    pub fn open(&self) -> usize {
        self.answers.open().count()
    }

    /// Answers that came too late.
    pub fn late(&self) -> u64 {
        self.late.get()
    }

    /// The mailbox of the questions: to close it, or to look at its counts.
    pub fn questions(&self) -> &Mailbox<Q> {
        &self.questions
    }
}

impl<Q: Message, R: Message> Queue for Service<Q, R> {
    fn topic(&self) -> &'static str {
        self.questions.topic()
    }

    fn tally(&self) -> Tally {
        self.questions.tally()
    }

    fn recent(&self) -> [Option<MessageId>; RECENT] {
        self.questions.recent()
    }
}

enum Stage<Q> {
    Unsent(Q),
    Asked(Correlation),
    Done,
}

/// Waits for an answer. Dropped before, it gives the request up.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Request<'a, Q: Message, R: Message> {
    service: &'a Service<Q, R>,
    port: &'a Port,
    deadline: Instant,
    stage: Stage<Q>,
}

// Nothing in it is pinned: the question is moved out whole.
impl<Q: Message, R: Message> Unpin for Request<'_, Q, R> {}

impl<Q: Message, R: Message> Future for Request<'_, Q, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<R>> {
        let (service, port) = (self.service, self.port);
        let correlation = match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Unsent(question) => match service.ask(port, question, self.deadline) {
                Ok(correlation) => correlation,
                Err(error) => return Poll::Ready(Err(error)),
            },
            Stage::Asked(correlation) => correlation,
            Stage::Done => panic!("polled after it was ready"),
        };
        let answer = {
            let _section = port.section();
            service.answers.take(correlation)
        };
        match answer {
            Answer::Ready(mut answer) => {
                if let Ok(body) = &mut answer {
                    body.recharge(port.owner());
                }
                return Poll::Ready(answer);
            }
            Answer::Pending if port.now() < self.deadline => {}
            Answer::Pending => {
                let _section = port.section();
                let late = service.answers.cancel(correlation);
                let peer = service.server();
                let timed_out = Error::new(Subsystem::Bus, Kind::TimedOut { peer });
                // It may have come in this very moment.
                return Poll::Ready(late.unwrap_or(Err(timed_out)));
            }
            Answer::Stale => {
                let what = "request";
                let stale = Error::new(Subsystem::Bus, Kind::StaleHandle { what });
                return Poll::Ready(Err(stale));
            }
        }
        self.stage = Stage::Asked(correlation);
        port.local.wake_at(self.deadline);
        Poll::Pending
    }
}

impl<Q: Message, R: Message> Drop for Request<'_, Q, R> {
    fn drop(&mut self) {
        if let Stage::Asked(correlation) = self.stage {
            let _section = self.port.section();
            drop(self.service.answers.cancel(correlation));
        }
    }
}
