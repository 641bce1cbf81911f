//! The HTTP server on port 9100.
