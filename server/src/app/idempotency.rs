//! What makes a repeated request the same one: its key, scoped to environment, operation and end user, and its body.

use quotastack_core::ids::{EndUserId, IdempotencyKey};
use serde::Serialize;

use crate::store::types::EnvironmentId;

/// The identity of a request with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestIdentity {
    /// Of environment, operation, end user and key.
    pub key_hash: [u8; 16],
    /// Of the body.
    pub request_hash: [u8; 16],
}

impl RequestIdentity {
    /// The identity of a request to `operation` with this key and body.
    pub fn new<B: Serialize>(
        environment: EnvironmentId,
        operation: &str,
        end_user: Option<&EndUserId>,
        key: &IdempotencyKey,
        body: &B,
    ) -> Self {
        Self { key_hash: hash16(&(environment.0, operation, end_user, key)), request_hash: hash16(body) }
    }

    /// The identity of a request without a key: nobody else has it.
    pub const fn unique(seed: [u8; 16]) -> Self {
        Self { key_hash: seed, request_hash: seed }
    }
}

fn hash16<T: Serialize>(value: &T) -> [u8; 16] {
    let bytes = postcard::to_stdvec(value).expect("a request has no form that postcard refuses");
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    hash
}
