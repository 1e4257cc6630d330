//! Lists of usage.

use std::fmt;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::ids::ReservationId;
use quotastack_core::time::Timestamp;
use serde::Deserialize;

use crate::app::auth::Scope;
use crate::app::usage_list::UsagePage;
use crate::http::body::json;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::{Params, limit, read_cursor, write_cursor};
use crate::http::state::ApiState;
use crate::http::usage::UsageEventJson;
use crate::store::usage::{UsageFilter, UsagePlace};

/// What a caller may ask of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageParams {
    end_user_id: Option<String>,
    feature_key: Option<String>,
    reservation_id: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: Option<i64>,
    cursor: Option<String>,
}

impl UsageParams {
    fn filter(&self) -> Result<UsageFilter, Problem> {
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            return Err(Problem::invalid("query:to", "must be after `from`: a range is [from, to)"));
        }
        let feature_key = self.feature_key.as_deref().map(|key| fields::feature_key(key, "query:feature_key"));
        let reservation_id =
            self.reservation_id.as_deref().map(|id| fields::id::<ReservationId>(id, "query:reservation_id"));
        Ok(UsageFilter {
            feature_key: feature_key.transpose()?,
            reservation_id: reservation_id.transpose()?,
            from: self.from,
            to: self.to,
        })
    }
}

/// `GET /v1/usage`
pub async fn list_usage(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<UsageParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let filter = params.filter()?;
    let limit = usize::try_from(limit(params.limit)?).expect("limits are 1 to 100");
    let (id, cursor) = (principal.environment_id, params.cursor.as_deref());
    let UsagePage { events, next } = match &params.end_user_id {
        Some(end_user_id) => {
            let end_user_id = fields::end_user_id(end_user_id, "query:end_user_id")?;
            let page = state.app.usage_of_end_user(id, &end_user_id, read_cursor(cursor)?, &filter, limit).await?;
            UsagePage { events: page.events, next: page.next.map(|seq| seq.to_string()) }
        }
        None => {
            let places = read_cursor(cursor)?.map(|LanesCursor(places)| places);
            let page = state.app.usage_of_environment(id, places, &filter, limit).await?;
            UsagePage { events: page.events, next: page.next.map(|places| LanesCursor(places).to_string()) }
        }
    };
    let data = events.iter().map(UsageEventJson::new).collect();
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor: next.map(write_cursor) }))
}

/// Places of all lanes: `feed_seq.seq`, separated by commas.
struct LanesCursor(Vec<UsagePlace>);

impl fmt::Display for LanesCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}.{}", place.feed_seq, place.seq)?;
        }
        Ok(())
    }
}

impl FromStr for LanesCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // Beyond what the database counts up to there is nothing.
        let number = |text: &str| text.parse().ok().filter(|number: &u64| i64::try_from(*number).is_ok());
        let place = |text: &str| {
            let (feed_seq, seq) = text.split_once('.')?;
            Some(UsagePlace { feed_seq: number(feed_seq)?, seq: number(seq)? })
        };
        text.split(',').map(place).collect::<Option<_>>().map(Self).ok_or(())
    }
}
