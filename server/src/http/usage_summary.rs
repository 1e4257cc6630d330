//! Summaries of usage.

use std::fmt;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::auth::Scope;
use crate::app::usage_summary::{Group, SummaryLine, SummaryRequest};
use crate::http::body::json;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::{Params, read_cursor, write_cursor};
use crate::http::state::ApiState;
use crate::store::usage_sums::{Grain, Grouping};

const LINES_DEFAULT: i64 = 100;
const LINES_MAX: i64 = 1_000;

/// What a caller may ask of a summary.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SummaryParams {
    from: Timestamp,
    to: Timestamp,
    bucket: Option<BucketParam>,
    group_by: Option<GroupByParam>,
    property: Option<String>,
    end_user_id: Option<String>,
    feature_key: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BucketParam {
    Hour,
    Day,
    Month,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GroupByParam {
    Feature,
    EndUser,
    Property,
}

impl SummaryParams {
    fn request(self) -> Result<SummaryRequest, ApiError> {
        let limit = self.limit.unwrap_or(LINES_DEFAULT);
        if !(1..=LINES_MAX).contains(&limit) {
            return Err(Problem::invalid("query:limit", "must be 1 to 1000").into());
        }
        let end_user_id = self.end_user_id.as_deref().map(|id| fields::end_user_id(id, "query:end_user_id"));
        let feature_key = self.feature_key.as_deref().map(|key| fields::feature_key(key, "query:feature_key"));
        let after = read_cursor(self.cursor.as_deref())?.map(|LineCursor(start, key)| (start, key));
        let grouping = grouping(self.group_by.unwrap_or(GroupByParam::Feature), self.property)?;
        let is_uuid = |key: &str| Uuid::parse_str(key).is_ok_and(|id| id.to_string() == key);
        if grouping == Grouping::EndUser && after.as_ref().is_some_and(|(_, key)| !is_uuid(key)) {
            return Err(Problem::invalid("query:cursor", "belongs to a summary by something else").into());
        }
        Ok(SummaryRequest {
            from: self.from,
            to: self.to,
            bucket: match self.bucket.unwrap_or(BucketParam::Day) {
                BucketParam::Hour => Grain::Hour,
                BucketParam::Day => Grain::Day,
                BucketParam::Month => Grain::Month,
            },
            grouping,
            end_user_id: end_user_id.transpose()?,
            feature_key: feature_key.transpose()?,
            after,
            limit: usize::try_from(limit).expect("limits are 1 to 1000"),
        })
    }
}

fn grouping(by: GroupByParam, property: Option<String>) -> Result<Grouping, Problem> {
    match (by, property) {
        (GroupByParam::Property, Some(name)) if !name.is_empty() && !name.contains('\0') => {
            Ok(Grouping::Property(name))
        }
        (GroupByParam::Property, _) => Err(Problem::invalid("query:property", "must name the property to group by")),
        (_, Some(_)) => Err(Problem::invalid("query:property", "goes with group_by=property only")),
        (GroupByParam::Feature, None) => Ok(Grouping::Feature),
        (GroupByParam::EndUser, None) => Ok(Grouping::EndUser),
    }
}

/// `GET /v1/usage/summary`
pub async fn summarize_usage(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<SummaryParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let page = state.app.usage_summary(principal.environment_id, &params.request()?).await?;
    let data = page.lines.iter().map(LineJson::new).collect();
    let next_cursor = page.next.map(|(start, key)| write_cursor(LineCursor(start, key).to_string()));
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor }))
}

#[derive(Debug, Serialize)]
struct LineJson<'a> {
    bucket_start: Timestamp,
    feature_key: Option<&'a str>,
    end_user_id: Option<&'a str>,
    property_value: Option<&'a str>,
    other_values: bool,
    events: i64,
    units: i64,
    cost: i64,
    out_of_range: bool,
}

impl<'a> LineJson<'a> {
    fn new(line: &'a SummaryLine) -> Self {
        let mut out = Self {
            bucket_start: line.bucket_start,
            feature_key: None,
            end_user_id: None,
            property_value: None,
            other_values: false,
            events: line.events,
            units: line.units,
            cost: line.cost,
            out_of_range: line.is_cut,
        };
        match &line.group {
            Group::Feature(key) => out.feature_key = Some(key),
            Group::EndUser(id) => out.end_user_id = Some(id.as_str()),
            Group::Value(value) => out.property_value = value.as_deref(),
            Group::OtherValues => out.other_values = true,
        }
        out
    }
}

/// A line's bucket, in microseconds, and key.
struct LineCursor(Timestamp, String);

impl fmt::Display for LineCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.as_micros(), self.1)
    }
}

impl FromStr for LineCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, key) = text.split_once(':').ok_or(())?;
        let start = micros.parse().ok().and_then(|micros| Timestamp::from_micros(micros).ok()).ok_or(())?;
        if key.contains('\0') { Err(()) } else { Ok(Self(start, key.to_owned())) }
    }
}
