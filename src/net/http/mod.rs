//! The HTTP server: HTTP/1.1 (and 1.0) over a connection of the stack, routes to handlers, status replies.
//!
//! Follows RFC 9110 (semantics) and RFC 9112 (messages). Where 9112 lets a server choose between
//! leniency and refusal, it refuses: two parsers that disagree about where a message ends are how requests
//! are smuggled.
//!
//! Flow: [`HttpServer`] is shown the bytes of a connection by the stack; `request` turns a head into a
//! value that cannot be malformed, `body` finds where its content ends, the [`Route`] is looked up, its
//! [`Handler`] writes into [`Response`], which writes into the connection's output. Errors become statuses
//! in `response`, and nowhere else.
//!
//! Always true: what one connection sends changes nothing for another; every buffer, count and time that a
//! peer can drive has a limit in [`Limits`]; the work a byte causes does not grow with the bytes before it
//! (but for a head line, bounded by the head limit).
//!
//! Not here: TLS, compression, ranges, HTTP/2, `Date` (the machine may have no wall clock).

mod accept;
mod admin;
mod body;
mod connections;
mod counters;
mod fault;
mod fields;
mod index;
mod pages;
pub mod relay;
mod request;
mod response;
mod route;
mod server;
mod target;

#[cfg(test)]
mod tests;

pub use admin::AdminToken;
pub use counters::HttpCounters;
pub use index::{IndexPage, Link};
pub use pages::{FixedPage, JsonPage, MetricsPage, ReadyPage};
pub use relay::{Host, Relay};
pub use request::{Limits, Request};
pub use response::{Response, Status};
pub use route::{Access, Handler, Method, Methods, Route};
pub use server::HttpServer;
