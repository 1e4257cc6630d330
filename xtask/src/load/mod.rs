//! What `xtask-load` measures, as values. It runs as a process of its own, built like what it measures.
//!
//! - `rounds`: checks, usage one by one and in batches, and the bare tables
//! - `year`: ten million events and their summaries
//! - `due`: subscriptions whose periods all end at one instant
//! - `values`: latencies and rates

mod due;
mod rounds;
mod values;
mod year;

pub(crate) use due::{Advanced, due_set, due_wait, subscribe};
pub(crate) use rounds::{
    BareReady, Filled, bare_create, bare_fill, bare_insert, batches, check_path, checks, lag, link, seed, serve, unix,
    usage,
};
pub(crate) use values::{Checks, Latencies, Rate};
pub(crate) use year::{Question, Read, Year, year_ask, year_fill, year_list, year_wait};
