//! `/`: says what this is and leads to the other routes.
//!
//! One page without script, font or picture from elsewhere: it reads the same with the network unplugged.

use super::request::Request;
use super::response::Response;
use super::route::Handler;
use crate::error::Result;
use alloc::vec::Vec;

/// A route as the index shows it.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its path.
    pub path: &'static str,
    /// What is found there, in a few words.
    pub about: &'static str,
}

/// The index page.
pub struct IndexPage {
    version: &'static str,
    links: Vec<Link>,
}

/// Up to the version.
const START: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>nos</title>
<style>
:root { --ink: #1c2430; --dim: #5c6675; --paper: #fbfaf7; --rule: #dcd8cf; --mark: #0b6e69; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e3dc; --dim: #9aa3ae; --paper: #14181d; --rule: #2c333c; --mark: #5cc4bd; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 42rem; margin: 0 auto; padding: 12vh 1.5rem 4rem; }
h1 { margin: 0; font-size: 3.2rem; line-height: 1; letter-spacing: -0.04em; }
h1 small { font-size: 1rem; font-weight: 400; letter-spacing: 0; color: var(--dim); }
p { max-width: 34rem; color: var(--dim); }
dl { margin: 2.5rem 0 0; display: grid; grid-template-columns: max-content 1fr; }
dt, dd { margin: 0; padding: 0.7rem 0; border-top: 1px solid var(--rule); }
dt { padding-right: 2rem; font-family: ui-monospace, monospace; }
a { color: var(--mark); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
</style>
</head>
<body>
<main>
<h1>nos <small>"#;

/// Between the version and the links.
const MIDDLE: &str = r#"</small></h1>
<p>A cache unikernel for aarch64: one image that boots, serves a Redis-compatible cache, manages its own
memory, watches itself, and tells here what it sees.</p>
<dl>
"#;

/// After the links.
const END: &str = "</dl>\n</main>\n</body>\n</html>\n";

impl IndexPage {
    /// An index that leads to `links`, in their order.
    pub const fn new(version: &'static str, links: Vec<Link>) -> Self {
        Self { version, links }
    }
}

impl Handler for IndexPage {
    fn respond(&mut self, _: &Request<'_>, response: &mut Response<'_>) -> Result<()> {
        response.begin("text/html; charset=utf-8");
        response.write(START.as_bytes());
        write_escaped(response, self.version);
        response.write(MIDDLE.as_bytes());
        for link in &self.links {
            response.write(b"<dt><a href=\"");
            write_escaped(response, link.path);
            response.write(b"\">");
            write_escaped(response, link.path);
            response.write(b"</a></dt><dd>");
            write_escaped(response, link.about);
            response.write(b"</dd>\n");
        }
        response.write(END.as_bytes());
        Ok(())
    }
}

fn write_escaped(response: &mut Response<'_>, text: &str) {
    for piece in text.split_inclusive(['&', '<', '"']) {
        let (plain, entity) = match piece.as_bytes().last() {
            Some(b'&') => (&piece[..piece.len() - 1], "&amp;"),
            Some(b'<') => (&piece[..piece.len() - 1], "&lt;"),
            Some(b'"') => (&piece[..piece.len() - 1], "&quot;"),
            _ => (piece, ""),
        };
        response.write(plain.as_bytes());
        response.write(entity.as_bytes());
    }
}
