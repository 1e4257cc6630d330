//! Every limit of the rules, in one place. The HTTP contract (openapi.yaml) repeats them for callers.

/// Bytes of an end user's id.
pub const END_USER_ID_BYTES_MAX: usize = 256;
/// Characters of a feature key.
pub const FEATURE_KEY_CHARS_MAX: usize = 64;
/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Bytes of a payment reference.
pub const PAYMENT_REFERENCE_BYTES_MAX: usize = 255;
/// Bytes of a cap group.
pub const CAP_GROUP_BYTES_MAX: usize = 64;
/// Open holds of one account.
pub const OPEN_HOLDS_MAX: usize = 1_000;
/// Overrides of one account.
pub const OVERRIDES_MAX: usize = 100;
/// How long a reservation lives, in seconds, if the caller does not say.
pub const RESERVATION_TTL_SECONDS_DEFAULT: i64 = 300;
/// How long a reservation may live from its start, extensions included, in seconds (24 hours).
pub const RESERVATION_TTL_SECONDS_MAX: i64 = 86_400;
/// Live blocks of one account.
pub const LIVE_BLOCKS_MAX: usize = 10_000;
/// Feature keys of one block.
pub const SCOPE_KEYS_MAX: usize = 50;
/// String pairs of `metadata` and of event properties.
pub const PAIRS_MAX: usize = 50;
/// Bytes of a key of `metadata` or properties.
pub const PAIR_KEY_BYTES_MAX: usize = 64;
/// Bytes of a value of `metadata` or properties.
pub const PAIR_VALUE_BYTES_MAX: usize = 512;
/// Grant templates of one variant.
pub const GRANT_TEMPLATES_MAX: usize = 20;
/// Entitlements of one variant.
pub const ENTITLEMENTS_MAX: usize = 500;
/// How much longer than it may be spent a lease holds its credit, in microseconds (10 seconds): what was spent in time may
/// arrive until then, and no sidecar's clock is that far off.
pub const LEASE_GRACE_MICROS: i64 = 10 * crate::time::MICROS_PER_SECOND;
/// How long a lease may be spent, in microseconds (60 seconds).
pub const LEASE_TTL_MICROS: i64 = 60 * crate::time::MICROS_PER_SECOND;
/// How far back `effective_at` of usage may lie, in microseconds (35 days).
pub const LATE_WINDOW_MICROS: i64 = 35 * 86_400 * crate::time::MICROS_PER_SECOND;
/// Changes of what an end user is subscribed to, and of the base's billing period, that usage which arrives late is priced by;
/// the latest ones.
pub const PAST_STRETCHES_MAX: usize = 40;
/// Stretches of postpaid periods without a gap whose summaries were sent that an account remembers: usage of an older one
/// can be undone too, and no summary says so.
pub const SENT_STRETCHES_MAX: usize = 100;
/// Periods in a term of a contract.
pub const CONTRACT_PERIODS_MAX: u32 = 1_000;
/// Summaries of one end user that wait to be sent; beyond, one is sent when its period ends.
pub const UNSENT_SUMMARIES_MAX: usize = 100;
/// How long after the end of a postpaid period its summary may be sent, in minutes (72 hours).
pub const SUMMARY_DELAY_MINUTES_MAX: u16 = 72 * 60;
/// How far ahead `effective_at` of usage may lie, in microseconds (5 minutes); it counts as now.
pub const AHEAD_WINDOW_MICROS: i64 = 300 * crate::time::MICROS_PER_SECOND;
/// Tranches published of one account; an account with more is `partial`.
pub const TRANCHES_MAX: usize = 64;
/// Debts published of one account; an account with more is `partial`.
pub const PUBLISHED_DEBTS_MAX: usize = 64;
/// Holds published of one account; an account with more is `partial`.
pub const PUBLISHED_HOLDS_MAX: usize = 64;
/// Tier counters published of one account; an account with more is `partial`.
pub const PUBLISHED_COUNTERS_MAX: usize = 64;
/// Subscriptions published of one account; an account with more is `partial`.
pub const PUBLISHED_SUBSCRIPTIONS_MAX: usize = 64;
/// Rollovers published of one account; an account with more is `partial`.
pub const PUBLISHED_ROLLOVERS_MAX: usize = 64;
/// Overrides published of one account; an account with more is `partial`.
pub const PUBLISHED_OVERRIDES_MAX: usize = 64;
/// Blocks that an explanation of one answer names.
pub const EXPLAINED_BLOCKS_MAX: usize = 100;
/// Properties that summaries of one feature's usage can be grouped by.
pub const SUMMARY_PROPERTIES_MAX: usize = 4;
/// Bytes of a reason that a person gives.
pub const REASON_BYTES_MAX: usize = 500;
/// Rules by event property of one price.
pub const PRICE_RULES_MAX: usize = 50;
/// Tiers of one price.
pub const TIERS_MAX: usize = 50;
/// Events of one usage batch.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Bytes of one frame on the link.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of a catalogue.
pub const CATALOGUE_BYTES_MAX: usize = 16 << 20;
/// Lanes of one environment.
pub const LANES_MAX: usize = 256;
/// Hashes of followed accounts in one message of the link.
pub const FOLLOW_HASHES_MAX: usize = 65_536;
/// Bytes of one part of a catalogue on the link.
pub const CATALOGUE_CHUNK_BYTES: usize = 256 << 10;
/// Entries from one checkpoint of an account to the next.
pub const CHECKPOINT_ENTRIES: u64 = 1_000;
/// Entries of one proof.
pub const PROOF_ENTRIES_MAX: u64 = 1_000;
