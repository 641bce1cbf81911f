//! Policies that every cache in the image shares: who leaves first ([`eviction`]), how large it is ([`sizing`]), and the
//! random numbers that sampling draws ([`random`]).
//!
//! Policy only: nothing here owns memory or knows what a cache holds. The mechanism (a keyspace, a page
//! cache) describes its entries by a score and obeys the answer.

pub mod eviction;
pub mod random;
pub mod sizing;
