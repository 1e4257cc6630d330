//! Entitlements: may this end user do this? The same answer in server, sidecar and WASM.
//!
//! - [`decision`]: the answer and its closed list of reasons
//! - [`terms`]: at which price and under which policy
//! - [`evaluate`]: from (state, catalogue, request, now) to the answer

pub mod decision;
pub mod evaluate;
pub mod terms;
