//! The fleet of sidecars.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::ids::SidecarId;
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};
use serde::Serialize;

use crate::app::auth::Scope;
use crate::http::body::json;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::{ListOut, ListParams};
use crate::http::query::{Params, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::store::sidecars::SidecarRow;

/// After so long without a word from its server a link counts as down: the server itself may be gone.
const SILENT_SECONDS_MAX: i64 = 30;

/// `GET /v1/sidecars`
pub async fn list_sidecars(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::Sidecar)?;
    let limit = limit(params.limit)?;
    let after: Option<SidecarId> = read_cursor(params.cursor.as_deref())?;
    let (rows, now) = state.app.sidecars(principal.environment_id, after, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.sidecar_id.to_string());
    Ok(json(StatusCode::OK, &ListOut { data: rows.iter().map(|row| SidecarOut::new(row, now)).collect(), next_cursor }))
}

#[derive(Debug, Serialize)]
struct SidecarOut<'a> {
    id: SidecarId,
    software: &'a str,
    mode: &'a str,
    link: &'static str,
    linked_at: Timestamp,
    last_seen_at: Timestamp,
    behind: u64,
    staleness_ms: u64,
    accounts: u64,
    outbox: OutboxOut,
    refused_events: u64,
}

#[derive(Debug, Serialize)]
struct OutboxOut {
    events: u64,
    bytes: u64,
    oldest_ms: u64,
}

impl<'a> SidecarOut<'a> {
    fn new(row: &'a SidecarRow, now: Timestamp) -> Self {
        let is_heard = now.micros_since(row.seen_at) <= SILENT_SECONDS_MAX * MICROS_PER_SECOND;
        let report = &row.report;
        Self {
            id: row.sidecar_id,
            software: &row.software,
            mode: &row.mode,
            link: if row.ended_at.is_none() && is_heard { "up" } else { "down" },
            linked_at: row.linked_at,
            last_seen_at: row.seen_at,
            behind: row.behind,
            staleness_ms: report.staleness_ms,
            accounts: report.accounts,
            outbox: OutboxOut {
                events: report.outbox_events,
                bytes: report.outbox_bytes,
                oldest_ms: report.outbox_oldest_ms,
            },
            refused_events: report.refused_events,
        }
    }
}
