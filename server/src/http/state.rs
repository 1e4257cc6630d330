//! [`ApiState`]: what handlers share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::app::App;

/// What handlers share.
#[derive(Debug, Clone)]
pub struct ApiState {
    /// What the server does.
    pub app: Arc<App>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
}
