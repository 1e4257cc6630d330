//! Who asks: the key of a request, and what it may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use secrecy::SecretString;

use crate::app::App;
use crate::app::auth::{Principal, Scope};
use crate::http::error::ApiError;
use crate::http::state::ApiState;

/// Longest secret that is looked at.
const SECRET_BYTES_MAX: usize = 256;

/// An authenticated caller.
#[derive(Debug)]
pub struct Caller {
    /// Who it acts as.
    principal: Principal,
}

impl Caller {
    /// The principal, if its key has `scope`.
    pub fn with(self, scope: Scope) -> Result<Principal, ApiError> {
        self.principal.require(scope)?;
        Ok(self.principal)
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let app: &Arc<App> = &state.app;
        let principal = app.authenticate(presented(&parts.headers).as_ref()).await?;
        Ok(Self { principal })
    }
}

/// The secret in `Authorization: Bearer` or `X-API-Key`.
fn presented(headers: &HeaderMap) -> Option<SecretString> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, secret) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
    });
    let secret = bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())?;
    (secret.len() <= SECRET_BYTES_MAX).then(|| SecretString::from(secret))
}
