//! The ledger's entries.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::ledger::EntryJson;
use quotastack_core::api::problem::Problem;
use quotastack_core::ids::{ReservationId, SubscriptionId, TopupId, UsageId};
use quotastack_core::ledger::entry::EntryKind;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::auth::Scope;
use crate::http::body::json;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{Params, Segment, limit};
use crate::http::state::ApiState;
use crate::store::entries::EntryFilter;

/// What a caller may ask of the ledger.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerParams {
    after_seq: Option<i64>,
    limit: Option<i64>,
    kind: Option<String>,
    feature_key: Option<String>,
    usage_id: Option<String>,
    reservation_id: Option<String>,
    topup_id: Option<String>,
    subscription_id: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl LedgerParams {
    fn filter(&self) -> Result<EntryFilter, Problem> {
        let kinds = self.kind.as_deref().map(|kinds| kinds.split(',').map(kind).collect::<Result<Vec<_>, _>>());
        let feature_key = self.feature_key.as_deref().map(|key| fields::feature_key(key, "query:feature_key"));
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            return Err(Problem::invalid("query:to", "must be after `from`: a range is [from, to)"));
        }
        let reservation_id =
            self.reservation_id.as_deref().map(|id| fields::id::<ReservationId>(id, "query:reservation_id"));
        Ok(EntryFilter {
            kinds: kinds.transpose()?,
            feature_key: feature_key.transpose()?,
            cause_id: self.cause_id()?,
            reservation_id: reservation_id.transpose()?,
            recorded_from: self.from,
            recorded_to: self.to,
        })
    }

    fn cause_id(&self) -> Result<Option<Uuid>, Problem> {
        let usage = self.usage_id.as_deref().map(|id| fields::id(id, "query:usage_id").map(UsageId::uuid));
        let topup = self.topup_id.as_deref().map(|id| fields::id(id, "query:topup_id").map(TopupId::uuid));
        let subscription = self.subscription_id.as_deref();
        let subscription = subscription.map(|id| fields::id(id, "query:subscription_id").map(SubscriptionId::uuid));
        let mut given = [usage, topup, subscription].into_iter().flatten();
        let first = given.next().transpose()?;
        if given.next().is_some() {
            let detail = "give one of usage_id, topup_id and subscription_id: an entry has one cause";
            return Err(Problem::invalid("query", detail));
        }
        Ok(first)
    }
}

fn kind(name: &str) -> Result<EntryKind, Problem> {
    let known = EntryKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| Problem::invalid("query:kind", format!("there is no kind of entry {name:?}")))
}

/// `GET /v1/end_users/{end_user_id}/ledger`
pub async fn list_ledger_entries(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<LedgerParams>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct PageJson<'a> {
        data: Vec<EntryJson<'a>>,
        next_cursor: Option<String>,
    }
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let after_seq = fields::units(params.after_seq.unwrap_or(0), "query:after_seq")?;
    let after_seq = u64::try_from(after_seq.get()).expect("units are not negative");
    let filter = params.filter()?;
    let limit = usize::try_from(limit(params.limit)?).expect("limits are 1 to 100");
    let page = state.app.entries(principal.environment_id, &end_user_id, after_seq, &filter, limit).await?;
    let next_cursor = page.next.map(|seq| seq.to_string());
    let data = page.entries.iter().map(|(entry, reason)| EntryJson::new(entry, reason.as_deref())).collect();
    Ok(json(StatusCode::OK, &PageJson { data, next_cursor }))
}
