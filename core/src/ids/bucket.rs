//! The stable hash that spreads end users over lanes. Its values are kept in rows and in ids for ever.

use serde::{Deserialize, Serialize};

/// One of 256 shares of the end users of an environment.
pub type Bucket = u8;

/// The bucket of an end user: FNV-1a (64 bit) of the id, finished with the 64-bit mixer of MurmurHash3, top byte
/// (which the last shift of that mixer does not reach).
pub fn bucket(end_user_id: &str) -> Bucket {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in end_user_id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash >> 56) as u8
}

/// How many lanes an environment has: a power of two from 1 to 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct LaneCount(u16);

impl LaneCount {
    /// `lanes` if it is a power of two from 1 to 256.
    pub const fn new(lanes: u16) -> Option<Self> {
        if lanes.is_power_of_two() && lanes <= 256 { Some(Self(lanes)) } else { None }
    }

    /// The number of lanes.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The lane of a bucket, from 0.
    pub const fn lane_of(self, bucket: Bucket) -> u16 {
        bucket as u16 % self.0
    }
}

impl TryFrom<u16> for LaneCount {
    type Error = &'static str;
    fn try_from(lanes: u16) -> Result<Self, &'static str> {
        Self::new(lanes).ok_or("the number of lanes must be a power of two from 1 to 256")
    }
}

impl From<LaneCount> for u16 {
    fn from(lanes: LaneCount) -> Self {
        lanes.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_their_golden_values_for_ever() {
        let golden = [("", 0xef), ("a", 0x82), ("foobar", 0x2c), ("user_123", 0xe7), ("Zoë", 0x3f)];
        let found: Vec<(&str, u8)> = golden.iter().map(|(id, _)| (*id, bucket(id))).collect();
        assert_eq!(found, golden);
    }

    #[test]
    fn buckets_spread_evenly() {
        let mut counts = [0u32; 256];
        for n in 0..25_600 {
            counts[usize::from(bucket(&format!("user_{n}")))] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }

    #[test]
    fn lanes_are_powers_of_two() {
        assert_eq!(LaneCount::new(3), None);
        assert_eq!(LaneCount::new(0), None);
        assert_eq!(LaneCount::new(512), None);
        assert_eq!(LaneCount::new(4).unwrap().lane_of(7), 3);
    }
}
