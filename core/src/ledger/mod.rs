//! The ledger of one account: blocks, burn order, debts, holds, time, commands, entries.
//!
//! What there is: [`account`] (the whole of it), [`wallet`] (credit in burn order; burning and settling), [`block`]
//! (a block, and the lot inside it), [`tranche`] (what is published of blocks), [`debt`], [`hold`] and [`reservation`],
//! [`counter`] (tier windows), [`topup`], [`rollover`], [`settled`] (what paid debts), [`tally`] (usage of postpaid
//! periods).
//!
//! What happens: [`advance`] (what time alone does, over a `motion` that tells each [`step`]), [`command`] -> [`apply`] -> [`outcome`] or [`refusal`], decided in
//! `grant`, [`usage`], `void`, `reserve`, [`commit`], `lease`, `correct`, [`topup`] and `overrides`; [`quote`] prices.
//!
//! What stays: [`entry`] and [`event`], collected in [`book`]; [`refold`] rebuilds the account from entries alone, now
//! or as of earlier, [`proof`] shows entries to somebody who trusts nobody, [`invariants`] hold after every command.

pub mod account;
pub mod advance;
pub mod apply;
pub mod block;
pub mod book;
pub mod command;
pub mod commit;
mod correct;
pub mod counter;
pub mod debt;
pub mod entry;
pub mod event;
pub(crate) mod grant;
pub mod hold;
pub mod invariants;
mod lease;
mod mint;
pub(crate) mod motion;
mod note;
pub mod outcome;
mod overrides;
pub mod proof;
pub mod quote;
pub mod refold;
pub mod refusal;
pub mod reservation;
mod reserve;
pub mod rollover;
pub mod settled;
pub mod step;
mod summary;
pub mod tally;
pub mod topup;
pub mod tranche;
pub mod usage;
mod void;
pub mod wallet;
