//! TypeIDs: a prefix, an underscore, and a UUIDv7 as 26 characters of Crockford's base 32.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::ids::Bucket;
use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_CHARS: usize = 26;

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}_ followed by 26 characters of 0-9 and a-z")]
pub struct InvalidId {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

/// A UUIDv7 from a time and ten random bytes; with a bucket, its last byte is that bucket.
pub fn uuid_v7(now: Timestamp, random: [u8; 10], bucket: Option<Bucket>) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let mut bytes = *uuid::Builder::from_unix_timestamp_millis(millis, &random).as_uuid().as_bytes();
    if let Some(bucket) = bucket {
        bytes[15] = bucket;
    }
    Uuid::from_bytes(bytes)
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID, minted with [`uuid_v7`] or read from storage.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The last byte: the end user's bucket where the thing belongs to an account.
            pub const fn bucket(self) -> Bucket {
                self.0.as_bytes()[15]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let digits = encode(self.0);
                write!(f, "{}_{}", $prefix, std::str::from_utf8(&digits).expect("the alphabet is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix).and_then(|rest| rest.strip_prefix('_'));
                digits.and_then(decode).map(Self).ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.into_bytes().serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(Uuid::from_bytes(bytes)))
                }
            }
        }
    };
}

typed_id! {
    /// A tenant.
    TenantId, "ten"
}
typed_id! {
    /// An API key (not the secret itself).
    KeyId, "key"
}
typed_id! {
    /// The internal id of one end user's account; never changes, also when the person is erased.
    AccountId, "acc"
}
typed_id! {
    /// A block of credit.
    BlockId, "blk"
}
typed_id! {
    /// A usage event.
    UsageId, "use"
}
typed_id! {
    /// A subscription.
    SubscriptionId, "sub"
}
typed_id! {
    /// A plan.
    PlanId, "plan"
}
typed_id! {
    /// A variant of a plan.
    VariantId, "var"
}
typed_id! {
    /// A reservation.
    ReservationId, "res"
}
typed_id! {
    /// A top-up: credit that was bought.
    TopupId, "top"
}
typed_id! {
    /// A top-up package of the catalogue.
    PackageId, "pkg"
}
typed_id! {
    /// An event that the ledger announces.
    EventId, "evt"
}
typed_id! {
    /// A sidecar, minted once per data directory.
    SidecarId, "sdc"
}

fn encode(uuid: Uuid) -> [u8; TEXT_CHARS] {
    let mut value = uuid.as_u128();
    let mut digits = [0; TEXT_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    digits
}

fn decode(digits: &str) -> Option<Uuid> {
    // 26 digits hold 130 bits: the first may use only three of its five.
    if digits.len() != TEXT_CHARS || digits.as_bytes()[0] > b'7' {
        return None;
    }
    let value = digits.bytes().try_fold(0u128, |value, digit| {
        let place = ALPHABET.iter().position(|known| *known == digit)?;
        Some((value << 5) | place as u128)
    })?;
    Some(Uuid::from_u128(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_follows_the_typeid_specification() {
        // From the specification's list of valid ids.
        let uuid: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(BlockId::from_uuid(uuid).to_string(), "blk_01h455vb4pex5vsknk084sn02q");
        assert_eq!("blk_01h455vb4pex5vsknk084sn02q".parse(), Ok(BlockId::from_uuid(uuid)));
        assert_eq!(BlockId::from_uuid(Uuid::max()).to_string(), "blk_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for bad in [
            "",
            "blk_",
            "blk_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "var_01h455vb4pex5vsknk084sn02q",
            "blk_01H455VB4PEX5VSKNK084SN02Q",
            "blk_01h455vb4pex5vsknk084sn02ü",
        ] {
            assert!(bad.parse::<BlockId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_byte_is_the_bucket() {
        let now = Timestamp::from_micros(1_700_000_000_000_000).unwrap();
        let id = UsageId::from_uuid(uuid_v7(now, [9; 10], Some(77)));
        assert_eq!(id.bucket(), 77);
        assert_eq!(id.uuid().get_version_num(), 7);
    }
}
