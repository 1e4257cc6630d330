//! Usage batches and fetches: each is a stream of its own, so that none waits for another.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use quinn::{Connection, VarInt};
use quotastack_core::ids::{ReservationId, uuid_v7};
use quotastack_core::state::AccountState;
use quotastack_core::sync::machine::{Batch, Held, LeaseReturn, LeaseWish, Machine, SyncError};
use quotastack_core::wire::{AnswerParts, BatchReply, Request, Response};

use crate::engine::Engine;
use crate::fetch::Fetch;
use crate::lease::{Asked, LeaseAnswer};
use crate::link::LinkError;
use crate::link::stream::{Incoming, send};
use crate::metrics::{BATCHES, EVENTS_SENT, LEASES};
use crate::random::random;

/// How long a batch may take; after that it is not known whether it was done, and it is sent again.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Told to a server that broke the protocol.
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(1);

/// Sends a batch and hands its answer to the machine.
pub(crate) async fn send_batch(engine: Arc<Engine>, connection: Connection, link: u64, batch: Batch) {
    let Batch { id, lane, events } = batch;
    let count = events.len();
    let request = Request::Usage { lane, events };
    let reply = match tokio::time::timeout(BATCH_TIMEOUT, exchange_batch(&connection, &request)).await {
        Ok(reply) => reply,
        Err(_) => Err(LinkError::Ended("answer to a batch")),
    };
    let result = match &reply {
        Ok(BatchReply::Answer(_)) => "answered",
        Ok(BatchReply::Busy { .. }) => "busy",
        Err(_) => "failed",
    };
    counter!(BATCHES, "result" => result).increment(1);
    let taken = engine.receive(link, |machine, held, now| {
        let refused = machine.outbox_status().refused;
        match reply {
            Ok(reply) => machine.answered(id, reply, held, now)?,
            Err(_) => machine.batch_failed(id, now),
        }
        Ok::<_, SyncError>(machine.outbox_status().refused - refused)
    });
    engine.outbox_signal.set();
    match taken {
        Some(Err(error)) => {
            tracing::error!(%error, "the server's answer to a batch cannot be used");
            connection.close(PROTOCOL_ERROR, b"an answer that cannot be used");
        }
        Some(Ok(refused)) if result == "answered" => {
            counter!(EVENTS_SENT).increment(u64::try_from(count).unwrap_or(u64::MAX));
            if refused > 0 {
                tracing::error!(refused, "the ledger refused acknowledged usage for good; it is kept in the outbox");
            }
        }
        _ => {}
    }
    engine.batches_due.notify_one();
}

async fn exchange_batch(connection: &Connection, request: &Request) -> Result<BatchReply, LinkError> {
    let mut answer = ask(connection, request).await?;
    let mut parts = AnswerParts::default();
    while let Some(response) = answer.next::<Response>().await? {
        if let Some(reply) = parts.push(response)? {
            return Ok(reply);
        }
    }
    Err(LinkError::Ended("answer to a batch"))
}

/// Fetches an account and hands it to the machine. Whoever waits goes on when `asked` is dropped.
pub(crate) async fn fetch(engine: Arc<Engine>, connection: Connection, link: u64, asked: Fetch) {
    let id = &asked.end_user_id;
    if engine.receive(link, |machine, _, _| machine.fetch_begins(id)).is_none() {
        return;
    }
    let request = Request::Fetch { end_user_id: id.clone() };
    let state = match tokio::time::timeout(engine.limits.fetch_timeout, exchange_fetch(&connection, &request)).await {
        Ok(Ok(state)) if state.end_user_id == *id => Some(state),
        // The reason shows at the link, or the server was too busy; the caller goes on without.
        _ => None,
    };
    if let Err(error) = engine.fetched(link, id, state) {
        tracing::error!(%error, "a fetched state cannot be used");
        connection.close(PROTOCOL_ERROR, b"a state that cannot be used");
    }
}

async fn exchange_fetch(connection: &Connection, request: &Request) -> Result<AccountState, LinkError> {
    match ask(connection, request).await?.next::<Response>().await? {
        Some(Response::State(state)) => Ok(*state),
        _ => Err(LinkError::Ended("answer to a fetch")),
    }
}

/// Asks for a lease and hands it to the machine. Whoever waits is told.
pub(crate) async fn lease(engine: Arc<Engine>, connection: Connection, link: u64, asked: Asked) {
    let (end_user_id, feature_key) = (asked.end_user_id.clone(), asked.feature_key.clone());
    let wished = engine.receive(link, |machine, _, now| {
        let id = ReservationId::from_uuid(uuid_v7(now, random(), Some(end_user_id.bucket())));
        (id, machine.lease_wish(&end_user_id, &feature_key, asked.need, now))
    });
    let Some((id, LeaseWish { need, want })) = wished else { return };
    let request = Request::Lease { end_user_id: end_user_id.clone(), feature_key: feature_key.clone(), id, need, want };
    let response = tokio::time::timeout(engine.limits.fetch_timeout, exchange(&connection, &request)).await;
    let answer = match response {
        Ok(Ok(Response::Leased { granted, until })) => {
            let purpose = (&end_user_id, &feature_key);
            let opened = |machine: &mut Machine, held: Held<'_>, now| {
                machine.lease_opened(purpose, id, (granted, until), held, now);
            };
            counter!(LEASES, "result" => "opened").increment(1);
            if engine.receive(link, opened).is_some() {
                LeaseAnswer::Opened
            } else {
                // The link is another one by now, and so may be the history.
                engine.lock().machine.lease_doubtful(&end_user_id, id);
                LeaseAnswer::Unreachable
            }
        }
        Ok(Ok(Response::Refused { code, detail })) => {
            counter!(LEASES, "result" => "refused").increment(1);
            LeaseAnswer::Refused { code, detail }
        }
        _ => {
            counter!(LEASES, "result" => "failed").increment(1);
            engine.lock().machine.lease_doubtful(&end_user_id, id);
            LeaseAnswer::Unreachable
        }
    };
    asked.answer(answer);
}

/// Gives credit of a lease back.
pub(crate) async fn return_lease(engine: Arc<Engine>, connection: Connection, link: u64, returned: LeaseReturn) {
    let LeaseReturn { end_user_id, id, returned: amount } = returned.clone();
    let request = Request::Return { end_user_id, id, returned: amount };
    let response = tokio::time::timeout(engine.limits.fetch_timeout, exchange(&connection, &request)).await;
    let is_confirmed = matches!(response, Ok(Ok(Response::Returned)));
    engine.receive(link, |machine, _, _| machine.lease_returned(&returned, is_confirmed));
}

async fn exchange(connection: &Connection, request: &Request) -> Result<Response, LinkError> {
    let response = ask(connection, request).await?.next::<Response>().await?;
    response.ok_or(LinkError::Ended("answer to a request"))
}

async fn ask(connection: &Connection, request: &Request) -> Result<Incoming, LinkError> {
    let (mut stream, answer) = connection.open_bi().await?;
    send(&mut stream, request).await?;
    // The stream is ours and open: finishing it cannot fail.
    let _ = stream.finish();
    Ok(Incoming::new(answer))
}
