//! Attempt after attempt, for as long as the sidecar runs.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use quotastack_core::ids::SidecarId;
use quotastack_core::sync::machine::SyncError;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, LinkState};
use crate::fetch::Fetch;
use crate::lease::Asked;
use crate::link::backoff::Backoff;
use crate::link::session::Session;
use crate::link::{Dialer, LinkError};
use crate::metrics::LINKS;

/// How long the last packets of a closed connection are waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who this sidecar is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) key: SecretString,
    pub(crate) sidecar_id: SidecarId,
    pub(crate) run_id: [u8; 16],
}

/// Keeps a link until it is stopped.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) engine: Arc<Engine>,
    pub(crate) dialer: Dialer,
    pub(crate) identity: Identity,
    /// Accounts and leases that somebody waits for.
    pub(crate) asked: (mpsc::Receiver<Fetch>, mpsc::Receiver<Asked>),
    pub(crate) stop: CancellationToken,
}

/// What is remembered from one attempt to the next.
#[derive(Default)]
struct Attempts {
    backoff: Backoff,
    /// The reason logged last: only a change is worth a line.
    logged: String,
}

impl Link {
    /// Runs until the stop.
    pub(crate) async fn run(mut self) {
        let mut attempts = Attempts::default();
        loop {
            let ended = self.once(&mut attempts).await;
            self.engine.link_down();
            // Whoever waits for one goes on without.
            while self.asked.0.try_recv().is_ok() {}
            while self.asked.1.try_recv().is_ok() {}
            match ended {
                // Going on would mix two environments.
                Err(LinkError::Sync(error @ SyncError::WrongEnvironment { .. })) => {
                    return self.engine.fail(error.to_string());
                }
                Err(error) => attempts.log(&error),
                Ok(()) => return,
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(attempts.backoff.next()) => {}
            }
        }
    }

    /// One link from beginning to end. `Ok` = it was stopped.
    async fn once(&mut self, attempts: &mut Attempts) -> Result<(), LinkError> {
        let (endpoint, connection) = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            connected = self.dialer.connect() => connected?,
        };
        let ended = match Session::begin(&self.engine, &connection, &self.identity).await {
            Ok(session) => {
                *attempts = Attempts::default();
                counter!(LINKS).increment(1);
                tracing::info!(server = %connection.remote_address(), "linked to the server");
                self.engine.link_state.send_replace(LinkState::Up);
                session.run(&mut self.asked, &self.stop).await
            }
            Err(error) => Err(error),
        };
        connection.close(0u32.into(), b"");
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await;
        ended
    }
}

impl Attempts {
    fn log(&mut self, error: &LinkError) {
        let reason = error.to_string();
        if reason == self.logged {
            return;
        }
        match error {
            LinkError::Refused { .. } | LinkError::Sync(_) | LinkError::Wire(_) => {
                tracing::error!(%reason, "no link to the server; this will not mend itself");
            }
            _ => tracing::warn!(%reason, "no link to the server; checks go on from the replica, usage waits"),
        }
        self.logged = reason;
    }
}
