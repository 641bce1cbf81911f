//! Routes: which path is answered by which [`Handler`], and by which methods.

use super::request::Request;
use super::response::Response;
use crate::error::{Result, try_box};
use alloc::boxed::Box;

/// Answers the requests of one route.
pub trait Handler {
    /// Writes the answer to `request` into `response`; an answer that was begun is taken back on an error.
    ///
    /// # Errors
    /// Whatever went wrong; `Kind::Http` chooses the status, other kinds have theirs in `response`.
    fn respond(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<()>;
}

/// One path and what answers it.
pub struct Route {
    /// The path, from the first `/`, without query. A segment of it may be `{NAME}`, which stands for any.
    pub path: &'static str,
    /// The methods it has.
    pub methods: Methods,
    /// Who may act.
    pub access: Access,
    /// What answers it.
    pub handler: Box<dyn Handler>,
}

/// Who may send a route what acts: POST. Whoever reaches the port may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Who has the admin token: 401 without it, 403 if the image was given none.
    Admin,
    /// Everyone: for a POST that changes nothing.
    Open,
}

impl Route {
    /// A route that is read with GET and HEAD.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn get(path: &'static str, handler: impl Handler + 'static) -> Result<Self> {
        Ok(Self {
            path,
            methods: Methods::Get,
            access: Access::Admin,
            handler: try_box(handler)?,
        })
    }

    /// A route that changes something with POST, which takes the admin token, and has those other methods.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn admin(
        path: &'static str,
        methods: Methods,
        handler: impl Handler + 'static,
    ) -> Result<Self> {
        Ok(Self {
            methods,
            ..Self::get(path, handler)?
        })
    }
}

/// The methods of RFC 9110 and PATCH (RFC 5789); any other name is not implemented, and CONNECT is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads the head only.
    Head,
    /// Acts.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
    /// Changes in part.
    Patch,
    /// Asks what may be asked.
    Options,
    /// Echoes.
    Trace,
}

impl Method {
    /// The method of that name, if it is one that a resource can have; names are case-sensitive.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "PATCH" => Self::Patch,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            _ => return None,
        })
    }
}

/// The methods a route has; OPTIONS is answered by the server for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Read only.
    Get,
    /// Act only.
    Post,
    /// Both.
    GetAndPost,
}

impl Methods {
    /// True if a request with `method` goes to the handler.
    pub fn permits(self, method: Method) -> bool {
        match method {
            Method::Get | Method::Head => matches!(self, Self::Get | Self::GetAndPost),
            Method::Post => matches!(self, Self::Post | Self::GetAndPost),
            _ => false,
        }
    }

    /// The value of the `Allow` field.
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD, OPTIONS",
            Self::Post => "POST, OPTIONS",
            Self::GetAndPost => "GET, HEAD, POST, OPTIONS",
        }
    }
}
