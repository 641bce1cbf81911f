//! The spine: what parts are found through.

pub mod registry;
