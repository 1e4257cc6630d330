//! The only place of the server that reads the clock or draws random bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use quotastack_core::time::Timestamp;

/// The present, in real time.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    let micros = i64::try_from(since_epoch.as_micros()).expect("the clock stands before the year 9999");
    Timestamp::from_micros(micros).expect("the clock stands before the year 9999")
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
