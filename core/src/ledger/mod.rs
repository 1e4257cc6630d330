//! The ledger of one account: blocks, burn order, debts, time, commands, entries.
//!
//! - [`wallet`]: credit in burn order and debts; burning and settling
//! - [`block`]: a block, and the lot inside it
//! - [`advance`]: what time alone does
//! - [`command`], [`apply`]: what can be asked, and the decision (grants and subscriptions there, usage in [`usage`])
//! - [`entry`], [`event`]: what a decision leaves behind, collected in [`book`]
//! - [`account`]: the whole of it
//! - [`refold`]: the whole of it again, from its entries alone

pub mod account;
pub mod advance;
pub mod apply;
pub mod block;
pub mod book;
pub mod command;
pub mod entry;
pub mod event;
pub(crate) mod grant;
pub mod refold;
pub mod usage;
pub mod wallet;
