//! Who may talk to the local API. Source: docs/sync.md, "The local API".
//!
//! A browser must not reach it: whatever carries an `Origin` is refused, and over TCP on loopback so is a foreign
//! `Host` (a page whose name was rebound to 127.0.0.1). Beyond loopback every caller shows the token.

use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Uri};
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// The header in which callers from other machines show the token.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("quotastack-sidecar-token");

/// The other header in which a key may be sent.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a listener demands of its callers.
#[derive(Debug, Clone)]
pub(crate) enum Guard {
    /// A Unix socket: its file's mode decides.
    Socket,
    /// Loopback: only names of this machine.
    Loopback,
    /// Any other address: the token.
    Token(SecretString),
}

impl Guard {
    /// The guard of a TCP address; `None` where a token is needed and missing.
    pub(crate) fn of_tcp(address: SocketAddr, token: Option<&SecretString>) -> Option<Self> {
        match token {
            Some(token) => Some(Self::Token(token.clone())),
            None => address.ip().is_loopback().then_some(Self::Loopback),
        }
    }

    /// Refuses what must not pass.
    pub(crate) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if headers.contains_key(ORIGIN) {
            let detail = "the sidecar does not answer browsers; call the server's own address from a web page";
            return Err(Problem::new(Code::Forbidden, detail));
        }
        match self {
            Self::Socket => Ok(()),
            Self::Loopback => {
                let host = uri.host().or_else(|| headers.get(HOST)?.to_str().ok()).unwrap_or_default();
                if is_this_machine(host) {
                    return Ok(());
                }
                let detail = format!("the Host {host:?} is not this machine's; call the sidecar as localhost");
                Err(Problem::new(Code::Forbidden, detail))
            }
            Self::Token(token) => {
                let shown = headers.get(TOKEN).map_or(&b""[..], |value| value.as_bytes());
                // In a time that does not tell where the two differ.
                if shown.ct_eq(token.expose_secret().as_bytes()).into() {
                    return Ok(());
                }
                let detail = "send the sidecar's token in the header Quotastack-Sidecar-Token";
                Err(Problem::new(Code::Unauthenticated, detail))
            }
        }
    }
}

/// The key's environment must be the sidecar's, else an app configured for the sandbox would read live credit.
pub(crate) fn same_environment(headers: &HeaderMap, key: &SecretString) -> Result<(), Problem> {
    let own = environment(key.expose_secret());
    for name in [AUTHORIZATION, API_KEY] {
        let Some(value) = only(headers, &name)? else { continue };
        // Whatever the scheme and the spaces before it, the key is the last word.
        let word = value.to_str().ok().and_then(|value| value.split_ascii_whitespace().last());
        if let (Some(shown), Some(own)) = (word.and_then(environment), own)
            && shown != own
        {
            let detail = format!("the key is of the {shown} environment, this sidecar serves {own}");
            return Err(Problem::new(Code::Forbidden, detail));
        }
    }
    Ok(())
}

/// The value of a header that may be sent once: two could be read differently here and at the server.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(Problem::invalid(format!("header:{name}"), "must be sent once")),
    }
}

fn environment(key: &str) -> Option<&str> {
    key.strip_prefix("qs_")?.split_once('_').map(|(environment, _)| environment)
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for good in ["localhost", "LOCALHOST:7070", "127.0.0.1:1", "127.1.2.3", "[::1]:7070", "[::1]"] {
            assert!(is_this_machine(good), "{good}");
        }
        for bad in ["", "example.com", "localhost.example.com:7070", "10.0.0.1", "[::2]", "127.0.0.1.nip.io"] {
            assert!(!is_this_machine(bad), "{bad}");
        }
    }

    #[test]
    fn beyond_loopback_a_token_is_needed() {
        let everywhere: SocketAddr = "0.0.0.0:7070".parse().unwrap();
        assert!(Guard::of_tcp(everywhere, None).is_none());
        let guard = Guard::of_tcp(everywhere, Some(&"secret".into())).unwrap();
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("/v1/usage");
        assert_eq!(guard.admit(&uri, &headers).unwrap_err().code(), Code::Unauthenticated);
        headers.insert(TOKEN, "secreT".parse().unwrap());
        assert_eq!(guard.admit(&uri, &headers).unwrap_err().code(), Code::Unauthenticated);
        headers.insert(TOKEN, "secret".parse().unwrap());
        assert!(guard.admit(&uri, &headers).is_ok());
        headers.insert(ORIGIN, "https://example.com".parse().unwrap());
        assert_eq!(guard.admit(&uri, &headers).unwrap_err().code(), Code::Forbidden);
    }

    #[test]
    fn a_key_of_the_other_environment_is_refused() {
        let own = SecretString::from("qs_live_abc");
        let code = |sent: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(name, value.parse().unwrap());
            }
            same_environment(&headers, &own).err().map(|problem| problem.code())
        };
        assert_eq!(code(&[]), None);
        assert_eq!(code(&[(AUTHORIZATION, "Bearer qs_live_xyz"), (API_KEY, "qs_live_xyz")]), None);
        for other in ["Bearer qs_sandbox_x", "bearer qs_sandbox_x", "BEARER   qs_sandbox_x ", "Bearer\tqs_sandbox_x"] {
            assert_eq!(code(&[(AUTHORIZATION, other)]), Some(Code::Forbidden), "{other}");
        }
        assert_eq!(code(&[(API_KEY, " qs_sandbox_x")]), Some(Code::Forbidden));
        assert_eq!(code(&[(AUTHORIZATION, "Bearer qs_live_x"), (API_KEY, "qs_sandbox_x")]), Some(Code::Forbidden));
        for name in [AUTHORIZATION, API_KEY] {
            let twice = [(name.clone(), "Bearer qs_live_x"), (name, "Bearer qs_sandbox_x")];
            assert_eq!(code(&twice), Some(Code::ValidationFailed));
        }
    }
}
