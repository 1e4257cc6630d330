//! What flows to a replica: asked of the session's cursor one frame at a time, so a slow sidecar holds up nobody.

use std::time::Duration;

use metrics::counter;
use quinn::{Connection, SendStream};
use quotastack_core::sync::publisher::Next;
use quotastack_core::time::Timestamp;

use crate::app::clock;
use crate::sync::shared::Shared;
use crate::sync::stream::LinkError;

/// How long to wait before the database is asked again.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Sends deltas for as long as the connection lasts.
pub(super) async fn send_all(shared: &Shared, connection: &Connection) -> Result<(), LinkError> {
    let mut stream = connection.open_uni().await?;
    let environment = &shared.environment.handle;
    let mut changed = environment.feed.subscribe();
    loop {
        // Marked as seen before looking, so that no change falls in between.
        changed.borrow_and_update();
        let catalogue = environment.encoded_catalogue().map_err(|error| LinkError::Server(error.to_string()))?;
        let next = shared.publisher.lock().next(&environment.feed, &catalogue, clock::now())?;
        match next {
            Next::Send(frame) => write(&mut stream, &frame).await?,
            Next::Read { lane, cursor } => {
                let number = u16::try_from(lane).expect("there are at most 256 lanes");
                let page = {
                    let _gate = shared.pages.acquire().await.expect("the gate is never closed");
                    counter!("quotastack_sync_pages_total").increment(1);
                    shared.app.feed_page(environment, number, cursor).await
                };
                match page {
                    Ok(page) => {
                        let frames = {
                            let mut publisher = shared.publisher.lock();
                            let passes = |hash| publisher.filter().matches(hash);
                            let states: Vec<_> = page.states.into_iter().filter(|state| passes(state.hash)).collect();
                            publisher.backfill(lane, &states, page.reached, page.head)?
                        };
                        for frame in frames {
                            write(&mut stream, &frame).await?;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the feed cannot be read; trying again");
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
            }
            Next::Wait { until } => tokio::select! {
                grown = changed.changed() => grown.expect("the feed outlives its sessions"),
                () = shared.followed.notified() => {}
                () = tokio::time::sleep(from_now(until)) => {}
            },
        }
    }
}

async fn write(stream: &mut SendStream, frame: &[u8]) -> Result<(), LinkError> {
    counter!("quotastack_sync_delta_bytes_total").increment(frame.len() as u64);
    Ok(stream.write_all(frame).await?)
}

fn from_now(until: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(until.micros_since(clock::now())).unwrap_or(0))
}
