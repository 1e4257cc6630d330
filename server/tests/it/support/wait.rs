//! Poll a condition until a deadline: tests wait for what they are about, never for a length of time.

use std::time::{Duration, Instant};

/// Far beyond what any condition needs, so that it only ends tests that would hang.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// The first `Some` of `condition`.
///
/// # Panics
/// When the deadline passes, naming `what` was waited for.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(since.elapsed() < DEADLINE, "waited too long until {what}");
        tokio::time::sleep(POLL_EVERY).await;
    }
}
