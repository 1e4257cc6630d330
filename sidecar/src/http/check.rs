//! `GET` and `POST /v1/entitlements/check`.
//!
//! The hot path of the product: a query is read in place, answered from memory, and written into one buffer.

use std::borrow::Cow;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::credits::{AmountOutOfRange, Credits, Units};
use quotastack_core::entitlement::decision::Reason;
use quotastack_core::ids::{EndUserId, FeatureKey, InvalidText};
use quotastack_core::problem::Code;
use quotastack_core::subscription::SubscriptionStatus;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;

use crate::check::{CheckAnswer, CheckError, CheckQuery, Source};
use crate::http::body::{Body, json, parse_json, read};
use crate::http::pass_through::pass_through;
use crate::http::problem::Problem;
use crate::http::router::Api;

/// Checks of one batch.
const CHECKS_MAX: usize = 100;
/// Bytes of an answer without a `value`, rounded up.
const ANSWER_BYTES: usize = 512;

/// One check, asked in the query string.
pub(crate) async fn one(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let begun = Instant::now();
    let query = parse_query(request.uri().query().unwrap_or_default())?;
    let answer = match api.sidecar.check_from_memory(&query) {
        Some(answer) => answer,
        None => api.sidecar.check(&query).await,
    };
    let response = match answer {
        Ok(answer) => json(write(&AnswerJson::new(&query, &answer), ANSWER_BYTES)),
        Err(CheckError::Partial) => {
            let (head, body) = request.into_parts();
            return pass_through(&api.sidecar, head, read(body).await?).await;
        }
        Err(error @ CheckError::NoCatalogue) => return Err(unavailable(error)),
    };
    api.check_seconds.record(begun.elapsed());
    Ok(response)
}

/// Up to [`CHECKS_MAX`] checks, each on its own.
pub(crate) async fn batch(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Checks {
        checks: Vec<CheckJson>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct CheckJson {
        end_user_id: String,
        feature_key: String,
        units: Option<i64>,
    }
    #[derive(Serialize)]
    struct Results<'a> {
        results: Vec<AnswerJson<'a>>,
    }
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let Checks { checks } = parse_json(&head.headers, &body)?;
    if checks.is_empty() || checks.len() > CHECKS_MAX {
        return Err(Problem::invalid("/checks", "send 1 to 100 checks"));
    }
    let mut queries = Vec::with_capacity(checks.len());
    for (index, check) in checks.iter().enumerate() {
        let query = parse_fields(&check.end_user_id, &check.feature_key, check.units, |name| format!("/{name}"));
        queries.push(query.map_err(|problem| problem.under(&format!("/checks/{index}")))?);
    }
    let answers = futures_util::future::join_all(queries.iter().map(|query| api.sidecar.check(query))).await;
    let answers: Result<Vec<CheckAnswer>, CheckError> = answers.into_iter().collect();
    let answers = match answers {
        Ok(answers) => answers,
        Err(CheckError::Partial) => return pass_through(&api.sidecar, head, body).await,
        Err(error @ CheckError::NoCatalogue) => return Err(unavailable(error)),
    };
    let results: Vec<_> = queries.iter().zip(&answers).map(|(query, answer)| AnswerJson::new(query, answer)).collect();
    let bytes = results.len() * ANSWER_BYTES;
    Ok(json(write(&Results { results }, bytes)))
}

fn unavailable(error: CheckError) -> Problem {
    Problem::new(Code::UpstreamUnavailable, error.to_string())
}

fn parse_query(query: &str) -> Result<CheckQuery, Problem> {
    let (mut end_user_id, mut feature_key, mut units) = (None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "end_user_id" => &mut end_user_id,
            "feature_key" => &mut feature_key,
            "units" => &mut units,
            _ => return Err(Problem::invalid(format!("query:{name}"), "there is no such parameter")),
        };
        if place.replace(value).is_some() {
            return Err(Problem::invalid(format!("query:{name}"), "give it once"));
        }
    }
    let needed = |value: Option<Cow<'_, str>>, name: &str| {
        value.map(Cow::into_owned).ok_or_else(|| Problem::invalid(format!("query:{name}"), "is required"))
    };
    let units = units.map(|units| units.parse::<i64>()).transpose();
    let units = units.map_err(|_| Problem::invalid("query:units", "must be an integer of 64 bits"))?;
    let end_user_id = needed(end_user_id, "end_user_id")?;
    let feature_key = needed(feature_key, "feature_key")?;
    parse_fields(&end_user_id, &feature_key, units, |name| format!("query:{name}"))
}

fn parse_fields(
    end_user_id: &str,
    feature_key: &str,
    units: Option<i64>,
    pointer: impl Fn(&str) -> String,
) -> Result<CheckQuery, Problem> {
    let text = |name| {
        let pointer = pointer(name);
        move |error: InvalidText| Problem::invalid(pointer, error.to_string())
    };
    Ok(CheckQuery {
        end_user_id: EndUserId::new(end_user_id).map_err(text("end_user_id"))?,
        feature_key: FeatureKey::new(feature_key).map_err(text("feature_key"))?,
        units: units.map_or(Ok(Units::ONE), |units| parse_units(units, &pointer("units")))?,
    })
}

/// A count of units; below 0 it is a mistake, above 2^53 - 1 out of range.
pub(crate) fn parse_units(units: i64, pointer: &str) -> Result<Units, Problem> {
    Units::new(units).map_err(|AmountOutOfRange| {
        if units < 0 {
            Problem::invalid(pointer, "units must be 0 or more")
        } else {
            Problem::at(Code::AmountOutOfRange, pointer, "units must be at most 9007199254740991 (2^53 - 1)")
        }
    })
}

fn write<T: Serialize>(value: &T, bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut buffer, value).expect("answers have a JSON form");
    buffer
}

/// The answer in the contract's fields and order.
#[derive(Serialize)]
struct AnswerJson<'a> {
    allowed: bool,
    reason: Reason,
    feature_key: &'a FeatureKey,
    units: Units,
    balance: Credits,
    reserved: Credits,
    available: Credits,
    estimated_cost: Option<Credits>,
    balance_after: Option<Credits>,
    units_affordable: Option<Units>,
    value: Option<&'a RawValue>,
    overage_policy: Option<OveragePolicy>,
    subscription_status: Option<SubscriptionStatus>,
    source: Source,
    version: u64,
    as_of: Timestamp,
    staleness_ms: u64,
}

impl<'a> AnswerJson<'a> {
    fn new(query: &'a CheckQuery, answer: &'a CheckAnswer) -> Self {
        let decision = &answer.decision;
        let value = decision.value.as_deref().map(serde_json::from_str);
        Self {
            allowed: decision.allowed,
            reason: decision.reason,
            feature_key: &query.feature_key,
            units: decision.units,
            balance: decision.balance,
            reserved: decision.reserved,
            available: decision.available,
            estimated_cost: decision.estimated_cost,
            balance_after: decision.balance_after,
            units_affordable: decision.units_affordable,
            value: value.transpose().expect("the server publishes values that are JSON"),
            overage_policy: decision.overage_policy,
            subscription_status: decision.subscription_status,
            source: answer.source,
            version: decision.version,
            as_of: answer.as_of,
            staleness_ms: answer.staleness_ms,
        }
    }
}
