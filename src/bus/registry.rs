//! The registry: what the image is made of, by name.
//!
//! The composition root registers each part once, in a fixed order; who needs all parts of a kind (a scrape,
//! for now) walks them in that order. The order is part of the promise: two scrapes differ only in values.
//!
//! Always true: a name is there once; what is registered stays for the life of the image.
//!
//! A few dozen parts at most, so a list is searched from the front.

use crate::error::{Error, Kind, Result, Subsystem};
use crate::metrics::Source;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a part shows its counters with, as the registry holds it.
pub type SharedSource = Arc<dyn Source + Send + Sync>;

/// All registered parts.
#[derive(Default)]
pub struct Registry {
    parts: Vec<Part>,
}

struct Part {
    name: &'static str,
    source: SharedSource,
}

impl Registry {
    /// An empty registry.
    pub const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Registers a part, after those registered before.
    ///
    /// # Errors
    /// `Duplicate` if the name is taken; `OutOfMemory`. The registry is then as before.
    pub fn register(&mut self, name: &'static str, source: SharedSource) -> Result<()> {
        if self.source(name).is_some() {
            return Err(Error::new(Subsystem::Bus, Kind::Duplicate { name }));
        }
        self.parts.try_reserve(1)?;
        self.parts.push(Part { name, source });
        Ok(())
    }

    /// The metrics source of the part of that name.
    pub fn source(&self, name: &str) -> Option<&SharedSource> {
        self.parts
            .iter()
            .find(|part| part.name == name)
            .map(|part| &part.source)
    }

    /// All metrics sources, in the order of their registration.
    pub fn sources(&self) -> impl Iterator<Item = &SharedSource> {
        self.parts.iter().map(|part| &part.source)
    }

    /// The names of all parts, in the order of their registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|part| part.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Encoder;

    struct Silent;

    impl Source for Silent {
        fn collect(&self, _: &mut Encoder<'_>) {}
    }

    #[test]
    fn parts_are_found_by_name_and_listed_in_the_order_they_came() {
        let mut registry = Registry::new();
        for name in ["memory", "network", "cache"] {
            registry
                .register(name, Arc::new(Silent))
                .expect("a new name");
        }
        assert!(registry.names().eq(["memory", "network", "cache"]));
        assert_eq!(registry.sources().count(), 3);
        assert!(registry.source("network").is_some());
        assert!(registry.source("disk").is_none());
    }

    #[test]
    fn a_second_part_of_the_same_name_is_refused_and_the_first_stays() {
        let mut registry = Registry::new();
        let first: SharedSource = Arc::new(Silent);
        registry
            .register("memory", first.clone())
            .expect("a new name");
        let error = registry
            .register("memory", Arc::new(Silent))
            .expect_err("taken");
        assert_eq!(error.kind(), Kind::Duplicate { name: "memory" });
        assert_eq!(registry.names().count(), 1);
        assert!(Arc::ptr_eq(
            registry.source("memory").expect("there"),
            &first
        ));
    }
}
