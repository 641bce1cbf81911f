//! An application of one's own in place of the cache server: two pages and a metric.
//!
//! `make run APP=hello APPEND=nos.admin-token=sesame`, then:
//!
//! ```sh
//! curl 'http://127.0.0.1:9100/hello?name=you'
//! curl -H 'Authorization: Bearer sesame' -d welcome http://127.0.0.1:9100/greeting
//! curl -s http://127.0.0.1:9100/metrics | grep hello
//! ```
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::RefCell;
use nos::app::{Application, Page, Parts};
use nos::error::{Error, HttpFault::BadRequest, Kind, Result, Subsystem};
use nos::metrics::{Counter, Encoder, Source, heading};
use nos::net::http::{Handler, Method, Methods, Request, Response, Route};

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

/// The word it greets with, shared by its two pages.
type Word = Rc<RefCell<String>>;

/// `/hello`: greets by name.
struct Greeting {
    word: Word,
    greeted: Arc<Greeted>,
}

/// `/greeting`: shows the word, and with the admin token takes another.
struct WordPage(Word);

/// Longest word in bytes.
const WORD_BYTES_MAX: usize = 64;

impl Application for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn configure(&mut self, _: &str, _: &str) -> Option<Result<()>> {
        None
    }

    fn parts(&self) -> Result<Parts> {
        let mut parts = Parts::default();
        parts.sources.try_reserve(1)?;
        parts.sources.push(("hello", self.greeted.clone()));
        let word = Word::new(RefCell::new("hello".into()));
        let greeting = Greeting {
            word: word.clone(),
            greeted: self.greeted.clone(),
        };
        parts.pages.try_reserve(2)?;
        parts.pages.push(Page {
            route: Route::get("/hello", greeting)?,
            about: "A greeting",
        });
        parts.pages.push(Page {
            route: Route::admin("/greeting", Methods::GetAndPost, WordPage(word))?,
            about: "The word it begins with",
        });
        Ok(parts)
    }
}

impl Handler for Greeting {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        self.greeted.0.increment();
        let query = request.query.unwrap_or_default();
        let name = query.strip_prefix("name=").unwrap_or("world");
        response.begin("text/plain; charset=utf-8");
        for part in [self.word.borrow().as_str(), ", ", name, "\n"] {
            response.write(part.as_bytes());
        }
        Ok(())
    }
}

impl Handler for WordPage {
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        if request.method == Method::Post {
            let bad = |what| Error::new(Subsystem::Application, Kind::Http(BadRequest(what)));
            let word = core::str::from_utf8(request.body).map_err(|_| bad("a word is text"))?;
            let word = word.trim();
            if word.is_empty() || word.len() > WORD_BYTES_MAX {
                return Err(bad("a word has 1 to 64 bytes"));
            }
            let mut own = self.0.borrow_mut();
            own.clear();
            own.try_reserve(word.len())?;
            own.push_str(word);
        }
        let word = self.0.borrow();
        response.begin("text/plain; charset=utf-8");
        response.write(word.as_bytes());
        response.write(b"\n");
        Ok(())
    }
}

impl Source for Greeted {
    fn collect(&self, page: &mut Encoder<'_>) {
        page.counter(
            heading!(Counter, "hello_greetings_total", "Greetings given."),
            self.0.get(),
        );
    }
}
