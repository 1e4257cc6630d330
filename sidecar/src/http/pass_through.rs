//! Everything the sidecar does not answer itself goes to the server, with the caller's own key.
//!
//! A caller reads its own writes: the outbox is sent first, and after a write the answer is held back until the
//! replica has it. Both waits end after [`WAIT`], because they only save a caller from surprise.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body_util::Either;
use quotastack_core::api::problem::Problem;
use quotastack_core::ids::EndUserId;
use quotastack_core::problem::Code;
use serde::Deserialize;

use crate::http::body::Body;
use crate::http::guard::TOKEN;
use crate::sidecar::Sidecar;

/// How long a call waits for the outbox to be sent, and again for the replica to have what it wrote.
const WAIT: Duration = Duration::from_millis(250);
/// Which lane an account's write went to.
const LANE: HeaderName = HeaderName::from_static("quotastack-lane");
/// The write's place in that lane's feed.
const STAMP: HeaderName = HeaderName::from_static("quotastack-stamp");

/// The catalogue's version after a write of it.
const CATALOGUE: HeaderName = HeaderName::from_static("quotastack-catalogue");

/// Headers that belong to one connection and are not passed on.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Passes a request to the server and its answer back.
pub(crate) async fn pass_through(sidecar: &Sidecar, head: Parts, body: Bytes) -> Result<Response<Body>, Problem> {
    let target = head.uri.path_and_query().map_or("/v1/", |target| target.as_str());
    let url = sidecar
        .upstream()
        .url(target)
        .ok_or_else(|| Problem::new(Code::NotFound, format!("{} is no path of the API", head.uri.path())))?;
    let end_user_id = written_end_user(head.uri.path(), &body);

    // Late or not, the call itself goes on.
    let _ = tokio::time::timeout(WAIT, sidecar.outbox_sent()).await;
    let mut headers = head.headers;
    remove_hop_by_hop(&mut headers);
    for own in [HOST, CONTENT_LENGTH, TOKEN] {
        headers.remove(own);
    }
    let sent = sidecar.upstream().client().request(head.method, url).headers(headers).body(body).send().await;
    let answer = sent.map_err(not_answered)?;
    if let Some((lane, stamp)) = written(answer.headers()) {
        let _ = tokio::time::timeout(WAIT, sidecar.has_stamp(end_user_id.as_ref(), lane, stamp)).await;
    }
    if let Some(version) = number(answer.headers(), &CATALOGUE) {
        let _ = tokio::time::timeout(WAIT, sidecar.has_catalogue(version)).await;
    }
    let mut response = http::Response::from(answer).map(Either::Right);
    remove_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// A call that never left is one thing, one whose answer was lost another: it may have been carried out.
fn not_answered(error: reqwest::Error) -> Problem {
    if error.is_connect() {
        let detail = format!("the server cannot be reached ({}); the call was not passed on", error.without_url());
        Problem::new(Code::UpstreamUnavailable, detail)
    } else {
        let detail = format!(
            "the server did not answer ({}); send the same request with the same key again",
            error.without_url()
        );
        Problem::new(Code::OutcomeUnknown, detail)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Lane and stamp of the write, if the answer is of one.
fn written(headers: &HeaderMap) -> Option<(u16, u64)> {
    Some((number(headers, &LANE)?, number(headers, &STAMP)?))
}

fn number<T: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Whose account the request is about, from its body or its path.
fn written_end_user(path: &str, body: &Bytes) -> Option<EndUserId> {
    #[derive(Deserialize)]
    struct Named {
        end_user_id: EndUserId,
    }
    if let Ok(named) = serde_json::from_slice::<Named>(body) {
        return Some(named.end_user_id);
    }
    let segment = path.strip_prefix("/v1/end_users/")?.split('/').next()?;
    // In a path `+` stands for itself, in a form for a space.
    let form = format!("id={}", segment.replace('+', "%2B"));
    let (_, id) = url::form_urlencoded::parse(form.as_bytes()).next()?;
    EndUserId::new(&id).ok()
}
