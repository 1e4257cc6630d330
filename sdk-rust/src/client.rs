//! [`Client`]: the calls of every day, over the generated client.

use crate::api::{self, types};
use crate::config::{ClientBuilder, ConfigError};
use crate::error::Error;
use crate::requests::{Grant, Reserve, Summary, Usage, UsageFilter};
use crate::{
    Check, CommitReceipt, ConsumeReceipt, EndUserCredits, EntitlementList, GrantReceipt, LedgerProof,
    ReservationReceipt, UsageEventList, UsageReceipt, UsageSummary, VoidReceipt,
};

/// A client of one environment. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    api: api::Client,
}

impl Client {
    pub(crate) const fn over(api: api::Client) -> Self {
        Self { api }
    }

    /// A client with settings of your own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client from `QUOTASTACK_API_KEY` and, if set, `QUOTASTACK_URL`.
    ///
    /// # Errors
    /// When the key is missing, or one of them is not usable.
    pub fn from_env() -> Result<Self, ConfigError> {
        ClientBuilder::from_env()?.build()
    }

    /// Every operation of the contract. Its requests take the same transport as the methods here.
    pub const fn api(&self) -> &api::Client {
        &self.api
    }

    /// Whether the end user may use one unit of the feature now. Reserves and records nothing.
    ///
    /// # Errors
    /// A denial is an answer (`allowed: false`), not an error.
    pub async fn check_entitlement(&self, end_user_id: &str, feature_key: &str) -> Result<Check, Error> {
        self.check_units(end_user_id, feature_key, 1).await
    }

    /// As [`Self::check_entitlement`], for a number of units.
    ///
    /// # Errors
    /// A denial is an answer (`allowed: false`), not an error.
    pub async fn check_units(&self, end_user_id: &str, feature_key: &str, units: i64) -> Result<Check, Error> {
        let request = self.api.check_entitlement().end_user_id(end_user_id).feature_key(feature_key).units(units);
        Ok(request.send().await?.into_inner())
    }

    /// As [`Self::check_entitlement`], with `explain`: who decided, whose price and policy hold, which blocks pay.
    ///
    /// # Errors
    /// Through a sidecar `upstream_unavailable` while it cannot reach the server, which alone knows why.
    pub async fn explain_entitlement(&self, end_user_id: &str, feature_key: &str) -> Result<Check, Error> {
        let request = self.api.check_entitlement().end_user_id(end_user_id).feature_key(feature_key).explain(true);
        Ok(request.send().await?.into_inner())
    }

    /// The answer to a check of one unit for every feature, in order of their keys: the page after `cursor`, which is
    /// the `next_cursor` of the one before.
    ///
    /// # Errors
    /// An unknown end user gets answers too, not an error.
    pub async fn list_entitlements(&self, end_user_id: &str, cursor: Option<&str>) -> Result<EntitlementList, Error> {
        let request = self.api.list_entitlements().end_user_id(end_user_id);
        let request = match cursor {
            Some(cursor) => request.cursor(cursor),
            None => request,
        };
        Ok(request.send().await?.into_inner())
    }

    /// Records usage. Without an idempotency key one is made, which covers the retries of this call only.
    ///
    /// # Errors
    /// Among others `insufficient_credits`, `overdraft_limit`, `feature_unknown`, `idempotency_conflict`.
    pub async fn record_usage(&self, end_user_id: &str, usage: Usage) -> Result<UsageReceipt, Error> {
        let request = self.api.record_usage().body(usage.into_event(end_user_id));
        Ok(request.send().await?.into_inner())
    }

    /// What recording usage would come to. Records nothing.
    ///
    /// # Errors
    /// As [`Self::record_usage`].
    pub async fn dry_run_usage(&self, end_user_id: &str, usage: Usage) -> Result<UsageReceipt, Error> {
        let event = types::RecordUsage { dry_run: Some(true), ..usage.into_event(end_user_id) };
        Ok(self.api.record_usage().body(event).send().await?.into_inner())
    }

    /// Checks and records in one step: for work that is about to be done.
    ///
    /// # Errors
    /// Who may not use the feature is refused with the check's reason, and nothing is recorded.
    pub async fn consume(&self, end_user_id: &str, usage: Usage) -> Result<ConsumeReceipt, Error> {
        let request = self.api.consume().body(usage.into_event(end_user_id));
        Ok(request.send().await?.into_inner())
    }

    /// Undoes a usage event. Undoing it again answers the same.
    ///
    /// # Errors
    /// Among others `not_found`.
    pub async fn void_usage(&self, usage_id: &str, reason: Option<&str>) -> Result<VoidReceipt, Error> {
        let reason = reason.map(str::to_owned);
        let request = self.api.void_usage().usage_id(usage_id).body_map(|body| body.reason(reason));
        Ok(request.send().await?.into_inner())
    }

    /// Usage events, the latest recorded first. A page may be short while its `next_cursor` leads on.
    ///
    /// # Errors
    /// Among others `validation_failed`.
    pub async fn list_usage(&self, filter: UsageFilter) -> Result<UsageEventList, Error> {
        Ok(filter.into_request(&self.api).send().await?.into_inner())
    }

    /// Sums of usage per bucket and group.
    ///
    /// # Errors
    /// Among others `validation_failed`, where the range has too many buckets or no feature sums the property.
    pub async fn summarize_usage(&self, summary: Summary) -> Result<UsageSummary, Error> {
        Ok(summary.into_request(&self.api).send().await?.into_inner())
    }

    /// Sets credit aside until it is committed or released, or its time runs out.
    ///
    /// # Errors
    /// Among others `insufficient_credits`, `overdraft_limit`, `feature_not_in_plan`.
    pub async fn reserve(&self, end_user_id: &str, reserve: Reserve) -> Result<ReservationReceipt, Error> {
        let key = reserve.idempotency_key.clone();
        let mut request = self.api.create_reservation().body(reserve.into_body(end_user_id));
        if let Some(key) = key {
            request = request.idempotency_key(key);
        }
        Ok(request.send().await?.into_inner())
    }

    /// Turns what a reservation holds into usage of `units`, and gives the rest back.
    ///
    /// # Errors
    /// Among others `reservation_expired`, `reservation_committed`, `reservation_released`.
    pub async fn commit(&self, reservation_id: &str, units: i64) -> Result<CommitReceipt, Error> {
        let request = self.api.commit_reservation().reservation_id(reservation_id).body_map(|body| body.units(units));
        Ok(request.send().await?.into_inner())
    }

    /// Gives back all that a reservation holds.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn release(&self, reservation_id: &str) -> Result<ReservationReceipt, Error> {
        let request = self.api.release_reservation().reservation_id(reservation_id).body(types::ReleaseReservation {});
        Ok(request.send().await?.into_inner())
    }

    /// Lets a reservation live so many seconds from now; never shorter than it would.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn extend(&self, reservation_id: &str, ttl_seconds: i64) -> Result<ReservationReceipt, Error> {
        let request =
            self.api.extend_reservation().reservation_id(reservation_id).body_map(|body| body.ttl_seconds(ttl_seconds));
        Ok(request.send().await?.into_inner())
    }

    /// Grants credits as one new block.
    ///
    /// # Errors
    /// Among others `validation_failed`, `too_many_blocks`.
    pub async fn grant(&self, end_user_id: &str, grant: Grant) -> Result<GrantReceipt, Error> {
        let key = grant.idempotency_key.clone();
        let mut request = self.api.create_grant().body(grant.into_body(end_user_id));
        if let Some(key) = key {
            request = request.idempotency_key(key);
        }
        Ok(request.send().await?.into_inner())
    }

    /// The end user's figures and live blocks, in burn order.
    ///
    /// # Errors
    /// An unknown end user has nothing, which is an answer, not an error.
    pub async fn credits(&self, end_user_id: &str) -> Result<EndUserCredits, Error> {
        let request =
            self.api.get_end_user_credits().end_user_id(end_user_id).include(types::GetEndUserCreditsInclude::Blocks);
        Ok(request.send().await?.into_inner())
    }

    /// The end user's figures and blocks as they were at an instant of the past (RFC 3339).
    ///
    /// # Errors
    /// `validation_failed` where it is not over.
    pub async fn credits_as_of(&self, end_user_id: &str, as_of: &str) -> Result<EndUserCredits, Error> {
        let request =
            self.api.get_end_user_credits().end_user_id(end_user_id).include(types::GetEndUserCreditsInclude::Blocks);
        Ok(request.as_of(as_of).send().await?.into_inner())
    }

    /// Entries of the end user's ledger from `from_seq` on with all that is needed to verify them.
    ///
    /// # Errors
    /// `not_found` where there is no such entry.
    pub async fn ledger_proof(&self, end_user_id: &str, from_seq: i64) -> Result<LedgerProof, Error> {
        Ok(self.api.get_ledger_proof().end_user_id(end_user_id).from_seq(from_seq).send().await?.into_inner())
    }
}
