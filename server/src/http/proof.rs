//! Proofs of the hash chain.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quotastack_core::api::fields;
use quotastack_core::credits::Credits;
use quotastack_core::ids::AccountId;
use quotastack_core::ledger::entry::CANONICAL_FORMAT;
use quotastack_core::ledger::proof::{Point, Proof, ProvenEntry};
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::proof::ProofRange;
use crate::http::body::json;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{Params, Segment};
use crate::http::state::ApiState;

/// Which segment a caller asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofParams {
    from_seq: Option<i64>,
    to_seq: Option<i64>,
}

/// `GET /v1/end_users/{end_user_id}/ledger/proof`
pub async fn get_ledger_proof(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<ProofParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let range = ProofRange {
        from: params.from_seq.map(|seq| fields::seq(seq, "query:from_seq")).transpose()?,
        to: params.to_seq.map(|seq| fields::seq(seq, "query:to_seq")).transpose()?,
    };
    let proof = state.app.proof(principal.environment_id, &end_user_id, range).await?;
    Ok(json(StatusCode::OK, &ProofJson::from(&proof)))
}

#[derive(Debug, Serialize)]
struct ProofJson {
    account_id: AccountId,
    format: u8,
    before: PointJson,
    entries: Vec<ProvenEntryJson>,
    after: PointJson,
    head: PointJson,
}

#[derive(Debug, Serialize)]
struct ProvenEntryJson {
    seq: u64,
    canonical: String,
    hash: String,
}

#[derive(Debug, Serialize)]
struct PointJson {
    seq: u64,
    hash: String,
    balance: Credits,
    reserved: Credits,
    debt: Credits,
}

impl From<&Proof> for ProofJson {
    fn from(proof: &Proof) -> Self {
        let entry = |entry: &ProvenEntry| ProvenEntryJson {
            seq: entry.seq,
            canonical: STANDARD.encode(&entry.canonical),
            hash: entry.hash.to_string(),
        };
        Self {
            account_id: proof.account,
            format: CANONICAL_FORMAT,
            before: PointJson::from(&proof.before),
            entries: proof.entries.iter().map(entry).collect(),
            after: PointJson::from(&proof.after),
            head: PointJson::from(&proof.head),
        }
    }
}

impl From<&Point> for PointJson {
    fn from(point: &Point) -> Self {
        let Point { seq, hash, balance, reserved, debt } = *point;
        Self { seq, hash: hash.to_string(), balance, reserved, debt }
    }
}
