//! The cache server as an application of the image: what survives of it, and what serves in its name.

use super::server::Server;
use super::{CacheConfig, CacheServer, KvCounters};
use crate::app::{Application, Environment, Incarnation, Parts, Survivor};
use crate::error::{Grow, Result, try_box};
use crate::net::service::Service;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The default application.
#[derive(Default)]
pub struct CacheApplication {
    config: CacheConfig,
    pub(super) counters: Arc<KvCounters>,
    /// Keys, settings and counts, from `prepare` on.
    server: Option<Survivor<Server>>,
}

impl Application for CacheApplication {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn configure(&mut self, key: &str, value: &str) -> Option<Result<()>> {
        self.config.set(key, value)
    }

    fn prepare(&mut self, environment: Environment) -> Result<()> {
        let counters = Arc::clone(&self.counters);
        let server = Server::new(self.config.clone(), environment, counters);
        self.server = Some(Survivor::new(server));
        Ok(())
    }

    fn parts(&self) -> Result<Parts> {
        let mut parts = Parts::default();
        parts.sources.try_push(("cache", self.counters.clone()))?;
        Ok(parts)
    }

    fn command(&self) -> Option<&'static str> {
        self.counters.running()
    }

    fn serve(
        &'static self,
        _: Environment,
        incarnation: &Incarnation,
    ) -> Result<Vec<Box<dyn Service>>> {
        let server = self.server.as_ref().expect("prepared before it serves");
        let mut services: Vec<Box<dyn Service>> = Vec::new();
        services.try_push(try_box(CacheServer::new(server.lend(incarnation)))?)?;
        Ok(services)
    }
}
