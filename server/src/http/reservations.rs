//! Reservations.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::api::usage::ReceiptJson;
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{EndUserId, FeatureKey, ReservationId, UsageId, uuid_v7};
use quotastack_core::ledger::command::{Command, Commit, Extend, OnInsufficient, OverCommit, Properties, Reserve};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::reservation::{Reservation, ReservationStatus};
use quotastack_core::limits::{RESERVATION_TTL_SECONDS_DEFAULT, RESERVATION_TTL_SECONDS_MAX};
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::{Carried, clock};
use crate::http::account::AccountJson;
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;

/// The body of a reservation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveJson {
    end_user_id: String,
    feature_key: String,
    units: i64,
    #[serde(default, deserialize_with = "fields::not_null")]
    ttl_seconds: Option<i64>,
    #[serde(default, deserialize_with = "fields::unique_pairs")]
    properties: Properties,
    on_insufficient: Option<OnInsufficient>,
}

/// `POST /v1/reservations`
pub async fn create_reservation(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<ReserveJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let asked = &body.value;
    let end_user_id = fields::end_user_id(&asked.end_user_id, "/end_user_id")?;
    let identity = body.identity(&principal, "create_reservation", Some(&end_user_id))?;
    fields::pairs(&asked.properties, "/properties")?;
    let order = Reserve {
        id: ReservationId::from_uuid(uuid_v7(clock::now(), clock::random(), Some(end_user_id.bucket()))),
        feature_key: fields::feature_key(&asked.feature_key, "/feature_key")?,
        units: fields::units(asked.units, "/units")?,
        properties: asked.properties.clone(),
        ttl_micros: ttl_micros(asked.ttl_seconds.unwrap_or(RESERVATION_TTL_SECONDS_DEFAULT))?,
        on_insufficient: asked.on_insufficient,
    };
    let carried = state.app.write(&principal, end_user_id.clone(), Command::Reserve(order), identity, None).await?;
    Ok(answer(StatusCode::CREATED, &end_user_id, &carried))
}

fn ttl_micros(seconds: i64) -> Result<i64, Problem> {
    if (1..=RESERVATION_TTL_SECONDS_MAX).contains(&seconds) {
        Ok(seconds * MICROS_PER_SECOND)
    } else {
        Err(Problem::invalid("/ttl_seconds", "must be 1 to 86400: a reservation lives at most 24 hours"))
    }
}

fn answer(status: StatusCode, end_user_id: &EndUserId, carried: &Carried) -> Response {
    #[derive(Serialize)]
    struct ReservedJson<'a> {
        #[serde(flatten)]
        reservation: ReservationJson<'a>,
        account: AccountJson,
    }
    let Outcome::Reserved { reservation, standing } = &carried.outcome else {
        unreachable!("a reservation comes to a reservation")
    };
    let reservation = ReservationJson::new(end_user_id, reservation);
    written(status, &ReservedJson { reservation, account: AccountJson::new(standing) }, carried)
}

/// The body of a commit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitJson {
    units: i64,
    #[serde(default, deserialize_with = "fields::not_null")]
    r#final: Option<bool>,
    #[serde(default, deserialize_with = "fields::not_null")]
    over_commit: Option<OverCommit>,
    late: Option<Late>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Late {
    Debit,
}

/// `POST /v1/reservations/{reservation_id}/commit`
pub async fn commit_reservation(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<CommitJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct CommittedJson<'a> {
        reservation: ReservationJson<'a>,
        usage: ReceiptJson,
    }
    let principal = caller.with(Scope::UsageWrite)?;
    let reservation_id: ReservationId = segment.id("reservation")?;
    let (end_user_id, _) = state.app.reservation(principal.environment_id, reservation_id).await?;
    let operation = format!("commit_reservation {reservation_id}");
    let identity = body.identity(&principal, &operation, Some(&end_user_id))?;
    let order = Commit {
        reservation_id,
        usage_id: UsageId::from_uuid(uuid_v7(clock::now(), clock::random(), Some(end_user_id.bucket()))),
        units: fields::units(body.value.units, "/units")?,
        is_final: body.value.r#final.unwrap_or(true),
        over_commit: body.value.over_commit.unwrap_or_default(),
        debit_late: matches!(body.value.late, Some(Late::Debit)),
    };
    let carried = state.app.write(&principal, end_user_id.clone(), Command::Commit(order), identity, None).await?;
    let Outcome::Committed { reservation, record, .. } = &carried.outcome else {
        unreachable!("a commit comes to a commit")
    };
    let committed = CommittedJson {
        reservation: ReservationJson::new(&end_user_id, reservation),
        usage: ReceiptJson::of(record, carried.replayed),
    };
    Ok(written(StatusCode::OK, &committed, &carried))
}

/// The body of a release.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseJson {}

/// `POST /v1/reservations/{reservation_id}/release`
pub async fn release_reservation(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<ReleaseJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let id: ReservationId = segment.id("reservation")?;
    let (end_user_id, _) = state.app.reservation(principal.environment_id, id).await?;
    let identity = body.identity(&principal, &format!("release_reservation {id}"), Some(&end_user_id))?;
    let carried = state.app.write(&principal, end_user_id.clone(), Command::Release(id), identity, None).await?;
    Ok(answer(StatusCode::OK, &end_user_id, &carried))
}

/// The body of an extension.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendJson {
    ttl_seconds: i64,
}

/// `POST /v1/reservations/{reservation_id}/extend`
pub async fn extend_reservation(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<ExtendJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let reservation_id: ReservationId = segment.id("reservation")?;
    let (end_user_id, _) = state.app.reservation(principal.environment_id, reservation_id).await?;
    let operation = format!("extend_reservation {reservation_id}");
    let identity = body.identity(&principal, &operation, Some(&end_user_id))?;
    let order = Extend { reservation_id, ttl_micros: ttl_micros(body.value.ttl_seconds)? };
    let carried = state.app.write(&principal, end_user_id.clone(), Command::Extend(order), identity, None).await?;
    Ok(answer(StatusCode::OK, &end_user_id, &carried))
}

/// `GET /v1/reservations/{reservation_id}`
pub async fn get_reservation(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let id: ReservationId = segment.id("reservation")?;
    let (end_user_id, reservation) = state.app.reservation(principal.environment_id, id).await?;
    Ok(json(StatusCode::OK, &ReservationJson::new(&end_user_id, &reservation)))
}

/// What a caller may ask of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationsParams {
    end_user_id: String,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `GET /v1/reservations`
pub async fn list_reservations(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<ReservationsParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&params.end_user_id, "query:end_user_id")?;
    let limit = limit(params.limit)?;
    let before: Option<ReservationId> = read_cursor(params.cursor.as_deref())?;
    let rows = state.app.reservations(principal.environment_id, &end_user_id, before, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.id.to_string());
    let data = rows.iter().map(|row| ReservationJson::new(&end_user_id, row)).collect();
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor }))
}

#[derive(Debug, Serialize)]
struct ReservationJson<'a> {
    id: ReservationId,
    end_user_id: &'a EndUserId,
    feature_key: &'a FeatureKey,
    status: ReservationStatus,
    units: Units,
    amount: Credits,
    held: Credits,
    uncovered: Credits,
    committed_units: Units,
    committed_cost: Credits,
    properties: &'a Properties,
    created_at: Timestamp,
    expires_at: Timestamp,
    closed_at: Option<Timestamp>,
}

impl<'a> ReservationJson<'a> {
    fn new(end_user_id: &'a EndUserId, reservation: &'a Reservation) -> Self {
        Self {
            id: reservation.id,
            end_user_id,
            feature_key: &reservation.feature_key,
            status: reservation.status,
            units: reservation.units,
            amount: reservation.amount,
            held: reservation.held,
            uncovered: reservation.uncovered,
            committed_units: reservation.committed_units,
            committed_cost: reservation.committed_cost,
            properties: &reservation.properties,
            created_at: reservation.created_at,
            expires_at: reservation.expires_at,
            closed_at: reservation.closed_at,
        }
    }
}
