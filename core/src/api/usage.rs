//! Usage events: the bodies of single and batch requests, receipts, and results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::fields;
use crate::api::problem::Problem;
use crate::credits::{Credits, Units};
use crate::ids::{BlockId, EndUserId, FeatureKey, IdempotencyKey, UsageId};
use crate::ledger::command::OnInsufficient;
use crate::ledger::outcome::UsageRecord;
use crate::ledger::quote::PricedBy;
use crate::limits::BATCH_EVENTS_MAX;
use crate::problem::Code;
use crate::time::Timestamp;

/// A usage event as a caller reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRequest {
    /// Who used it.
    pub end_user_id: EndUserId,
    /// What was used.
    pub feature_key: FeatureKey,
    /// How much.
    pub units: Units,
    /// Its identity, if the caller gave one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What to do on a shortfall.
    pub on_insufficient: Option<OnInsufficient>,
    /// When, if the caller said so.
    pub effective_at: Option<Timestamp>,
    /// Properties of the event.
    pub properties: BTreeMap<String, String>,
    /// Whether only to say what would happen.
    pub dry_run: bool,
}

/// The body of one event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageJson {
    end_user_id: String,
    feature_key: String,
    units: i64,
    idempotency_key: Option<String>,
    on_insufficient: Option<OnInsufficient>,
    effective_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "fields::unique_pairs")]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    dry_run: bool,
}

impl UsageJson {
    /// The event; `header` is the request's `Idempotency-Key`, which is the same thing as `idempotency_key`.
    pub fn into_request(self, header: Option<IdempotencyKey>) -> Result<UsageRequest, Problem> {
        let mut request = self.checked()?;
        request.idempotency_key = match (request.idempotency_key, header) {
            (Some(body), Some(header)) if body != header => {
                let detail = "the Idempotency-Key header and idempotency_key name different keys; send one of them";
                return Err(Problem::at(Code::IdempotencyKeyReused, "/idempotency_key", detail));
            }
            (body, header) => body.or(header),
        };
        Ok(request)
    }

    fn checked(self) -> Result<UsageRequest, Problem> {
        fields::pairs(&self.properties, "/properties")?;
        let key = self.idempotency_key.as_deref().map(|key| fields::idempotency_key(key, "/idempotency_key"));
        Ok(UsageRequest {
            end_user_id: fields::end_user_id(&self.end_user_id, "/end_user_id")?,
            feature_key: fields::feature_key(&self.feature_key, "/feature_key")?,
            units: fields::units(self.units, "/units")?,
            idempotency_key: key.transpose()?,
            on_insufficient: self.on_insufficient,
            effective_at: self.effective_at,
            properties: self.properties,
            dry_run: self.dry_run,
        })
    }
}

/// The body of a batch of events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageBatchJson {
    events: Vec<UsageJson>,
}

impl UsageBatchJson {
    /// The events; those without a key get `{header}/{index}` where the request has an `Idempotency-Key`.
    pub fn into_requests(self, header: Option<&IdempotencyKey>) -> Result<Vec<UsageRequest>, Problem> {
        if self.events.is_empty() || self.events.len() > BATCH_EVENTS_MAX {
            return Err(Problem::invalid("/events", "send 1 to 1,000 events"));
        }
        let requests = self.events.into_iter().enumerate().map(|(index, event)| {
            let at = format!("/events/{index}");
            let mut request = event.checked().map_err(|problem| problem.under(&at))?;
            if request.dry_run {
                return Err(Problem::invalid(
                    format!("{at}/dry_run"),
                    "ask for a dry run of one event at POST /v1/usage",
                ));
            }
            if let (None, Some(header)) = (&request.idempotency_key, header) {
                let key = format!("{}/{index}", header.as_str());
                request.idempotency_key = Some(fields::idempotency_key(&key, "header:Idempotency-Key")?);
            }
            Ok(request)
        });
        requests.collect()
    }
}

/// Who allowed what was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsumedFrom {
    /// The server's ledger.
    Server,
    /// A sidecar, from a lease.
    Lease,
}

/// Allowed, and what the event cost.
#[derive(Debug, Clone, Serialize)]
pub struct ConsumeReceiptJson {
    allowed: bool,
    #[serde(flatten)]
    receipt: ReceiptJson,
    source: ConsumedFrom,
}

impl ConsumeReceiptJson {
    /// Who may not is refused, so there is no other.
    pub const fn new(receipt: ReceiptJson, source: ConsumedFrom) -> Self {
        Self { allowed: true, receipt, source }
    }
}

/// What an event cost and what is left.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiptJson {
    /// The event's id; `None` in a dry run.
    pub id: Option<UsageId>,
    /// What was charged: its price, or less where it was capped.
    pub cost: Credits,
    /// The account's balance with it.
    pub balance: Credits,
    /// What of that is free.
    pub available: Credits,
    /// The account's debt.
    pub debt: Credits,
    /// The blocks that paid; `None` from a sidecar, which leaves that to the server.
    pub allocations: Option<Vec<PaidJson>>,
    /// The event's price before it was capped; `None` from a sidecar.
    pub price: Option<Credits>,
    /// The part of the cost that is owed; `None` from a sidecar.
    pub owed: Option<Credits>,
    /// Which price it was given; `None` from a sidecar.
    pub priced_by: Option<PricedBy>,
    /// Whether the event had been recorded before.
    pub replayed: bool,
    /// Whether nothing was recorded, because only a dry run was asked for.
    pub dry_run: bool,
}

/// What one block paid.
#[derive(Debug, Clone, Serialize)]
pub struct PaidJson {
    /// The block.
    pub block_id: BlockId,
    /// What it paid.
    pub amount: Credits,
}

impl ReceiptJson {
    /// The receipt of a recorded event.
    pub fn of(record: &UsageRecord, replayed: bool) -> Self {
        let paid = record.allocations.iter().map(|part| PaidJson { block_id: part.block_id, amount: part.amount });
        Self {
            id: Some(record.id),
            cost: record.charged,
            balance: record.totals.balance,
            available: record.totals.available,
            debt: record.totals.debt,
            allocations: Some(paid.collect()),
            price: Some(record.cost),
            owed: Some(record.owed),
            priced_by: Some(record.priced_by),
            replayed,
            dry_run: false,
        }
    }

    /// What recording the event would have said.
    pub fn of_dry_run(record: &UsageRecord, replayed: bool) -> Self {
        Self { id: None, dry_run: true, ..Self::of(record, replayed) }
    }
}

/// What became of one event of a batch.
#[derive(Debug, Clone, Serialize)]
pub struct ResultJson {
    status: &'static str,
    id: Option<UsageId>,
    cost: Option<Credits>,
    code: Option<&'static str>,
    detail: Option<String>,
}

impl ResultJson {
    /// Of an event that is recorded.
    pub const fn recorded(id: UsageId, cost: Credits, replayed: bool) -> Self {
        let status = if replayed { "replayed" } else { "recorded" };
        Self { status, id: Some(id), cost: Some(cost), code: None, detail: None }
    }

    /// Of an event that is not, or (`outcome_unknown`) may or may not be.
    pub fn refused(problem: &Problem) -> Self {
        let (code, detail) = (problem.code().as_str(), problem.detail().to_owned());
        let status = if problem.code() == Code::OutcomeUnknown { "unknown" } else { "refused" };
        Self { status, id: None, cost: None, code: Some(code), detail: Some(detail) }
    }
}

/// The results of a batch, in the order of its events.
#[derive(Debug, Serialize)]
pub struct ResultsJson {
    /// One per event.
    pub results: Vec<ResultJson>,
}
