//! [`Workers`]: all workers of a server, started and stopped together.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::workers::{due, retention, usage_rollups};

/// How long the workers may take to finish what they are at, say while the database does not answer.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How the workers of a server are set up.
#[derive(Debug, Clone, Copy)]
pub struct WorkersConfig {
    /// How long the worker rests that writes down what is due, where it found nothing more.
    pub due_interval: Duration,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self { due_interval: Duration::from_secs(1) }
    }
}

/// The workers of a running server.
#[derive(Debug)]
pub struct Workers {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Workers {
    /// Starts them.
    pub fn start(app: &Arc<App>, config: WorkersConfig) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(due::run(Arc::clone(app), config.due_interval, stop.clone()));
        tasks.spawn(retention::run(Arc::clone(app), stop.clone()));
        tasks.spawn(usage_rollups::run(Arc::clone(app), stop.clone()));
        tasks.close();
        Self { stop, tasks }
    }

    /// Lets each finish what it is at, a page at most, within a bound: whatever it is cut off at can be done again.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("a worker did not finish in time; the next start goes on where it was");
        }
    }
}
