//! Usage that was acknowledged and is on its way to the ledger.
//!
//! - `store`: the file, in which every commit is durable
//! - `writer`: the one thread that writes it; many requests share one commit

mod store;
mod writer;

pub use store::{OutboxError, OutboxImage, OutboxStore};
pub(crate) use writer::run;
