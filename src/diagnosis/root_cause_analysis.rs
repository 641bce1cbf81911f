//! Root cause: from what was seen to what is wrong, and how sure of it one may be.
//!
//! | module | what it ranks |
//! | --- | --- |
//! | `service_graph` | the components of any system of services, from recordings of it |
//!
//! Results are values with posteriors; they follow from what is handed in, and from nothing else.

pub mod service_graph;
