//! The tenant's own names, checked once where they enter.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{Bucket, bucket};
use crate::limits::{
    CAP_GROUP_BYTES_MAX, END_USER_ID_BYTES_MAX, FEATURE_KEY_CHARS_MAX, IDEMPOTENCY_KEY_CHARS_MAX,
    PAYMENT_REFERENCE_BYTES_MAX,
};

/// Why a text is not the name it should be; the message says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Not an end user's id.
    #[error("an end_user_id must be 1 to 256 bytes of UTF-8 without control characters")]
    EndUserId,
    /// Not a feature key.
    #[error("a feature_key must match [a-z][a-z0-9_.-]{{0,63}}")]
    FeatureKey,
    /// Not an idempotency key.
    #[error("an idempotency key must be 1 to 255 visible ASCII characters or inner spaces")]
    IdempotencyKey,
    /// Not a payment reference.
    #[error("a payment_reference must be 1 to 255 bytes of UTF-8 without control characters")]
    PaymentReference,
    /// Not a cap group.
    #[error("a cap_group must be 1 to 64 bytes of UTF-8 without control characters")]
    CapGroup,
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Arc<str>", into = "Arc<str>")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps `text`.
            pub fn new(text: &str) -> Result<Self, InvalidText> {
                if $check(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidText::$name) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<Arc<str>> for $name {
            type Error = InvalidText;
            fn try_from(text: Arc<str>) -> Result<Self, InvalidText> {
                if $check(&text) { Ok(Self(text)) } else { Err(InvalidText::$name) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_name! {
    /// The tenant's own id of an end user: 1 to 256 bytes of UTF-8 without control characters.
    EndUserId, is_end_user_id
}
text_name! {
    /// The tenant's own name of a feature: `[a-z][a-z0-9_.-]{0,63}`.
    FeatureKey, is_feature_key
}
text_name! {
    /// What makes a retry the same request: 1 to 255 visible ASCII characters or inner spaces.
    IdempotencyKey, is_idempotency_key
}
text_name! {
    /// What a payment is called where it was made, unique per end user: 1 to 255 bytes of UTF-8 without control
    /// characters.
    PaymentReference, is_payment_reference
}
text_name! {
    /// Which blocks share an accumulation cap: 1 to 64 bytes of UTF-8 without control characters.
    CapGroup, is_cap_group
}

impl EndUserId {
    /// The bucket that this end user's account lives in.
    pub fn bucket(&self) -> Bucket {
        bucket(&self.0)
    }
}

fn is_end_user_id(text: &str) -> bool {
    is_plain(text, END_USER_ID_BYTES_MAX)
}

fn is_payment_reference(text: &str) -> bool {
    is_plain(text, PAYMENT_REFERENCE_BYTES_MAX)
}

fn is_cap_group(text: &str) -> bool {
    is_plain(text, CAP_GROUP_BYTES_MAX)
}

fn is_plain(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_feature_key(text: &str) -> bool {
    text.len() <= FEATURE_KEY_CHARS_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
}

fn is_idempotency_key(text: &str) -> bool {
    (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !text.starts_with(' ')
        && !text.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_user_ids_are_any_text_without_control_characters() {
        for good in ["u", "Zoë 👩‍🚀", "a b", &"x".repeat(256)] {
            assert!(EndUserId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{0}", "\u{85}", &"x".repeat(257), &"é".repeat(129)] {
            assert_eq!(EndUserId::new(bad), Err(InvalidText::EndUserId), "{bad:?}");
        }
    }

    #[test]
    fn feature_keys_are_lower_case_names() {
        for good in ["a", "ai_request", "gpt-4.1", &"x".repeat(64)] {
            assert!(FeatureKey::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "a b", "é", "_a", &"x".repeat(65)] {
            assert_eq!(FeatureKey::new(bad), Err(InvalidText::FeatureKey), "{bad:?}");
        }
    }

    #[test]
    fn idempotency_keys_fit_into_a_header() {
        assert!(IdempotencyKey::new("req 1/ü").is_err());
        assert!(IdempotencyKey::new(" a").is_err());
        assert!(IdempotencyKey::new(&"k".repeat(256)).is_err());
        assert!(IdempotencyKey::new("req:1/2 x").is_ok());
    }
}
