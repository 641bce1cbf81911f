//! A small HTTP/1.1 client: one request a connection, the answer taken apart.

use std::io::{Read, Write};

use super::guest::connect;

pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

#[track_caller]
pub(crate) fn get(port: u16, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n");
    let bytes = exchange(port, request.as_bytes());
    parse(&bytes).unwrap_or_else(|| {
        panic!(
            "no HTTP answer to GET {path}: {:?}",
            String::from_utf8_lossy(&bytes)
        )
    })
}

/// Sends `request` on a new connection and reads until the server closes, or until nothing more comes.
pub(crate) fn exchange(port: u16, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(port);
    // A server may refuse before it has read all: what it said still counts.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// The first answer in `bytes`; `None` if it is none, or not all of one.
pub(crate) fn parse(bytes: &[u8]) -> Option<Response> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()?
        .strip_prefix("HTTP/1.1 ")?
        .get(..3)?
        .parse()
        .ok()?;
    let headers: Vec<_> = lines
        .map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
        })
        .collect::<Option<_>>()?;
    let response = Response {
        status,
        headers,
        body: body.into(),
    };
    if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().ok()?;
        if body.len() < length {
            return None;
        }
        assert_eq!(length, body.len(), "more follows than Content-Length says");
    }
    Some(response)
}
