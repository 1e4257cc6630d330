//! Keys, scopes, and the [`Principal`] that a request acts as.
//!
//! A key that was found is believed for [`BELIEVE_KEY`], so a revoked one is refused everywhere within that time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quotastack_core::ids::{KeyId, TenantId};
use secrecy::{ExposeSecret, SecretString};

use crate::app::error::AppError;
use crate::app::{clock, secret};
use crate::store::keys::{Environment, StoredKey};
use crate::store::tx::Store;
use crate::store::types::EnvironmentId;

/// How long a key that was found valid is believed without looking again.
pub const BELIEVE_KEY: Duration = Duration::from_secs(4);
/// Keys remembered at most.
const REMEMBERED_KEYS_MAX: usize = 10_000;

const NO_KEY: &str = "send an API key in the header `Authorization: Bearer qs_...`";
const BAD_KEY: &str = "the API key is not valid; check that it was copied whole and has not been revoked";

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a key may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Scope {
            $($(#[$doc])* $name,)*
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

scopes! {
    /// Check entitlements.
    EntitlementsRead = "entitlements:read",
    /// Record usage.
    UsageWrite = "usage:write",
    /// Read balances, blocks, the ledger and usage.
    CreditsRead = "credits:read",
    /// Grant credits.
    CreditsWrite = "credits:write",
    /// Read features and plans.
    CatalogRead = "catalog:read",
    /// Change features and plans, and set the sandbox clock.
    CatalogWrite = "catalog:write",
    /// Read subscriptions.
    SubscriptionsRead = "subscriptions:read",
    /// Create and change subscriptions.
    SubscriptionsWrite = "subscriptions:write",
    /// Manage webhooks.
    WebhooksWrite = "webhooks:write",
    /// Connect a sidecar.
    Sidecar = "sidecar",
    /// Manage keys.
    KeysWrite = "keys:write",
    /// All of these.
    Full = "full",
}

impl Scope {
    /// The scope of this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == text)
    }

    /// Whether a key with this scope may do what `wanted` allows.
    pub fn covers(self, wanted: Self) -> bool {
        let reads = |written: Self| match written {
            Self::CreditsWrite => Some(Self::CreditsRead),
            Self::CatalogWrite => Some(Self::CatalogRead),
            Self::SubscriptionsWrite => Some(Self::SubscriptionsRead),
            _ => None,
        };
        self == Self::Full || self == wanted || reads(self) == Some(wanted)
    }
}

/// Who a request acts as.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The key it came with.
    pub key_id: KeyId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// Live or sandbox.
    pub environment: Environment,
    /// The environment's surrogate.
    pub environment_id: EnvironmentId,
    scopes: Vec<Scope>,
    expires_at: Option<quotastack_core::time::Timestamp>,
}

impl Principal {
    /// Refuses where the key lacks `scope`.
    pub fn require(&self, scope: Scope) -> Result<(), AppError> {
        if self.scopes.iter().any(|own| own.covers(scope)) {
            Ok(())
        } else {
            Err(AppError::Forbidden { scope: scope.as_str() })
        }
    }
}

/// Finds out whose key a request carries.
#[derive(Debug, Default)]
pub struct Authenticator {
    remembered: Mutex<HashMap<[u8; 32], (Instant, Principal)>>,
}

impl Authenticator {
    /// The principal of a secret, if it is a valid key now.
    pub async fn authenticate(&self, store: &Store, presented: Option<&SecretString>) -> Result<Principal, AppError> {
        let presented = presented.ok_or(AppError::Unauthenticated(NO_KEY))?;
        if !secret::is_well_formed(presented.expose_secret()) {
            return Err(AppError::Unauthenticated(BAD_KEY));
        }
        // The map is asked for a hash of the secret, so no comparison of secrets leaks its timing.
        let hash = secret::hash(presented);
        let remembered = self.remembered.lock().get(&hash).cloned();
        let principal = match remembered.filter(|(found_at, _)| found_at.elapsed() < BELIEVE_KEY) {
            Some((_, principal)) => principal,
            None => {
                let found_at = Instant::now();
                let stored = store.find_api_key(&hash).await?;
                let valid = stored.filter(|key| key.revoked_at.is_none());
                let Some(principal) = valid.map(principal_of) else {
                    self.remembered.lock().remove(&hash);
                    return Err(AppError::Unauthenticated(BAD_KEY));
                };
                self.remember(hash, found_at, principal.clone());
                principal
            }
        };
        if principal.expires_at.is_some_and(|end| end <= clock::now()) {
            return Err(AppError::Unauthenticated("the API key has expired; use a new one"));
        }
        Ok(principal)
    }

    fn remember(&self, hash: [u8; 32], found_at: Instant, principal: Principal) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_KEYS_MAX {
            remembered.retain(|_, (found_at, _)| found_at.elapsed() < BELIEVE_KEY);
        }
        if remembered.len() < REMEMBERED_KEYS_MAX {
            remembered.insert(hash, (found_at, principal));
        }
    }
}

fn principal_of(key: StoredKey) -> Principal {
    Principal {
        key_id: key.key_id,
        tenant_id: key.tenant_id,
        environment: key.environment,
        environment_id: key.environment_id,
        scopes: key.scopes.iter().filter_map(|text| Scope::parse(text)).collect(),
        expires_at: key.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_includes_reading_and_nothing_else() {
        assert!(Scope::CreditsWrite.covers(Scope::CreditsRead));
        assert!(!Scope::CreditsRead.covers(Scope::CreditsWrite));
        assert!(!Scope::CatalogWrite.covers(Scope::CreditsRead));
        assert!(!Scope::UsageWrite.covers(Scope::EntitlementsRead));
        for scope in Scope::ALL {
            assert!(Scope::Full.covers(*scope));
            assert_eq!(Scope::parse(scope.as_str()), Some(*scope));
        }
    }
}
