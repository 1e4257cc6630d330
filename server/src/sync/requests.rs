//! What a sidecar asks and reports: each on a stream of its own, so that none waits for another.

use metrics::counter;
use quinn::{Connection, SendStream};
use quotastack_core::credits::Credits;
use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::command::{Command, OpenLease, ReturnLease};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::reservation::Reservation;
use quotastack_core::state::AccountState;
use quotastack_core::wire::{BatchAnswer, EventResult, Request, Response, UsageEvent, follow_hash};

use crate::app::decide::Decided;
use crate::app::error::AppError;
use crate::app::submission;
use crate::app::writer::Written;
use crate::sync::shared::Shared;
use crate::sync::stream::{Incoming, LinkError, send};

/// After which a sidecar may send again what there was no room or no database for.
const BUSY_DELAY_MS: u32 = 200;

/// Serves requests for as long as the connection lasts.
pub(super) async fn serve_all(shared: &Shared, connection: &Connection) -> Result<(), LinkError> {
    let mut open = futures_util::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let (answer, question) = stream?;
                open.push(serve(shared, Incoming::new(question), answer));
            }
            Some(served) = futures_util::StreamExt::next(&mut open), if !open.is_empty() => match served {
                // A question given up, or an answer that nobody waits for, ends no session.
                Ok(()) | Err(LinkError::Read(_) | LinkError::Write(_)) => {}
                Err(error) => return Err(error),
            },
        }
    }
}

async fn serve(shared: &Shared, mut question: Incoming, mut answer: SendStream) -> Result<(), LinkError> {
    match question.next().await? {
        Some(Request::Usage { lane, events }) => record(shared, lane, events, &mut answer).await?,
        Some(Request::Fetch { end_user_id }) => {
            // Followed first: what changes after the snapshot then comes as a delta.
            shared.publisher.lock().follow(follow_hash(&end_user_id));
            counter!("quotastack_sync_fetches_total").increment(1);
            let read = shared.app.state(shared.principal.environment_id, &end_user_id).await;
            let response = match read {
                Ok(read) => Response::State(Box::new(read.state.into_published())),
                Err(_) => Response::Busy { delay_ms: BUSY_DELAY_MS },
            };
            send(&mut answer, &response).await?;
        }
        Some(Request::Lease { end_user_id, feature_key, id, need, want }) => {
            if id.bucket() != end_user_id.bucket() {
                return Err(LinkError::Unexpected("a lease whose id belongs to another end user"));
            }
            shared.publisher.lock().follow(follow_hash(&end_user_id));
            let order = OpenLease { id, holder: shared.holder, feature_key, need, want };
            let response = lease(shared, end_user_id, Command::OpenLease(order)).await?;
            send(&mut answer, &response).await?;
        }
        Some(Request::Return { end_user_id, id, returned }) => {
            let order = ReturnLease { id, holder: shared.holder, returned };
            let response = match lease(shared, end_user_id, Command::ReturnLease(order)).await? {
                Response::Leased { .. } | Response::Refused { .. } => Response::Returned,
                busy => busy,
            };
            send(&mut answer, &response).await?;
        }
        None => return Err(LinkError::Unexpected("a request stream without a request")),
    }
    // The stream is ours and open: finishing it cannot fail.
    let _ = answer.finish();
    Ok(())
}

/// Opens a lease or takes credit of one back.
async fn lease(shared: &Shared, end_user_id: EndUserId, command: Command) -> Result<Response, LinkError> {
    let bucket = end_user_id.bucket();
    let lane = shared.environment.handle.lane_count().lane_of(bucket);
    let commands = vec![submission(&shared.principal, end_user_id, command, None, None)];
    let busy = Response::Busy { delay_ms: BUSY_DELAY_MS };
    let written = match shared.app.write_lane(shared.principal.environment_id, lane, commands).await {
        Ok(written) => written,
        Err(AppError::Overloaded | AppError::Unavailable | AppError::OutcomeUnknown) => return Ok(busy),
        Err(error) => return Err(LinkError::Server(error.to_string())),
    };
    Ok(match written.results.into_iter().next() {
        Some(Decided::Done { outcome, .. }) => match *outcome {
            Outcome::Reserved { reservation: Reservation { amount: granted, lease: Some(lease), .. }, .. } => {
                Response::Leased { granted, until: lease.until }
            }
            _ => busy,
        },
        Some(Decided::Refused(refusal)) => {
            Response::Refused { code: refusal.code().as_str().to_owned(), detail: refusal.to_string() }
        }
        Some(Decided::KeyReused | Decided::Failed | Decided::Postponed) | None => busy,
    })
}

/// Records a batch in one lane and answers with the states of its accounts as of that commit.
async fn record(shared: &Shared, lane: u16, events: Vec<UsageEvent>, answer: &mut SendStream) -> Result<(), LinkError> {
    let lanes = shared.environment.handle.lane_count();
    let belongs = |event: &UsageEvent| {
        let bucket = event.end_user_id.bucket();
        let is_paid = event.usage.leased.is_none_or(|leased| leased.cost >= Credits::ZERO);
        lanes.lane_of(bucket) == lane
            && event.usage.id.bucket() == bucket
            && event.usage.admitted_at.is_some()
            && is_paid
    };
    if events.is_empty() || !events.iter().all(belongs) {
        return Err(LinkError::Unexpected("a batch whose events do not belong to its lane"));
    }
    {
        let mut publisher = shared.publisher.lock();
        events.iter().for_each(|event| publisher.follow(follow_hash(&event.end_user_id)));
    }
    let named: std::collections::BTreeSet<_> = events.iter().map(|event| event.end_user_id.clone()).collect();
    let commands = events
        .into_iter()
        .map(|event| submission(&shared.principal, event.end_user_id, Command::Usage(event.usage), None, None));
    let id = shared.principal.environment_id;
    let written = match shared.app.write_lane(id, lane, commands.collect()).await {
        Ok(written) => written,
        Err(AppError::Overloaded | AppError::Unavailable | AppError::OutcomeUnknown) => {
            counter!("quotastack_sync_batches_total", "result" => "busy").increment(1);
            return send(answer, &Response::Busy { delay_ms: BUSY_DELAY_MS }).await;
        }
        Err(error) => return Err(LinkError::Server(error.to_string())),
    };
    let Written { results, states, .. } = written;
    counter!("quotastack_sync_batches_total", "result" => "recorded").increment(1);
    counter!("quotastack_sync_events_total").increment(results.len() as u64);
    let states = named.into_iter().map(|end_user_id| match states.get(&end_user_id) {
        Some(state) => AccountState::clone(state),
        None => AccountState::unknown(end_user_id),
    });
    let reply = BatchAnswer { states: states.collect(), results: results.into_iter().map(result).collect() };
    for frame in reply.into_frames()? {
        answer.write_all(&frame).await?;
    }
    Ok(())
}

fn result(decided: Decided) -> EventResult {
    match decided {
        Decided::Done { outcome, replayed } => match *outcome {
            Outcome::Used { record, .. } => EventResult::Recorded { replayed, charged: record.charged },
            _ => EventResult::Failed,
        },
        Decided::Refused(refusal) => {
            EventResult::Refused { code: refusal.code().as_str().to_owned(), detail: refusal.to_string() }
        }
        Decided::KeyReused | Decided::Failed | Decided::Postponed => EventResult::Failed,
    }
}
