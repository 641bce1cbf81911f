//! The handlers that are the same in every image: metrics, readiness, fixed text, and JSON from a closure.
//!
//! Pages that are composed keep their buffer between requests, so a page is made without growing it, its
//! length is known before its head is written, and one copy brings it into the output.

use super::accept::metrics_format;
use super::request::Request;
use super::response::Response;
use super::route::Handler;
use crate::bus::registry::Registry;
use crate::error::{Error, HttpFault, Kind, Result, Subsystem};
use crate::metrics::{Encoder, Format, Json, Source};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A page larger than this is not kept between requests; METRICS.md bounds a scrape by it.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The content type of JSON.
const JSON: &str = "application/json";

/// `/metrics`: every source of the registry, in its order.
pub struct MetricsPage {
    registry: Arc<Registry>,
    collect: fn(&dyn Source, &mut Encoder<'_>),
    page: Vec<u8>,
}

impl MetricsPage {
    /// A page of all sources in `registry`.
    pub const fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            collect: |source, page| source.collect(page),
            page: Vec::new(),
        }
    }

    /// A page of what they have in common with the usual exporters, under the names there.
    pub const fn compat(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            collect: |source, page| source.collect_compat(page),
            page: Vec::new(),
        }
    }
}

impl Handler for MetricsPage {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        let format = metrics_format(request.field_values("accept"));
        self.page.clear();
        let mut encoder = Encoder::new(&mut self.page, format);
        for source in self.registry.sources() {
            (self.collect)(&**source, &mut encoder);
        }
        let outcome = encoder.finish();
        if outcome.is_ok() {
            let content_type = match format {
                Format::Text => "text/plain; version=0.0.4; charset=utf-8",
                Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            };
            response.send(content_type, &self.page);
        }
        release_if_large(&mut self.page);
        outcome
    }
}

/// A page of JSON that a closure writes.
pub struct JsonPage<F> {
    write: F,
    page: Vec<u8>,
}

impl<F: FnMut(&Request<'_>, &mut Json<'_>) -> Result<()>> JsonPage<F> {
    /// A page that `write` fills with one value.
    pub const fn new(write: F) -> Self {
        Self {
            write,
            page: Vec::new(),
        }
    }
}

impl<F: FnMut(&Request<'_>, &mut Json<'_>) -> Result<()>> Handler for JsonPage<F> {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        self.page.clear();
        let mut json = Json::new(&mut self.page);
        let outcome = (self.write)(request, &mut json).and(json.finish());
        if outcome.is_ok() {
            response.send(JSON, &self.page);
        }
        release_if_large(&mut self.page);
        outcome
    }
}

fn release_if_large(page: &mut Vec<u8>) {
    if page.capacity() > KEPT_BYTES_MAX {
        *page = Vec::new();
    }
}

/// A page that never changes.
pub struct FixedPage {
    content_type: &'static str,
    body: &'static [u8],
}

impl FixedPage {
    /// `/healthz`: answered by whoever can answer anything.
    pub const HEALTHY: Self = Self {
        content_type: JSON,
        body: b"{\"status\":\"ok\"}\n",
    };

    /// A page of `body`.
    pub const fn new(content_type: &'static str, body: &'static [u8]) -> Self {
        Self { content_type, body }
    }
}

impl Handler for FixedPage {
    fn respond(&mut self, _: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        response.send(self.content_type, self.body);
        Ok(())
    }
}

/// `/readyz`: 200 when the image serves what it is for, 503 before and after.
pub struct ReadyPage<F> {
    is_ready: F,
}

impl<F: Fn() -> bool> ReadyPage<F> {
    /// A page that asks `is_ready` each time.
    pub const fn new(is_ready: F) -> Self {
        Self { is_ready }
    }
}

impl<F: Fn() -> bool> Handler for ReadyPage<F> {
    fn respond(&mut self, _: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        if !(self.is_ready)() {
            return Err(Error::new(
                Subsystem::Http,
                Kind::Http(HttpFault::Unavailable),
            ));
        }
        response.send(JSON, b"{\"status\":\"ready\"}\n");
        Ok(())
    }
}
