//! Asking the server for an account that is not held: one round trip, then it is followed.
//!
//! Callers that want the same account wait for the same fetch. Fetches are bounded in number and time; whoever gets
//! no answer goes on without a state.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use quotastack_core::ids::EndUserId;
use quotastack_core::state::AccountState;
use tokio::sync::{mpsc, watch};

use crate::engine::{Engine, LinkState};

type Running = Arc<Mutex<HashMap<EndUserId, watch::Receiver<()>>>>;

/// A fetch that somebody waits for. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) end_user_id: EndUserId,
    running: Running,
    _done: watch::Sender<()>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.running.lock().remove(&self.end_user_id);
    }
}

/// Fetches that run, and the way to the link.
#[derive(Debug)]
pub(crate) struct Fetches {
    running: Running,
    to_link: mpsc::Sender<Fetch>,
}

impl Fetches {
    /// At most `fetches_max` at a time; the link takes them from the receiver.
    pub(crate) fn new(fetches_max: usize) -> (Self, mpsc::Receiver<Fetch>) {
        let (to_link, fetches) = mpsc::channel(fetches_max);
        (Self { running: Running::default(), to_link }, fetches)
    }

    /// Waits for a fetch of this account, begun here or by another caller.
    async fn fetch(&self, end_user_id: &EndUserId) {
        let mut done = match self.running.lock().entry(end_user_id.clone()) {
            Entry::Occupied(running) => running.get().clone(),
            Entry::Vacant(vacant) => {
                let Ok(slot) = self.to_link.try_reserve() else { return };
                let (sender, receiver) = watch::channel(());
                vacant.insert(receiver.clone());
                let running = Arc::clone(&self.running);
                slot.send(Fetch { end_user_id: end_user_id.clone(), running, _done: sender });
                receiver
            }
        };
        // Nothing is ever sent: the end of the fetch is the end of the channel.
        let _ = done.changed().await;
    }
}

/// The effective state of an account, from disk or the server; `None` if neither has it and the server is out of
/// reach. An end user that the server does not know has a state too, an empty one.
pub(crate) async fn state_of(engine: &Engine, end_user_id: &EndUserId) -> Option<Arc<AccountState>> {
    if engine.catalogue().is_some()
        && let Some(state) = engine.load(end_user_id)
    {
        return Some(state);
    }
    let _ = tokio::time::timeout(engine.limits.fetch_timeout, ask(engine, end_user_id)).await;
    engine.load(end_user_id)
}

/// Returns when the account is known, or cannot be had.
async fn ask(engine: &Engine, end_user_id: &EndUserId) {
    let mut link = engine.link_state.subscribe();
    let is_up = match link.wait_for(|state| *state != LinkState::Starting).await {
        Ok(state) => *state == LinkState::Up,
        Err(_) => false,
    };
    if !is_up {
        return;
    }
    // The first message of a new link.
    let _ = engine.catalogue.subscribe().wait_for(Option::is_some).await;
    if engine.load(end_user_id).is_none() {
        engine.fetches.fetch(end_user_id).await;
    }
    // A state that waits, for a newer catalogue or for the answer to a batch, is shown with what it waits for.
    loop {
        let changed = engine.changed.notified();
        if !engine.is_link_up() || engine.load(end_user_id).is_some() {
            return;
        }
        changed.await;
    }
}
