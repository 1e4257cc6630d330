//! What all sessions share, and what the parts of one share.

use std::sync::Arc;

use parking_lot::Mutex;
use quotastack_core::ledger::command::LeaseHolder;
use quotastack_core::sync::publisher;
use quotastack_core::wire::Report;
use tokio::sync::{Notify, Semaphore};

use crate::app::App;
use crate::app::auth::Principal;
use crate::app::environments::OpenEnvironment;

/// What all sessions share.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) app: Arc<App>,
    /// The gate before pages of the feed.
    pub(super) pages: Arc<Semaphore>,
}

/// What the parts of a session share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) app: Arc<App>,
    pub(super) pages: Arc<Semaphore>,
    pub(super) principal: Principal,
    /// Who leases.
    pub(super) holder: LeaseHolder,
    pub(super) environment: Arc<OpenEnvironment>,
    pub(super) publisher: Mutex<publisher::Session>,
    /// Wakes the deltas when the sidecar follows more.
    pub(super) followed: Notify,
    /// What the sidecar said of itself last.
    pub(super) report: Mutex<Report>,
}

impl Shared {
    /// What the sidecar said of itself last.
    pub(super) fn report(&self) -> Report {
        *self.report.lock()
    }

    /// Places of the feed that the sidecar was not sent.
    pub(super) fn behind(&self) -> u64 {
        let sent = self.publisher.lock().cursor().to_vec();
        let heads = self.environment.handle.feed.heads();
        heads.iter().zip(sent).map(|(head, sent)| head.saturating_sub(sent)).sum()
    }
}
