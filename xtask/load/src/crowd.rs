//! Whose usage it is: numbered end users, and which of them each event belongs to.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// End users with ids that end in a number.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Crowd {
    /// How their ids begin; a number from 0 follows.
    #[arg(long, default_value = "user_load_")]
    end_user_prefix: String,
    /// How many there are; 1 is one hot account.
    #[arg(long)]
    pub(crate) end_users: u64,
}

impl Crowd {
    /// The id of an end user.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}{number}", self.end_user_prefix)
    }

    /// Whose an event is: evenly spread, in no order.
    pub(crate) const fn of_event(&self, event: u64) -> u64 {
        mixed(event) % self.end_users
    }
}

/// Keys that no run had before, as long as a UUID's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    run: u128,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
        Self { run: since_epoch.as_nanos() }
    }

    /// The key of an event of this run.
    pub(crate) fn of_event(self, event: u64) -> String {
        format!("{:019x}-{:016x}", self.run, mixed(event))
    }

    /// Bytes that stand for a hash.
    pub(crate) fn bytes<const N: usize>(self, event: u64) -> Vec<u8> {
        let run = u64::try_from(self.run & u128::from(u64::MAX)).expect("64 bits were kept");
        let parts = (0..).flat_map(|part| mixed(mixed(event) ^ mixed(run.wrapping_add(part))).to_be_bytes());
        parts.take(N).collect()
    }

    /// An id as it is minted in time: ten events a millisecond.
    pub(crate) fn uuid_v7(self, event: u64) -> Uuid {
        let millis = self.run / 1_000_000 + u128::from(event / 10);
        let time = u64::try_from(millis).expect("48 bits of milliseconds") << 16;
        Uuid::from_u64_pair(time | 0x7000 | (event % 10), mixed(event))
    }
}

/// The mixer of SplitMix64: neighbours end up far apart, and no two in one place.
pub(crate) const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
