//! What the parts of one session share.

use std::sync::Arc;

use parking_lot::Mutex;
use quotastack_core::sync::publisher;
use tokio::sync::Notify;

use crate::app::App;
use crate::app::auth::Principal;
use crate::app::environments::OpenEnvironment;

/// What the parts of a session share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) app: Arc<App>,
    pub(super) principal: Principal,
    pub(super) environment: Arc<OpenEnvironment>,
    pub(super) publisher: Mutex<publisher::Session>,
    /// Wakes the deltas when the sidecar follows more.
    pub(super) followed: Notify,
}
