//! Keeps the sums that summaries of usage are read from up with what was recorded. A summary reads what is not in them
//! yet from the events, so this only keeps that part short. Source: docs/ledger.md, "Reading usage".

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// The rest after a round that left nothing. What an account records meanwhile is added up together: the longer, the fewer
/// sums are written per event.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs rounds until it is told to stop, with a pause after each that left nothing.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let pause = match app.roll_up_round().await {
            Ok(has_more) => {
                if failing {
                    tracing::info!("usage is added up again");
                }
                failing = false;
                if has_more { Duration::ZERO } else { INTERVAL }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "usage cannot be added up, and summaries get slower; trying again");
                }
                failing = true;
                INTERVAL
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
