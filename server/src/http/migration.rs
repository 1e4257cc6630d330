//! Moving a variant's subscribers to its newest version.

use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::ids::{EndUserId, SubscriptionId, VariantId};
use quotastack_core::subscription::order::{ChangeCredits, When};
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::migration::{Migrated, MigrationOrder, MigrationPage, Moved, Place};
use crate::http::account::AccountJson;
use crate::http::body::{Json, json, mark_replayed};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{Segment, read_cursor, write_cursor};
use crate::http::state::ApiState;

const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 1_000;

/// The body of one page of a migration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationJson {
    #[serde(default, deserialize_with = "fields::not_null")]
    at: Option<When>,
    #[serde(default, deserialize_with = "fields::not_null")]
    credits: Option<ChangeCredits>,
    #[serde(default)]
    preview: bool,
    #[serde(default, deserialize_with = "fields::not_null")]
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `POST /v1/variants/{variant_id}/migrate`
pub async fn migrate_variant(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<MigrationJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsWrite)?;
    let variant_id: VariantId = segment.id("plan variant")?;
    let identity = body.identity(&principal, &format!("migrate_variant {variant_id}"), None)?;
    let asked = &body.value;
    let at = asked.at.unwrap_or(When::Now);
    if at == When::PeriodEnd && asked.credits.is_some() {
        let detail = "is for changes now; at the end of the period there is nothing to prorate";
        return Err(Problem::invalid("/credits", detail).into());
    }
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid("/limit", "must be 1 to 1000").into());
    }
    let cursor: Option<Cursor> = read_cursor(asked.cursor.as_deref())
        .map_err(|_| Problem::invalid("/cursor", "use the next_cursor of the page before, unchanged"))?;
    let order = MigrationOrder {
        variant_id,
        at,
        credits: asked.credits.unwrap_or_default(),
        preview: asked.preview,
        limit: usize::try_from(limit).expect("limits are 1 to 1000"),
        after: cursor.map(|Cursor(place)| place),
    };
    let (page, replayed) = state.app.migrate_variant(&principal, order, identity).await?;
    Ok(mark_replayed(json(StatusCode::OK, &PageOut::new(&order, &page)), replayed))
}

/// A place as a cursor has it: the lane, and the last subscription in it.
struct Cursor(Place);

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (lane, subscription) = text.split_once(' ').ok_or(())?;
        let subscription_id = if subscription.is_empty() { None } else { Some(subscription.parse().map_err(|_| ())?) };
        Ok(Self(Place { lane: lane.parse().map_err(|_| ())?, subscription_id }))
    }
}

fn cursor_of(place: Place) -> String {
    let subscription = place.subscription_id.map(|id: SubscriptionId| id.to_string()).unwrap_or_default();
    write_cursor(format!("{} {subscription}", place.lane))
}

#[derive(Debug, Serialize)]
struct PageOut<'a> {
    plan_variant_id: VariantId,
    version: u32,
    preview: bool,
    data: Vec<RowOut<'a>>,
    migrated: usize,
    refused: usize,
    remaining: u64,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct RowOut<'a> {
    subscription_id: SubscriptionId,
    end_user_id: &'a EndUserId,
    from_version: u32,
    status: &'static str,
    code: Option<&'a str>,
    detail: Option<&'a str>,
    before: Option<AccountJson>,
    after: Option<AccountJson>,
}

impl<'a> PageOut<'a> {
    fn new(order: &MigrationOrder, page: &'a MigrationPage) -> Self {
        let count = |which: fn(&Moved) -> bool| page.rows.iter().filter(|row| which(&row.result)).count();
        Self {
            plan_variant_id: order.variant_id,
            version: page.version,
            preview: order.preview,
            data: page.rows.iter().map(RowOut::new).collect(),
            migrated: count(|moved| matches!(moved, Moved::Migrated | Moved::Would(..))),
            refused: count(|moved| matches!(moved, Moved::Refused { .. })),
            remaining: page.remaining,
            next_cursor: page.next.map(cursor_of),
        }
    }
}

impl<'a> RowOut<'a> {
    fn new(row: &'a Migrated) -> Self {
        let (status, refusal, standings) = match &row.result {
            Moved::Migrated => ("migrated", None, None),
            Moved::Would(before, after) => ("migrated", None, Some((before, after))),
            Moved::Unchanged => ("unchanged", None, None),
            Moved::Refused { code, detail } => ("refused", Some((code, detail)), None),
        };
        Self {
            subscription_id: row.subscription_id,
            end_user_id: &row.end_user_id,
            from_version: row.from_version,
            status,
            code: refusal.map(|(code, _)| code.as_str()),
            detail: refusal.map(|(_, detail)| detail.as_str()),
            before: standings.map(|(before, _)| AccountJson::new(before)),
            after: standings.map(|(_, after)| AccountJson::new(after)),
        }
    }
}
