//! The link's state machines, without I/O and clock. Source: docs/sync.md, "Structure".
//!
//! Server: [`ring`] (recent states of one lane, in feed order) and [`publisher`] (one sidecar's way through them).
//! Sidecar: [`machine`] is the whole of it: `replica` (states by stamp, cursor, catalogue), `overlay` (what usage
//! that is not yet in a state will take) and `outbox` (usage on its way to the ledger, as [`record`]s).
//! `handover` is what passes between it and its glue. [`catalogue`]: the catalogue in parts.

pub mod catalogue;
mod handover;
mod leases;
pub mod machine;
mod outbox;
mod overlay;
pub mod publisher;
pub mod record;
mod replica;
pub mod ring;
