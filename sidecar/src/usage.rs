//! Usage: decided by the ledger's own rules over what the sidecar holds, acknowledged when the outbox is on disk
//! (with [`Durability::Memory`], what is advisory at once).

use std::sync::Arc;
use std::time::Duration;

use quotastack_core::api::usage::UsageRequest;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{EndUserId, IdempotencyKey, UsageId, uuid_v7};
use quotastack_core::ledger::command::Usage;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::sync::machine::{Admitted, NotAdmitted};

use crate::config::Durability;
use crate::engine::Engine;
use crate::fetch;
use crate::lease::{self, LeaseAnswer};
use crate::random::random;

/// Leases that one event asks for: others may be quicker to spend them.
const LEASE_ATTEMPTS_MAX: u32 = 8;
/// Until then sidecars have given back what they do not need and others do.
const OTHERS_RETURN: Duration = Duration::from_millis(700);

/// What an event cost and what is left of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: UsageId,
    /// Its price.
    pub cost: Credits,
    /// What was taken or is owed; less than `cost` only where it was capped.
    pub charged: Credits,
    /// The account's balance after it.
    pub balance: Credits,
    /// What of it is free.
    pub available: Credits,
    /// The account's debt.
    pub debt: Credits,
    /// Whether it had been recorded before, and this is the first answer again.
    pub replayed: bool,
}

/// Why usage was not recorded. The key may be used again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// By the ledger's rules.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server has been out of reach for so long that the outbox is full.
    #[error("the outbox is full because the server has not been reached for long; nothing was recorded, try again")]
    OutboxFull,
    /// Nothing is known of the end user, and the server cannot be asked.
    #[error("the end user is not known here yet and the server cannot be reached; nothing was recorded, try again")]
    Unreachable,
    /// There is no lease that pays for it, and the server gives none.
    #[error("{detail}")]
    Unleased {
        /// A stable error code.
        code: String,
        /// Why.
        detail: String,
    },
    /// Usage of a strict feature without a lease, or a price with tiers by window, which others move too.
    #[error("only the server can charge usage of the feature like this: send it there")]
    ServerOnly,
    /// The account is published in part only.
    #[error("the account is too large to be replicated: send its usage to the server")]
    Partial,
    /// The sidecar is stopping.
    #[error("the sidecar is stopping; nothing was acknowledged, send the event again with the same key")]
    Stopping,
}

/// How an event is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// What the replica shows.
    State,
    /// A lease.
    Lease,
}

/// Admits one event. It is in the outbox, and not yet on disk.
fn admit(engine: &Engine, request: &UsageRequest, by: By) -> Result<Admitted, NotAdmittedYet> {
    let mut core = engine.lock();
    if core.closed {
        return Err(NotAdmittedYet::Never(UsageError::Stopping));
    }
    let now = engine.now(&mut core);
    let id = UsageId::from_uuid(uuid_v7(now, random(), Some(request.end_user_id.bucket())));
    let key = request.idempotency_key.clone();
    let usage = Usage {
        id,
        key: key.unwrap_or_else(|| IdempotencyKey::new(&id.to_string()).expect("an id is a valid key")),
        feature_key: request.feature_key.clone(),
        units: request.units,
        properties: request.properties.clone(),
        effective_at: request.effective_at,
        on_insufficient: request.on_insufficient,
        admitted_at: None,
        leased: None,
    };
    let (end_user_id, held) = (&request.end_user_id, |id: &EndUserId| engine.held(id));
    let admitted = match by {
        By::State => core.machine.admit(end_user_id, usage, &held, now),
        By::Lease => core.machine.consume(end_user_id, usage, &held, now),
    };
    engine.show(&mut core);
    if let Ok(Admitted { state: Some(state), .. }) = &admitted {
        engine.memory.insert(Arc::clone(state));
    }
    drop(core);
    admitted.map_err(|error| match error {
        NotAdmitted::NoState => NotAdmittedYet::NoState,
        NotAdmitted::Refused(refusal) => NotAdmittedYet::Never(refusal.into()),
        NotAdmitted::OutboxFull => NotAdmittedYet::Never(UsageError::OutboxFull),
        NotAdmitted::Partial => NotAdmittedYet::Never(UsageError::Partial),
        NotAdmitted::ServerOnly => NotAdmittedYet::Never(UsageError::ServerOnly),
        NotAdmitted::NoLease { need } => NotAdmittedYet::NoLease(need),
    })
}

enum NotAdmittedYet {
    NoState,
    NoLease(Credits),
    Never(UsageError),
}

/// Admits events in order, each on its own, and returns when all of them are on disk, or at once where memory is enough.
pub(crate) async fn record(
    engine: &Engine,
    requests: &[UsageRequest],
    durability: Durability,
) -> Vec<Result<Receipt, UsageError>> {
    let mut results = Vec::with_capacity(requests.len());
    let mut ticket = 0;
    for request in requests {
        let admitted = match admit(engine, request, By::State) {
            Err(NotAdmittedYet::NoState) => {
                fetch::state_of(engine, &request.end_user_id).await;
                admit(engine, request, By::State)
            }
            decided => decided,
        };
        results.push(match admitted {
            Ok(admitted) => {
                ticket = ticket.max(admitted.ticket);
                Ok(receipt(&admitted))
            }
            Err(NotAdmittedYet::NoState | NotAdmittedYet::NoLease(_)) => Err(UsageError::Unreachable),
            Err(NotAdmittedYet::Never(error)) => Err(error),
        });
    }
    engine.outbox_signal.set();
    if durability == Durability::Disk && !is_durable(engine, ticket).await {
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = Err(UsageError::Stopping);
        }
    }
    results
}

/// Pays for an event with a lease, asks for one where none has enough, and returns when it is on disk.
pub(crate) async fn consume(engine: &Engine, request: &UsageRequest) -> Result<Receipt, UsageError> {
    let (end_user_id, feature_key) = (&request.end_user_id, &request.feature_key);
    let mut attempts = 0..LEASE_ATTEMPTS_MAX;
    let mut has_waited = false;
    let admitted = loop {
        let refused = match admit(engine, request, By::Lease) {
            Ok(admitted) => break admitted,
            Err(refused) => refused,
        };
        if attempts.next().is_none() {
            return Err(UsageError::Unreachable);
        }
        match refused {
            NotAdmittedYet::Never(error) => return Err(error),
            NotAdmittedYet::NoState if fetch::state_of(engine, end_user_id).await.is_some() => {}
            NotAdmittedYet::NoState => return Err(UsageError::Unreachable),
            NotAdmittedYet::NoLease(need) => match lease::ask(engine, end_user_id, feature_key, need).await {
                LeaseAnswer::Opened => {}
                LeaseAnswer::Refused { .. } if !has_waited && is_held_by_others(engine, request, need) => {
                    has_waited = true;
                    tokio::time::sleep(OTHERS_RETURN).await;
                }
                LeaseAnswer::Refused { code, detail } => return Err(UsageError::Unleased { code, detail }),
                LeaseAnswer::Unreachable => return Err(UsageError::Unreachable),
            },
        }
    };
    if admitted.is_low {
        lease::ask_ahead(engine, end_user_id, feature_key, admitted.admission.answer.cost);
    }
    engine.outbox_signal.set();
    if is_durable(engine, admitted.ticket).await { Ok(receipt(&admitted)) } else { Err(UsageError::Stopping) }
}

/// Whether the account has the credit, and other sidecars have set it aside.
fn is_held_by_others(engine: &Engine, request: &UsageRequest, need: Credits) -> bool {
    let (end_user_id, feature_key) = (&request.end_user_id, &request.feature_key);
    engine.lock().machine.is_held_by_others(end_user_id, feature_key, need, &|id| engine.held(id))
}

/// Waits until the outbox is on disk up to `ticket`; false if that will not happen.
async fn is_durable(engine: &Engine, ticket: u64) -> bool {
    let mut committed = engine.committed.subscribe();
    let mut failure = engine.failure.subscribe();
    tokio::select! {
        biased;
        reached = committed.wait_for(|committed| *committed >= ticket) => reached.is_ok(),
        _ = failure.wait_for(Option::is_some) => false,
    }
}

fn receipt(admitted: &Admitted) -> Receipt {
    let answer = admitted.admission.answer;
    Receipt {
        id: admitted.admission.usage.id,
        cost: answer.cost,
        charged: answer.charged,
        balance: answer.totals.balance,
        available: answer.totals.available,
        debt: answer.totals.debt,
        replayed: admitted.replayed,
    }
}
