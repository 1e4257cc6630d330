//! The local API: the server's paths on loopback or a Unix socket.
//!
//! - [`serve`]: listeners and connections
//! - `guard`: who may call
//! - `router`: from a request to its handler
//! - `check`, `usage`: what the sidecar answers itself
//! - `pass_through`: what it hands to the server
//! - `body`, `problem`: forms of requests and answers

mod body;
mod check;
mod guard;
mod pass_through;
mod problem;
mod router;
mod serve;
mod usage;

pub use serve::{ListenError, LocalApi};
