//! The cache server as an application of the image: what survives of it, and what serves in its name.

use super::server::Server;
use super::{CacheConfig, CacheServer, CheckpointCounters, KvCounters};
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
    checkpoints: Arc<CheckpointCounters>,
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
        let mut server = Server::new(self.config.clone(), environment, counters);
        server.checkpoints = Arc::clone(&self.checkpoints);
        self.server = Some(Survivor::new(server));
        Ok(())
    }

    fn parts(&self) -> Result<Parts> {
        let mut parts = Parts::default();
        parts.sources.try_push(("cache", self.counters.clone()))?;
        let checkpoints = self.checkpoints.clone();
        parts.sources.try_push(("checkpoints", checkpoints))?;
        Ok(parts)
    }

    fn command(&self) -> Option<&'static str> {
        self.counters.running()
    }

    fn serve(
        &'static self,
        environment: Environment,
        incarnation: &Incarnation,
    ) -> Result<Vec<Box<dyn Service>>> {
        let server = self.server.as_ref().expect("prepared before it serves");
        let mut services: Vec<Box<dyn Service>> = Vec::new();
        let service = CacheServer::new(server.lend(incarnation)).with_disk(environment.disk);
        services.try_push(try_box(service)?)?;
        Ok(services)
    }
}
