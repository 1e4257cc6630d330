//! What the facade's calls take: the contract's requests without the end user, with defaults.

use std::collections::BTreeMap;

use crate::api::{self, types};

/// The request with those of the fields that are given.
macro_rules! set {
    ($request:ident, $of:ident, [$($name:ident),*]) => {{
        $(let $request = match $of.$name {
            Some(value) => $request.$name(value),
            None => $request,
        };)*
        $request
    }};
}

/// Usage to record.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// The feature that was used.
    pub feature_key: String,
    /// How many units.
    pub units: i64,
    /// The event's identity within the end user, for ever: recording it again changes nothing.
    pub idempotency_key: Option<String>,
    /// Stricter or other than the feature's policy, this time.
    pub on_insufficient: Option<types::RecordUsageOnInsufficient>,
    /// When it happened (RFC 3339); now if not given.
    pub effective_at: Option<String>,
    /// What else to keep with the event.
    pub properties: BTreeMap<String, String>,
}

impl Usage {
    /// So many units of a feature, now.
    pub fn new(feature_key: impl Into<String>, units: i64) -> Self {
        Self { feature_key: feature_key.into(), units, ..Self::default() }
    }

    /// Names the event, for example after the request that caused it.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn into_event(self, end_user_id: &str) -> types::RecordUsage {
        types::RecordUsage {
            end_user_id: end_user_id.to_owned(),
            feature_key: self.feature_key,
            units: self.units,
            idempotency_key: self.idempotency_key,
            on_insufficient: self.on_insufficient,
            effective_at: self.effective_at,
            properties: self.properties,
            dry_run: None,
        }
    }
}

/// Credit to set aside for work whose extent is not known yet.
#[derive(Debug, Clone, Default)]
pub struct Reserve {
    /// The feature that will be used.
    pub feature_key: String,
    /// The estimate.
    pub units: i64,
    /// How long the reservation lives; 300 if not given.
    pub ttl_seconds: Option<i64>,
    /// What else to keep with the event; may pick another price.
    pub properties: BTreeMap<String, String>,
    /// Names the reservation, so that making it again changes nothing.
    pub idempotency_key: Option<String>,
}

impl Reserve {
    /// So many units of a feature.
    pub fn new(feature_key: impl Into<String>, units: i64) -> Self {
        Self { feature_key: feature_key.into(), units, ..Self::default() }
    }

    pub(crate) fn into_body(self, end_user_id: &str) -> types::CreateReservation {
        types::CreateReservation {
            end_user_id: end_user_id.to_owned(),
            feature_key: self.feature_key,
            units: self.units,
            ttl_seconds: self.ttl_seconds,
            properties: self.properties,
            on_insufficient: None,
        }
    }
}

/// Credit to grant.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// How much.
    pub amount: i64,
    /// `promo` if not given.
    pub kind: Option<types::CreateGrantKind>,
    /// Lower burns first; 100 if not given.
    pub priority: Option<u8>,
    /// Usable from then on (RFC 3339); now if not given.
    pub effective_at: Option<String>,
    /// Unusable from then on (RFC 3339); never if not given.
    pub expires_at: Option<String>,
    /// What was paid and in which currency (ISO 4217); nothing if not given.
    pub price_paid: Option<(i64, String)>,
    /// Pays only for these features; for any if empty.
    pub feature_keys: Vec<String>,
    /// What else to keep with the block.
    pub metadata: BTreeMap<String, String>,
    /// Blocks of one group share an accumulation cap: the group, and what its usable blocks may have in all.
    pub cap: Option<(String, i64)>,
    /// Names the grant, so that making it again changes nothing.
    pub idempotency_key: Option<String>,
}

impl Grant {
    /// So much credit for any feature, from now on, for ever.
    pub fn new(amount: i64) -> Self {
        Self { amount, ..Self::default() }
    }

    /// Names the grant, for example after the payment behind it.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn into_body(self, end_user_id: &str) -> types::CreateGrant {
        let (price_paid, currency) = self.price_paid.unzip();
        let (cap_group, accumulation_cap) = self.cap.unzip();
        types::CreateGrant {
            end_user_id: end_user_id.to_owned(),
            amount: self.amount,
            kind: self.kind,
            priority: self.priority.map(i32::from),
            effective_at: self.effective_at,
            expires_at: self.expires_at,
            price_paid,
            currency,
            feature_keys: self.feature_keys,
            metadata: self.metadata,
            settle_debt: None,
            cap_group,
            accumulation_cap,
        }
    }
}

/// Which usage to list; what is `None` leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Of this end user.
    pub end_user_id: Option<String>,
    /// Of this feature.
    pub feature_key: Option<String>,
    /// Of this reservation.
    pub reservation_id: Option<String>,
    /// With an `effective_at` then or later (RFC 3339).
    pub from: Option<String>,
    /// With an `effective_at` before (RFC 3339).
    pub to: Option<String>,
    /// Events per page, 1 to 100.
    pub limit: Option<i32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl UsageFilter {
    pub(crate) fn into_request(self, api: &api::Client) -> api::builder::ListUsage<'_> {
        let request = api.list_usage();
        set!(request, self, [end_user_id, feature_key, reservation_id, from, to, limit, cursor])
    }
}

/// Sums of usage to ask for.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Usage with an `effective_at` then or later (RFC 3339).
    pub from: String,
    /// Usage with an `effective_at` before (RFC 3339).
    pub to: String,
    /// How long a bucket is; a day if not given.
    pub bucket: Option<types::SummarizeUsageBucket>,
    /// What sums are told apart by; features if not given.
    pub group_by: Option<types::SummarizeUsageGroupBy>,
    /// Which property, where sums are told apart by one.
    pub property: Option<String>,
    /// Only usage of this end user.
    pub end_user_id: Option<String>,
    /// Only usage of this feature.
    pub feature_key: Option<String>,
    /// Lines per page, 1 to 1,000.
    pub limit: Option<i32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Summary {
    /// By day and feature.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { from: from.into(), to: to.into(), ..Self::default() }
    }

    pub(crate) fn into_request(self, api: &api::Client) -> api::builder::SummarizeUsage<'_> {
        let request = api.summarize_usage().from(self.from).to(self.to);
        set!(request, self, [bucket, group_by, property, end_user_id, feature_key, limit, cursor])
    }
}
