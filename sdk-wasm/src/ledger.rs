//! Verifying ledgers: from JSON to the Rust SDK's verifier and back.

use quotastack::{Client, Error, LedgerHead, LedgerProof};

use crate::failure::Failure;

/// What was verified, as JSON.
pub(crate) async fn verify_ledger(client: &Client, end_user_id: &str, remembered: &str) -> Result<String, Failure> {
    let remembered: Option<LedgerHead> = serde_json::from_str(remembered)?;
    let verified = client.verify_ledger(end_user_id, remembered.as_ref()).await?;
    Ok(serde_json::to_string(&verified)?)
}

/// What the proof shows, as JSON.
pub(crate) fn verify_proof(proof: &str, remembered: &str) -> Result<String, Failure> {
    let proof: LedgerProof = serde_json::from_str(proof)?;
    let remembered: Option<LedgerHead> = serde_json::from_str(remembered)?;
    let verified = quotastack::verify_proof(&proof, remembered.as_ref()).map_err(Error::from)?;
    Ok(serde_json::to_string(&verified)?)
}
