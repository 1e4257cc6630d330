//! `GET` and `POST /v1/entitlements/check`.
//!
//! The hot path of the product: a query is read in place, answered from memory, and written into one buffer.

use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use quotastack_core::api::check::{AnswerJson, AnswersJson, CheckQuery, ChecksJson};
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;

use crate::check::{CheckAnswer, CheckError};
use crate::http::body::{Body, json, parse_json};
use crate::http::pass_through::pass_through;
use crate::http::router::Api;

/// One check, asked in the query string.
pub(crate) async fn one(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let begun = Instant::now();
    let query = CheckQuery::from_query(request.uri().query().unwrap_or_default())?;
    if query.explain {
        // Only the server knows the blocks by name.
        let (head, body) = request.into_parts();
        return pass_through(&api.sidecar, head, api.read(body).await?).await;
    }
    let answer = match api.sidecar.check_from_memory(&query) {
        Some(answer) => answer,
        None => api.sidecar.check(&query).await,
    };
    let response = match answer {
        Ok(answer) => json(answer_json(&query, &answer).to_json()),
        Err(CheckError::Partial) => {
            let (head, body) = request.into_parts();
            return pass_through(&api.sidecar, head, api.read(body).await?).await;
        }
        Err(error @ CheckError::NoCatalogue) => return Err(unavailable(error)),
    };
    api.check_seconds.record(begun.elapsed());
    Ok(response)
}

/// Up to 100 checks, each on its own.
pub(crate) async fn batch(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let body = api.read(body).await?;
    let queries = parse_json::<ChecksJson>(&head.headers, &body)?.into_queries()?;
    let answers = futures_util::future::join_all(queries.iter().map(|query| api.sidecar.check(query))).await;
    let answers: Result<Vec<CheckAnswer>, CheckError> = answers.into_iter().collect();
    let answers = match answers {
        Ok(answers) => answers,
        Err(CheckError::Partial) => return pass_through(&api.sidecar, head, body).await,
        Err(error @ CheckError::NoCatalogue) => return Err(unavailable(error)),
    };
    let results = queries.iter().zip(&answers).map(|(query, answer)| answer_json(query, answer)).collect();
    Ok(json(serde_json::to_vec(&AnswersJson { results }).expect("answers have a JSON form")))
}

fn answer_json<'a>(query: &'a CheckQuery, answer: &'a CheckAnswer) -> AnswerJson<'a> {
    AnswerJson::new(&query.feature_key, &answer.decision, answer.freshness)
}

fn unavailable(error: CheckError) -> Problem {
    Problem::new(Code::UpstreamUnavailable, error.to_string())
}
