//! Applications: what the image runs on top of the kernel, and the one trait they implement.
//!
//! The kernel makes the application, hands it its boot arguments one by one ([`Application::configure`]),
//! lets it make what outlives the data plane ([`Application::prepare`]), and takes its sources for
//! `/metrics` and its pages of port 9100 ([`Application::parts`]). Each incarnation of the data plane then
//! has services of its own made for it ([`Application::serve`]), which borrow what is to survive them
//! ([`Survivor`]). [`cache_server`] is the default application and is built on nothing but this;
//! `examples/hello.rs` is a small one.

pub mod cache_server;
mod survivor;

pub use survivor::{Incarnation, Survivor};

use crate::error::Result;
use crate::memory::frames::FrameSource;
use crate::metrics::Source;
use crate::net::http::Route;
use crate::net::service::Service;
use crate::platform::time::Clock;
use crate::storage::DiskBay;
use crate::storage::checkpoint::CheckpointPart;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// An application of the image. It lives as long as the image; what works for it in the data plane does not.
pub trait Application: Send + Sync {
    /// Its name, as the log shows it.
    fn name(&self) -> &'static str;

    /// Takes a boot argument, `nos.KEY=VALUE` without its prefix; `None` if the key is not of this
    /// application.
    fn configure(&mut self, key: &str, value: &str) -> Option<Result<()>>;

    /// Makes what outlives the data plane, once, after the last boot argument. By default nothing does.
    ///
    /// # Errors
    /// Whatever keeps it from starting; the image then stops with that error.
    fn prepare(&mut self, environment: Environment) -> Result<()> {
        let _ = environment;
        Ok(())
    }

    /// What it shows, once it is prepared.
    ///
    /// # Errors
    /// As `prepare`.
    fn parts(&self) -> Result<Parts> {
        Ok(Parts::default())
    }

    /// The command of a client that is being run, by its name and without its data. Asked when something died, so it takes
    /// no lock and no memory, and may be answered a moment late. By default it is not known.
    fn command(&self) -> Option<&'static str> {
        None
    }

    /// Makes what answers on TCP ports for one incarnation of the data plane, and dies with it: without
    /// being dropped, and its heap with it. By default nothing does.
    ///
    /// # Errors
    /// Whatever keeps it from serving; the data plane then dies of that error.
    fn serve(
        &'static self,
        environment: Environment,
        incarnation: &Incarnation,
    ) -> Result<Vec<Box<dyn Service>>> {
        let _ = (environment, incarnation);
        Ok(Vec::new())
    }
}

/// What the kernel hands to an application.
#[derive(Clone, Copy)]
pub struct Environment {
    /// Memory in blocks.
    pub frames: &'static dyn FrameSource,
    /// Bytes of `frames` that the application may hold; the rest is for buffers and the heap.
    pub memory_budget_bytes: u64,
    /// The time.
    pub clock: &'static dyn Clock,
    /// Random bits that peers cannot know.
    pub seed: u64,
    /// Seconds of silence after which the network probes a peer; 0 for never.
    pub keep_alive_seconds: u64,
    /// Ends the machine.
    pub power: &'static dyn Power,
    /// Where the disk is, if there is one.
    pub disk: &'static dyn DiskBay,
    /// What is saved to it beside what the application has.
    pub parts: &'static [&'static dyn CheckpointPart],
}

/// Ends the machine, at an application's wish.
pub trait Power: Sync {
    /// Turns the machine off. Returns only where that takes effect later, as in a test.
    fn off(&self);
}

/// What an application shows.
#[derive(Default)]
pub struct Parts {
    /// What it shows on `/metrics`, by name, in this order.
    pub sources: Vec<(&'static str, Arc<dyn Source + Send + Sync>)>,
    /// Its pages on port 9100, beside the image's own.
    pub pages: Vec<Page>,
}

/// A page of an application.
pub struct Page {
    /// Its path, its methods and what answers it.
    pub route: Route,
    /// What is found there, in a few words, for the index.
    pub about: &'static str,
}
