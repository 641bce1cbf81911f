//! The cache server as an application of the image.

use super::{CacheConfig, CacheServer, KvCounters};
use crate::app::{Application, Environment, Parts};
use crate::error::Result;
use alloc::boxed::Box;
use alloc::sync::Arc;

/// The default application.
#[derive(Clone, Debug, Default)]
pub struct CacheApplication {
    config: CacheConfig,
}

impl Application for CacheApplication {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn configure(&mut self, key: &str, value: &str) -> Option<Result<()>> {
        self.config.set(key, value)
    }

    fn start(self: Box<Self>, environment: Environment) -> Result<Parts> {
        let counters = Arc::new(KvCounters::new());
        let server = CacheServer::new(self.config, environment, Arc::clone(&counters));
        let mut parts = Parts::default();
        parts.services.try_reserve(1)?;
        parts.sources.try_reserve(1)?;
        parts.services.push(Box::new(server));
        parts.sources.push(("cache", counters));
        Ok(parts)
    }
}
