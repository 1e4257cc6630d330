//! Single fields of requests: what they may hold, and what a caller is told otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::problem::Problem;
use crate::credits::{AmountOutOfRange, Credits, Units};
use crate::ids::{CapGroup, EndUserId, FeatureKey, IdempotencyKey, InvalidId, InvalidText, PaymentReference};
use crate::limits::{PAIR_KEY_BYTES_MAX, PAIR_VALUE_BYTES_MAX, PAIRS_MAX, REASON_BYTES_MAX};
use crate::problem::Code;

const TOO_LARGE: &str = "must be at most 9007199254740991 (2^53 - 1)";

/// An end user's id.
pub fn end_user_id(text: &str, pointer: &str) -> Result<EndUserId, Problem> {
    EndUserId::new(text).map_err(|error| invalid_text(error, pointer))
}

/// A feature key.
pub fn feature_key(text: &str, pointer: &str) -> Result<FeatureKey, Problem> {
    FeatureKey::new(text).map_err(|error| invalid_text(error, pointer))
}

/// An idempotency key.
pub fn idempotency_key(text: &str, pointer: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::new(text).map_err(|error| invalid_text(error, pointer))
}

/// The `Idempotency-Key` header, as its bytes.
pub fn idempotency_header(value: Option<&[u8]>) -> Result<Option<IdempotencyKey>, Problem> {
    let text = |value| std::str::from_utf8(value).unwrap_or_default();
    value.map(|value| idempotency_key(text(value), "header:Idempotency-Key")).transpose()
}

/// Refuses a query string that is not UTF-8: what stands for it would be another name than the caller meant.
pub fn utf8_query(query: &str) -> Result<(), Problem> {
    let is_utf8 = !query.contains('%') || percent_encoding::percent_decode_str(query).decode_utf8().is_ok();
    if is_utf8 { Ok(()) } else { Err(Problem::invalid("query", "must be percent-encoded UTF-8")) }
}

/// A count of units: below 0 it is a mistake, above 2^53 - 1 out of range.
pub fn units(units: i64, pointer: &str) -> Result<Units, Problem> {
    Units::new(units).map_err(|AmountOutOfRange| out_of(units, pointer))
}

/// The number of an entry: they count from 1.
pub fn seq(seq: i64, pointer: &str) -> Result<u64, Problem> {
    let checked = u64::try_from(units(seq, pointer)?.get()).ok().filter(|seq| *seq > 0);
    checked.ok_or_else(|| Problem::invalid(pointer, "must be 1 or more: entries count from 1"))
}

/// An amount of 0 or more.
pub fn amount(amount: i64, pointer: &str) -> Result<Credits, Problem> {
    let checked = Credits::new(amount).ok().filter(|amount| *amount >= Credits::ZERO);
    checked.ok_or_else(|| out_of(amount, pointer))
}

/// An amount of 1 or more.
pub fn positive_amount(given: i64, pointer: &str) -> Result<Credits, Problem> {
    if given < 1 {
        return Err(Problem::invalid(pointer, "must be 1 or more"));
    }
    amount(given, pointer)
}

/// An amount of either sign.
pub fn signed_amount(amount: i64, pointer: &str) -> Result<Credits, Problem> {
    let out =
        |AmountOutOfRange| Problem::at(Code::AmountOutOfRange, pointer, "must be within +-9007199254740991 (2^53 - 1)");
    Credits::new(amount).map_err(out)
}

/// An id of ours.
pub fn id<T: FromStr<Err = InvalidId>>(text: &str, pointer: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: InvalidId| Problem::invalid(pointer, error.to_string()))
}

/// Why a person does something, in their words.
pub fn reason(text: &str, pointer: &str) -> Result<String, Problem> {
    let fits = (1..=REASON_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
    let detail = "must be 1 to 500 bytes without the character NUL";
    if fits { Ok(text.to_owned()) } else { Err(Problem::invalid(pointer, detail)) }
}

/// An ISO 4217 code.
pub fn currency(code: &str, pointer: &str) -> Result<String, Problem> {
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code {
        Ok(code.to_owned())
    } else {
        Err(Problem::invalid(pointer, "must be an ISO 4217 code, for example USD"))
    }
}

/// A cap group.
pub fn cap_group(text: &str, pointer: &str) -> Result<CapGroup, Problem> {
    CapGroup::new(text).map_err(|error| invalid_text(error, pointer))
}

/// A payment's reference.
pub fn payment_reference(text: &str, pointer: &str) -> Result<PaymentReference, Problem> {
    PaymentReference::new(text).map_err(|error| invalid_text(error, pointer))
}

/// String pairs: metadata, or properties of an event.
pub fn pairs(pairs: &BTreeMap<String, String>, pointer: &str) -> Result<(), Problem> {
    if pairs.len() > PAIRS_MAX {
        return Err(Problem::invalid(pointer, "has at most 50 pairs"));
    }
    let fits = |(name, value): (&String, &String)| {
        (1..=PAIR_KEY_BYTES_MAX).contains(&name.len())
            && value.len() <= PAIR_VALUE_BYTES_MAX
            // Postgres cannot store it.
            && !name.contains('\0')
            && !value.contains('\0')
    };
    if pairs.iter().all(fits) {
        Ok(())
    } else {
        Err(Problem::invalid(pointer, "names have 1 to 64 bytes, values at most 512, none of them the character NUL"))
    }
}

fn invalid_text(error: InvalidText, pointer: &str) -> Problem {
    Problem::invalid(pointer, error.to_string())
}

fn out_of(number: i64, pointer: &str) -> Problem {
    if number < 0 {
        Problem::invalid(pointer, "must be 0 or more")
    } else {
        Problem::at(Code::AmountOutOfRange, pointer, TOO_LARGE)
    }
}

/// Reads a field that may be left out, but is not null where it is given: null would say nothing that the contract knows.
pub fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads pairs of texts; a name that comes twice is refused, since nobody knows which value is meant.
pub fn unique_pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object whose values are texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
            let mut pairs = BTreeMap::new();
            while let Some((name, value)) = fields.next_entry::<String, String>()? {
                if let Some(_first) = pairs.insert(name.clone(), value) {
                    return Err(A::Error::custom(format_args!("the name {name:?} is given twice")));
                }
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Pairs)
}
