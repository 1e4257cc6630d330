//! How a sidecar names the accounts that it follows, without sending their ids.

use crate::ids::EndUserId;

/// 64 bits of BLAKE3 over an end user's id. Two ids with one hash cost a message that the sidecar drops.
pub fn follow_hash(end_user_id: &EndUserId) -> u64 {
    let hash = blake3::hash(end_user_id.as_str().as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a BLAKE3 hash has 32 bytes");
    u64::from_be_bytes(*first)
}
