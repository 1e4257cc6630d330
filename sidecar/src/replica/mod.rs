//! The local copy of what the server published. All of it can be thrown away and is fetched again.
//!
//! - `memory`: effective states of the accounts used lately, which checks read
//! - `store`: the file, for a quick start
//! - `writer`: the one thread that writes it
//! - `evict`: forgets the least recently used accounts of a replica on demand

pub(crate) mod evict;
mod memory;
mod store;
mod writer;

pub use crate::clock::ClockMark;
pub(crate) use memory::Memory;
pub use store::{ReplicaError, ReplicaImage, ReplicaStore, ReplicaWrite};
pub(crate) use writer::run;
