//! Entitlements: may this end user do this? The same answer in server, sidecar and WASM.
//!
//! - [`decision`]: the answer and its closed list of reasons
//! - [`access`]: whether it is given, and with which value; [`terms`]: at which price and under which policy. Both say
//!   by whom
//! - [`evaluate`]: from (state, catalogue, request, now) to the answer, and what it rests on

pub mod access;
pub mod decision;
pub mod evaluate;
pub mod terms;
