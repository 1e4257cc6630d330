//! What makes a repeated request the same one: its key, scoped to environment, operation and end user, and its body.

use quotastack_core::ids::{EndUserId, IdempotencyKey};

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
    pub fn new(
        environment: EnvironmentId,
        operation: &str,
        end_user: Option<&EndUserId>,
        key: &IdempotencyKey,
        body: &serde_json::Value,
    ) -> Self {
        let scoped = postcard::to_stdvec(&(environment.0, operation, end_user, key));
        let scoped = scoped.expect("a scoped key has no form that postcard refuses");
        // As text, which tells `1` from `true`.
        Self { key_hash: hash16(&scoped), request_hash: hash16(body.to_string().as_bytes()) }
    }

    /// The identity of a request without a key: nobody else has it.
    pub const fn unique(seed: [u8; 16]) -> Self {
        Self { key_hash: seed, request_hash: seed }
    }
}

fn hash16(bytes: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    hash
}
