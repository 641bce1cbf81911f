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
    try_get(port, path).unwrap_or_else(|| panic!("no answer to GET {path}"))
}

/// The same of a server that may be short of memory; `None` if it reset the connection.
pub(crate) fn try_get(port: u16, path: &str) -> Option<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: nos\r\nConnection: close\r\n\r\n");
    let bytes = exchange(port, request.as_bytes());
    let response = parse(&bytes);
    assert!(
        response.is_some() || bytes.is_empty(),
        "no HTTP answer to GET {path}: {:?}",
        String::from_utf8_lossy(&bytes)
    );
    response
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

/// The first answer in `bytes`; `None` if it is none.
pub(crate) fn parse(bytes: &[u8]) -> Option<Response> {
    let response = read(bytes)?;
    if let Some(length) = response.header("content-length") {
        assert_eq!(
            length.parse(),
            Ok(response.body.len()),
            "Content-Length is not the body's length"
        );
    }
    Some(response)
}

/// The same of bytes that whoever asked stopped reading at some time; `None` too if the body is not whole by then.
pub(crate) fn parse_if_whole(bytes: &[u8]) -> Option<Response> {
    let response = read(bytes)?;
    let length = response.header("content-length");
    let length = length.and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| response.body.len() < length) {
        return None;
    }
    parse(bytes)
}

fn read(bytes: &[u8]) -> Option<Response> {
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
    Some(Response {
        status,
        headers,
        body: body.into(),
    })
}
