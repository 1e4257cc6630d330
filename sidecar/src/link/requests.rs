//! Usage batches and fetches: each is a stream of its own, so that none waits for another.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use quinn::{Connection, VarInt};
use quotastack_core::state::AccountState;
use quotastack_core::sync::machine::{Batch, SyncError};
use quotastack_core::wire::{AnswerParts, BatchReply, Request, Response};

use crate::engine::Engine;
use crate::fetch::Fetch;
use crate::link::LinkError;
use crate::link::stream::{Incoming, send};
use crate::metrics::{BATCHES, EVENTS_SENT};

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

async fn ask(connection: &Connection, request: &Request) -> Result<Incoming, LinkError> {
    let (mut stream, answer) = connection.open_bi().await?;
    send(&mut stream, request).await?;
    // The stream is ours and open: finishing it cannot fail.
    let _ = stream.finish();
    Ok(Incoming::new(answer))
}
