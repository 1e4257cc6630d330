//! `consume`: usage of strict features, paid with leases that the server gives out.
//!
//! Callers that want the same lease wait for the same request. Whoever gets none learns why.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{EndUserId, FeatureKey};
use tokio::sync::{mpsc, watch};

use crate::engine::Engine;

/// What leases are for.
type Purpose = (EndUserId, FeatureKey);
type Running = Arc<Mutex<HashMap<Purpose, watch::Receiver<Option<LeaseAnswer>>>>>;

/// What became of a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    /// It is there.
    Opened,
    /// The server gives none: a stable error code, and why.
    Refused { code: String, detail: String },
    /// The server could not be asked.
    Unreachable,
}

/// A lease that somebody waits for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) end_user_id: EndUserId,
    pub(crate) feature_key: FeatureKey,
    /// What the event costs.
    pub(crate) need: Credits,
    running: Running,
    answer: watch::Sender<Option<LeaseAnswer>>,
}

impl Asked {
    /// Tells those who wait. Without that, it counts as unreachable.
    pub(crate) fn answer(self, answer: LeaseAnswer) {
        self.answer.send_replace(Some(answer));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.running.lock().remove(&(self.end_user_id.clone(), self.feature_key.clone()));
    }
}

/// Requests that run, and the way to the link.
#[derive(Debug)]
pub(crate) struct LeaseRequests {
    running: Running,
    to_link: mpsc::Sender<Asked>,
}

impl LeaseRequests {
    /// At most `requests_max` at a time; the link takes them from the receiver.
    pub(crate) fn new(requests_max: usize) -> (Self, mpsc::Receiver<Asked>) {
        let (to_link, asked) = mpsc::channel(requests_max);
        (Self { running: Running::default(), to_link }, asked)
    }

    /// Asks, unless that is under way; where the answer will be.
    fn begin(&self, purpose: Purpose, need: Credits) -> Option<watch::Receiver<Option<LeaseAnswer>>> {
        match self.running.lock().entry(purpose) {
            Entry::Occupied(running) => Some(running.get().clone()),
            Entry::Vacant(vacant) => {
                let slot = self.to_link.try_reserve().ok()?;
                let (answer, receiver) = watch::channel(None);
                let (end_user_id, feature_key) = vacant.key().clone();
                vacant.insert(receiver.clone());
                slot.send(Asked { end_user_id, feature_key, need, running: Arc::clone(&self.running), answer });
                Some(receiver)
            }
        }
    }
}

/// Asks for a lease and waits for the answer.
pub(crate) async fn ask(
    engine: &Engine,
    end_user_id: &EndUserId,
    feature_key: &FeatureKey,
    need: Credits,
) -> LeaseAnswer {
    if !engine.is_link_up() {
        return LeaseAnswer::Unreachable;
    }
    let Some(mut answer) = engine.leases.begin((end_user_id.clone(), feature_key.clone()), need) else {
        return LeaseAnswer::Unreachable;
    };
    let answered = tokio::time::timeout(engine.limits.fetch_timeout, answer.wait_for(Option::is_some)).await;
    match answered {
        Ok(Ok(answer)) => answer.clone().unwrap_or(LeaseAnswer::Unreachable),
        _ => LeaseAnswer::Unreachable,
    }
}

/// Asks for a lease that is not needed yet.
pub(crate) fn ask_ahead(engine: &Engine, end_user_id: &EndUserId, feature_key: &FeatureKey, need: Credits) {
    if engine.is_link_up() {
        engine.leases.begin((end_user_id.clone(), feature_key.clone()), need);
    }
}
