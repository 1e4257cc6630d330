//! Histories of several accounts that are sent through one lane in groups, and must come to what each comes to alone.
//!
//! - `alone`: an account that is kept in memory whole and takes one command at a time
//! - `history`: what was sent to one, and what it came to; several of them in the order of a lane
//! - `lane`: groups through the server's writer over Postgres, and all that is stored held against the account alone

mod alone;
mod history;
mod lane;

pub(crate) use alone::Answer;
pub(crate) use history::{History, compare_accounts, differ, in_groups};
pub(crate) use lane::Lane;
