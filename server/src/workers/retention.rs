//! Forgets requests that are older than 30 days: at the start, and then every hour.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// A slot can be emptied for more than nine days before it takes rows again.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// After a failure, such as a slot that could not be locked in time.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Runs until it is told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let rest = match app.forget_old_requests().await {
            Ok(emptied) => {
                if emptied > 0 {
                    tracing::info!(emptied, "requests older than 30 days were forgotten");
                    counter!("quotastack_request_slots_emptied_total").increment(emptied as u64);
                }
                failing = false;
                INTERVAL
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "old requests cannot be forgotten; trying again");
                }
                failing = true;
                RETRY_AFTER
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
            return;
        }
    }
}
