//! [`ApiState`]: what handlers share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::task::TaskTracker;

use crate::app::App;

/// What handlers share.
#[derive(Debug, Clone)]
pub struct ApiState {
    /// What the server does.
    pub app: Arc<App>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Has a token for each request that is being carried out.
    pub requests: TaskTracker,
}
