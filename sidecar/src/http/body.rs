//! Bodies: what is read of a request, with its limit, and the two forms of an answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use quotastack_core::api::object;
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes beyond that which are read and thrown away.
const DISCARDED_BYTES_MAX: usize = 8 << 20;

/// How long a caller may send nothing of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stop waits for requests that have not come whole.
pub(crate) const UNFINISHED_GRACE: Duration = Duration::from_secs(3);

/// An answer of our own, or the server's passed through as it arrives.
pub(crate) type Body = Either<Full<Bytes>, reqwest::Body>;

/// A body of our own.
pub(crate) fn full(bytes: Bytes) -> Body {
    Either::Left(Full::new(bytes))
}

/// A JSON answer.
pub(crate) fn json(bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from(bytes)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A plain text answer.
pub(crate) fn text(status: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("callers name HTTP statuses");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The whole body of a request. A caller that stalls is given up, one that is slow only once the sidecar stops.
pub(crate) async fn read(mut body: Incoming, stop: &CancellationToken) -> Result<Bytes, Problem> {
    let (mut bytes, mut discarded) = (BytesMut::new(), 0);
    let mut given_up = std::pin::pin!(async {
        stop.cancelled().await;
        tokio::time::sleep(UNFINISHED_GRACE).await;
    });
    loop {
        let frame = tokio::select! {
            biased;
            frame = tokio::time::timeout(IDLE_TIMEOUT, body.frame()) => frame,
            () = &mut given_up => {
                return Err(Problem::new(Code::Overloaded, "the sidecar is stopping; nothing was done, send it again"));
            }
        };
        let frame = frame.map_err(|_| {
            let seconds = IDLE_TIMEOUT.as_secs();
            Problem::new(Code::ValidationFailed, format!("nothing more of the body came for {seconds} s"))
        })?;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|error| Problem::new(Code::ValidationFailed, format!("the body ended early: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        // What is too long is read on for a while: closing on a caller who still writes would cost it the answer.
        if discarded > 0 || bytes.len() + data.len() > BODY_BYTES_MAX {
            discarded += data.len();
        } else {
            bytes.extend_from_slice(&data);
        }
        if discarded > DISCARDED_BYTES_MAX {
            break;
        }
    }
    if discarded > 0 {
        return Err(Problem::new(Code::PayloadTooLarge, "a body has at most 1,048,576 bytes; send several requests"));
    }
    Ok(bytes.freeze())
}

/// A body as JSON; fields that nobody knows are refused by the types it is read into.
pub(crate) fn parse_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    if let Some(media_type) = headers.get(CONTENT_TYPE).filter(|media_type| !is_json(media_type)) {
        let detail = format!("send the body as application/json, not {media_type:?}");
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    object::from_slice(body)
}

fn is_json(media_type: &HeaderValue) -> bool {
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
