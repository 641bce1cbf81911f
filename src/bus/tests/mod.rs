//! Tests of what the bus promises: where messages, answers and copies go, and who is told when they cannot.

mod mailbox;
mod refusals;
mod service;
mod topic;
