//! Checks: the question in a query string or a batch, and the answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::explain::ExplainJson;
use crate::api::fields;
use crate::api::problem::Problem;
use crate::catalogue::OveragePolicy;
use crate::credits::{Credits, Units};
use crate::entitlement::decision::{Decision, Reason};
use crate::ids::{EndUserId, FeatureKey};
use crate::subscription::SubscriptionStatus;
use crate::time::Timestamp;

/// Checks of one batch.
pub const CHECKS_MAX: usize = 100;
/// Bytes of an answer without a `value`, rounded up.
pub const ANSWER_BYTES: usize = 512;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckQuery {
    /// About whom.
    pub end_user_id: EndUserId,
    /// About what.
    pub feature_key: FeatureKey,
    /// How many units are intended.
    pub units: Units,
    /// Whether the answer is to say why; the server's does.
    pub explain: bool,
}

impl CheckQuery {
    /// Reads a query string.
    pub fn from_query(query: &str) -> Result<Self, Problem> {
        fields::utf8_query(query)?;
        let (mut end_user_id, mut feature_key, mut units, mut explain) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "end_user_id" => &mut end_user_id,
                "feature_key" => &mut feature_key,
                "units" => &mut units,
                "explain" => &mut explain,
                _ => return Err(Problem::invalid(format!("query:{name}"), "there is no such parameter")),
            };
            if place.replace(value).is_some() {
                return Err(Problem::invalid(format!("query:{name}"), "give it once"));
            }
        }
        let units = units.map(|units| units.parse::<i64>()).transpose();
        let units = units.map_err(|_| Problem::invalid("query:units", "must be an integer of 64 bits"))?;
        let explain = explain.map_or(Ok(false), |explain| explain.parse());
        Ok(Self {
            end_user_id: fields::end_user_id(&needed(end_user_id, "query:end_user_id")?, "query:end_user_id")?,
            feature_key: fields::feature_key(&needed(feature_key, "query:feature_key")?, "query:feature_key")?,
            units: units.map_or(Ok(Units::ONE), |units| fields::units(units, "query:units"))?,
            explain: explain.map_err(|_| Problem::invalid("query:explain", "must be true or false"))?,
        })
    }
}

fn needed<'a>(value: Option<Cow<'a, str>>, pointer: &str) -> Result<Cow<'a, str>, Problem> {
    value.ok_or_else(|| Problem::invalid(pointer, "is required"))
}

/// The body of a batch of checks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecksJson {
    checks: Vec<CheckJson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckJson {
    end_user_id: String,
    feature_key: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    units: Option<i64>,
}

impl ChecksJson {
    /// The checks, each checked on its own.
    pub fn into_queries(self) -> Result<Vec<CheckQuery>, Problem> {
        if self.checks.is_empty() || self.checks.len() > CHECKS_MAX {
            return Err(Problem::invalid("/checks", "send 1 to 100 checks"));
        }
        let queries = self.checks.iter().enumerate().map(|(index, check)| {
            let query = || {
                Ok(CheckQuery {
                    end_user_id: fields::end_user_id(&check.end_user_id, "/end_user_id")?,
                    feature_key: fields::feature_key(&check.feature_key, "/feature_key")?,
                    units: check.units.map_or(Ok(Units::ONE), |units| fields::units(units, "/units"))?,
                    explain: false,
                })
            };
            query().map_err(|problem: Problem| problem.under(&format!("/checks/{index}")))
        });
        queries.collect()
    }
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The server's database.
    Server,
    /// A sidecar's replica.
    Replica,
}

/// How fresh an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Where it comes from.
    pub source: Source,
    /// The instant up to which the state behind it is known to be complete.
    pub as_of: Timestamp,
    /// How long ago that was.
    pub staleness_ms: u64,
}

/// An answer in the contract's fields and order.
#[derive(Debug, Serialize)]
pub struct AnswerJson<'a> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staleness_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ExplainJson<'a>>,
}

impl<'a> AnswerJson<'a> {
    /// The answer to a check of `feature_key`.
    pub fn new(feature_key: &'a FeatureKey, decision: &'a Decision, freshness: Freshness) -> Self {
        Self {
            source: Some(freshness.source),
            as_of: Some(freshness.as_of),
            staleness_ms: Some(freshness.staleness_ms),
            ..Self::undated(feature_key, decision)
        }
    }

    /// The same from somebody who does not know how fresh it is.
    pub fn undated(feature_key: &'a FeatureKey, decision: &'a Decision) -> Self {
        let value = decision.value.as_deref().map(serde_json::from_str::<&RawValue>);
        Self {
            allowed: decision.allowed,
            reason: decision.reason,
            feature_key,
            units: decision.units,
            balance: decision.balance,
            reserved: decision.reserved,
            available: decision.available,
            estimated_cost: decision.estimated_cost,
            balance_after: decision.balance_after,
            units_affordable: decision.units_affordable,
            value: value.transpose().expect("values of the catalogue are JSON"),
            overage_policy: decision.overage_policy,
            subscription_status: decision.subscription_status,
            source: None,
            version: decision.version,
            as_of: None,
            staleness_ms: None,
            explain: None,
        }
    }

    /// The same with its explanation.
    #[must_use]
    pub fn explained(self, explain: ExplainJson<'a>) -> Self {
        Self { explain: Some(explain), ..self }
    }

    /// The JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        serde_json::to_writer(&mut buffer, self).expect("answers have a JSON form");
        buffer
    }
}

/// The answers to a batch, in order.
#[derive(Debug, Serialize)]
pub struct AnswersJson<'a> {
    /// One per check.
    pub results: Vec<AnswerJson<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_is_wrong_is_named() {
        let query = CheckQuery::from_query("end_user_id=Zo%C3%AB+1&feature_key=api_calls&units=3").unwrap();
        assert_eq!((query.end_user_id.as_str(), query.units.get()), ("Zoë 1", 3));
        let plain = CheckQuery::from_query("end_user_id=u&feature_key=f").unwrap();
        assert_eq!((plain.units, plain.explain), (Units::ONE, false));
        assert!(CheckQuery::from_query("end_user_id=u&feature_key=f&explain=true").unwrap().explain);
        for (query, pointer) in [
            ("feature_key=f", "query:end_user_id"),
            ("end_user_id=u", "query:feature_key"),
            ("end_user_id=&feature_key=f", "query:end_user_id"),
            ("end_user_id=u&feature_key=F", "query:feature_key"),
            ("end_user_id=u&feature_key=f&units=-1", "query:units"),
            ("end_user_id=u&feature_key=f&units=99999999999999999999", "query:units"),
            ("end_user_id=u&feature_key=f&user=1", "query:user"),
            ("end_user_id=u&feature_key=f&explain=1", "query:explain"),
            ("end_user_id=u&end_user_id=u&feature_key=f", "query:end_user_id"),
            ("end_user_id=%ff&feature_key=f", "query"),
        ] {
            let problem = CheckQuery::from_query(query).unwrap_err();
            let json = String::from_utf8(problem.to_json("r")).unwrap();
            assert!(json.contains(&format!("\"pointer\":\"{pointer}\"")), "{query}: {json}");
        }
    }
}
