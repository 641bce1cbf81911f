//! An application of one's own in place of the cache server: a page and a metric.
//!
//! `make run APP=hello`, then `curl http://127.0.0.1:9100/hello?name=you`.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use nos::app::{Application, Environment, Page, Parts};
use nos::error::Result;
use nos::metrics::{Counter, Encoder, Source};
use nos::net::http::{Handler, Request, Response, Route};

#[cfg(target_os = "none")]
nos::application!(Box::new(Hello::default()));

#[cfg(not(target_os = "none"))]
fn main() {
    let _: Box<dyn Application> = Box::new(Hello::default());
    eprintln!("hello is a guest image; boot it with `make run APP=hello`");
    std::process::exit(2);
}

/// Greets whoever asks.
#[derive(Default)]
struct Hello {
    greeted: Arc<Greeted>,
}

/// Its one counter.
#[derive(Default)]
struct Greeted(Counter);

/// Its one page.
struct Greeting(Arc<Greeted>);

impl Application for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn configure(&mut self, _: &str, _: &str) -> Option<Result<()>> {
        None
    }

    fn start(self: Box<Self>, _: Environment) -> Result<Parts> {
        let mut parts = Parts::default();
        parts.sources.try_reserve(1)?;
        parts.sources.push(("hello", self.greeted.clone()));
        parts.pages.try_reserve(1)?;
        parts.pages.push(Page {
            route: Route::get("/hello", Greeting(self.greeted)),
            about: "A greeting",
        });
        Ok(parts)
    }
}

impl Handler for Greeting {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        self.0.0.increment();
        let query = request.query.unwrap_or_default();
        let name = query.strip_prefix("name=").unwrap_or("world");
        response.begin("text/plain; charset=utf-8");
        for part in ["hello, ", name, "\n"] {
            response.write(part.as_bytes());
        }
        Ok(())
    }
}

impl Source for Greeted {
    fn collect(&self, page: &mut Encoder<'_>) {
        page.counter("hello_greetings_total", "Greetings given.", self.0.get());
    }
}
