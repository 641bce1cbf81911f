//! The subsystems of the simulated image: two sources of everything, a sink, a server, a listener.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use nos::bus::subsystem::{Control, Controls, launch};
use nos::bus::{
    Envelope, Executor, Mailbox, Message, Owner, Parcel, Port, Profile, Service, Subsystem, Topic,
};
use nos::error::Result;
use nos::platform::time::Duration;

use crate::ledger::Ledger;
use crate::memory::Memory;
use crate::world::{Breakage, Random};

/// What goes to the sink.
#[derive(Debug)]
pub(crate) enum Mail {
    Number(u64),
    Page(Parcel),
}

impl Message for Mail {
    fn recharge(&mut self, to: Owner) {
        if let Self::Page(page) = self {
            page.recharge(to);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number(pub(crate) u64);

impl Message for Number {}

/// What all of them share, made once and outliving each of them.
pub(crate) struct Shared {
    pub(crate) mail: Arc<Mailbox<Mail>>,
    pub(crate) news: Arc<Topic<Number>>,
    pub(crate) heard: Arc<Mailbox<Number>>,
    pub(crate) sums: Arc<Service<Number, Number>>,
    pub(crate) controls: Arc<Controls>,
    pub(crate) unused: Vec<(Arc<Mailbox<Number>>, Arc<Controls>)>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) random: Mutex<Random>,
    pub(crate) memory: &'static Memory,
    pub(crate) breakage: Breakage,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("one thread")
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.lock().expect("one thread").below(bound)
    }

    /// Posts mail, unless the mailbox is to be broken.
    fn post(&self, port: &Port, envelope: Envelope<Mail>) {
        let id = envelope.id;
        let sent = self.mail.post(port, envelope);
        self.ledger().sent("mail", &sent);
        if !sent.is_queued() || self.below(20) != 0 {
            return;
        }
        match self.breakage {
            Breakage::LosesMessages => drop(self.mail.try_receive()),
            Breakage::DoublesMessages => {
                let mut again = self.mail.envelope(port, Mail::Number(0));
                again.id = id;
                let sent = self.mail.post(port, again);
                self.ledger().sent("mail", &sent);
            }
            _ => {}
        }
    }

    fn page(&self, port: &Port) -> Mail {
        let page = Parcel::allocate(self.memory, self.memory, port.owner(), 100);
        Mail::Page(page.expect("the host has memory"))
    }
}

/// Starts the toy of that name on a fresh executor.
pub(crate) fn start(
    name: &'static str,
    shared: &Arc<Shared>,
    executor: &mut Executor,
) -> Result<()> {
    let toy = |role| Toy {
        name,
        port: executor.port().clone(),
        shared: shared.clone(),
        role,
    };
    let unused = |at: usize| shared.unused[at].clone();
    match name {
        "sink" => {
            let sink = Sink(toy(Role::Sink));
            launch(sink, executor, shared.mail.clone(), shared.controls.clone())
        }
        "server" => {
            let (mailbox, controls) = unused(0);
            launch(toy(Role::Server), executor, mailbox, controls)
        }
        "listener" => launch(
            toy(Role::Listener),
            executor,
            shared.heard.clone(),
            unused(1).1,
        ),
        source => {
            let (mailbox, controls) = unused(if source == "left" { 2 } else { 3 });
            launch(toy(Role::Source), executor, mailbox, controls)
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Source,
    Sink,
    Server,
    Listener,
}

#[derive(Clone)]
struct Toy {
    name: &'static str,
    port: Arc<Port>,
    shared: Arc<Shared>,
    role: Role,
}

impl Toy {
    fn me(&self) -> usize {
        self.port.id().index()
    }

    async fn pause(&self) {
        match self.shared.below(3) {
            0 => self.port.yield_now().await,
            _ => {
                let length = Duration::from_nanos(1 + self.shared.below(40));
                self.port.sleep_until(self.port.now() + length).await;
            }
        }
    }

    /// Mail of every kind, and news, for ever.
    async fn send(self) {
        let (shared, port) = (&self.shared, &*self.port);
        loop {
            let number = Mail::Number(shared.below(100));
            let soon = port.now() + Duration::from_nanos(shared.below(30));
            match shared.below(6) {
                0 => {
                    let published = shared.news.publish(port, Number(1), soon);
                    shared.ledger().published("news", published);
                }
                1 => shared.post(port, shared.mail.envelope(port, shared.page(port))),
                2 => shared.post(port, shared.mail.envelope(port, number).due(soon)),
                3 => shared.post(port, shared.mail.envelope(port, number).urgent()),
                4 => {
                    let envelope = shared.mail.envelope(port, number);
                    let sent = shared.mail.send_within(port, envelope, soon).await;
                    shared.ledger().sent("mail", &sent);
                }
                _ => shared.post(port, shared.mail.envelope(port, number)),
            }
            self.pause().await;
        }
    }

    /// Questions to the server, and about the sink's health, for ever.
    async fn ask(self) {
        let (shared, port) = (&self.shared, &*self.port);
        loop {
            let deadline = port.now() + Duration::from_nanos(1 + shared.below(60));
            shared.ledger().asked(self.me());
            let well = if shared.below(3) == 0 {
                let report = shared
                    .controls
                    .request(port, Control::Health, deadline)
                    .await;
                report.is_ok()
            } else {
                let number = shared.below(1_000);
                let answer = shared.sums.request(port, Number(number), deadline).await;
                if answer.as_ref().is_ok_and(|sum| sum.0 != number + 1) {
                    shared
                        .ledger()
                        .complain("an answer to another question".into());
                }
                answer.is_ok()
            };
            shared.ledger().answered(self.me(), well);
            self.pause().await;
        }
    }

    async fn serve(self) {
        let (shared, port) = (&self.shared, &*self.port);
        loop {
            let question = shared.sums.next().await;
            self.pause().await;
            let answer = Ok(Number(question.body.0 + 1));
            // Nobody may wait any more: the client saw its deadline pass.
            let _ = shared.sums.reply(port, question.correlation, answer);
        }
    }
}

impl Subsystem for Toy {
    type Message = Number;

    fn profile(&self) -> Profile {
        Profile {
            name: self.name,
            ..Profile::default()
        }
    }

    fn start(&mut self, executor: &mut Executor) -> Result<()> {
        match self.role {
            Role::Source => {
                executor.spawn(self.clone().send())?;
                executor.spawn(self.clone().send())?;
                executor.spawn(self.clone().ask())
            }
            Role::Server => executor.spawn(self.clone().serve()),
            Role::Sink | Role::Listener => Ok(()),
        }
    }

    fn handle(&mut self, message: Envelope<Number>) -> Result<()> {
        self.shared.ledger().received("news", self.me(), message.id);
        Ok(())
    }
}

/// Reads the mail, and looks whether each page is its own.
struct Sink(Toy);

impl Subsystem for Sink {
    type Message = Mail;

    fn profile(&self) -> Profile {
        self.0.profile()
    }

    fn start(&mut self, executor: &mut Executor) -> Result<()> {
        self.0.start(executor)
    }

    fn handle(&mut self, message: Envelope<Mail>) -> Result<()> {
        let Toy { shared, port, .. } = &self.0;
        shared.ledger().received("mail", self.0.me(), message.id);
        match message.body {
            Mail::Number(number) => shared.ledger().trace(number),
            Mail::Page(page) => {
                let owner = shared.memory.owner(page.as_ptr());
                if owner != Some(port.owner()) {
                    let fault = format!("a parcel that the sink received is charged to {owner:?}");
                    shared.ledger().complain(fault);
                    std::mem::forget(page);
                }
            }
        }
        Ok(())
    }
}

/// A bell that notes that it rang.
pub(crate) struct Noted {
    pub(crate) rang: std::sync::atomic::AtomicBool,
    pub(crate) broken: bool,
}

impl nos::bus::Bell for Noted {
    fn ring(&self) {
        self.rang.store(!self.broken, Relaxed);
    }
}
