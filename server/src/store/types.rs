//! How values of `core` cross into Postgres and back.

use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{CapGroup, EndUserId, FeatureKey, IdempotencyKey};
use quotastack_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// 2000-01-01T00:00:00Z, from which Postgres counts, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A [`Timestamp`] as `timestamptz`: both hold exact microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ts(pub Timestamp);

impl Type<Postgres> for Ts {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Ts {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for Ts {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_micros() - POSTGRES_EPOCH_MICROS;
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Ts {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let micros = micros.checked_add(POSTGRES_EPOCH_MICROS).ok_or("the timestamp is out of range")?;
        Ok(Self(Timestamp::from_micros(micros)?))
    }
}

/// The surrogate of one environment of one tenant; all row security compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentId(pub i64);

/// A lane of an environment, unique over the whole database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub i64);

/// A stored value that the rules say cannot be there.
fn corrupt(column: &'static str, error: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() }
}

pub(super) fn credits(column: &'static str, amount: i64) -> sqlx::Result<Credits> {
    Credits::new(amount).map_err(|error| corrupt(column, error))
}

pub(super) fn units(column: &'static str, units: i64) -> sqlx::Result<Units> {
    Units::new(units).map_err(|error| corrupt(column, error))
}

pub(super) fn unsigned(column: &'static str, number: i64) -> sqlx::Result<u64> {
    u64::try_from(number).map_err(|error| corrupt(column, error))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("counters stay below 2^63")
}

pub(super) fn end_user_id(text: &str) -> sqlx::Result<EndUserId> {
    EndUserId::new(text).map_err(|error| corrupt("end_user_id", error))
}

pub(super) fn feature_key(text: &str) -> sqlx::Result<FeatureKey> {
    FeatureKey::new(text).map_err(|error| corrupt("feature_key", error))
}

pub(super) fn cap_group_of(text: &str) -> sqlx::Result<CapGroup> {
    CapGroup::new(text).map_err(|error| corrupt("cap_group", error))
}

pub(super) fn idempotency_key(text: &str) -> sqlx::Result<IdempotencyKey> {
    IdempotencyKey::new(text).map_err(|error| corrupt("idempotency_key", error))
}

pub(super) fn bytes<const N: usize>(column: &'static str, bytes: &[u8]) -> sqlx::Result<[u8; N]> {
    bytes.try_into().map_err(|error: std::array::TryFromSliceError| corrupt(column, error))
}

/// The name of a unit variant, as its JSON form has it.
pub(super) fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a unit variant serialises to a string, not {other:?}"),
    }
}

/// The unit variant of this name.
pub(super) fn named<T: DeserializeOwned>(column: &'static str, name: &str) -> sqlx::Result<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(|error| corrupt(column, error))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("stored values have a JSON form")
}

/// The same as text, for columns that are cast to `jsonb`.
pub(super) fn to_json_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stored values have a JSON form")
}

pub(super) fn from_json<T: DeserializeOwned>(column: &'static str, value: serde_json::Value) -> sqlx::Result<T> {
    serde_json::from_value(value).map_err(|error| corrupt(column, error))
}
