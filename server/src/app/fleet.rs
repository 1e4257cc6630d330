//! The fleet: which sidecars an environment has, and how they are. Source: docs/sync.md, "The fleet".

use quotastack_core::ids::SidecarId;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{Hello, Mode, Report};
use uuid::Uuid;

use crate::app::clock;
use crate::app::error::AppError;
use crate::app::root::App;
use crate::store::sidecars::{NewLink, SidecarRow};
use crate::store::types::EnvironmentId;

/// Characters of what a sidecar says it is.
const SOFTWARE_CHARS_MAX: usize = 100;

/// A link on its server: what is noted of it there.
#[derive(Debug)]
pub struct FleetLink {
    environment: EnvironmentId,
    link: NewLink,
}

impl App {
    /// Notes that a sidecar is linked. What is noted is for people: that it cannot be must not end a link.
    pub async fn begin_link(&self, environment: EnvironmentId, hello: &Hello) -> FleetLink {
        let mode = match hello.mode {
            Mode::All => "all",
            Mode::OnDemand => "on_demand",
        };
        let software = hello.software.chars().filter(|char| !char.is_control()).take(SOFTWARE_CHARS_MAX).collect();
        let (sidecar_id, run_id) = (hello.sidecar_id, hello.run_id);
        let link = NewLink { session: Uuid::from_bytes(clock::random()), sidecar_id, run_id, software, mode };
        let link = FleetLink { environment, link };
        let begun = async {
            let mut tx = self.store.begin(environment).await?;
            tx.forget_sidecars(environment).await?;
            tx.begin_link(environment, &link.link, clock::now()).await?;
            tx.commit().await
        };
        if let Err(error) = begun.await {
            tracing::warn!(%error, sidecar = %hello.sidecar_id, "a link could not be noted");
        }
        link
    }

    /// Notes how a sidecar is; with `ended`, that its link is over.
    pub async fn update_link(&self, link: &FleetLink, behind: u64, report: &Report, ended: bool) {
        let updated = async {
            let mut tx = self.store.begin(link.environment).await?;
            tx.update_link(link.environment, &link.link, (behind, report), clock::now(), ended).await?;
            tx.commit().await
        };
        if let Err(error) = updated.await {
            tracing::debug!(%error, sidecar = %link.link.sidecar_id, "a sidecar's state could not be noted");
        }
    }

    /// Up to `limit` sidecars after `after`, in order of their ids, and the server's time.
    pub async fn sidecars(
        &self,
        id: EnvironmentId,
        after: Option<SidecarId>,
        limit: i64,
    ) -> Result<(Vec<SidecarRow>, Timestamp), AppError> {
        Ok((self.store.begin(id).await?.list_sidecars(id, after, limit).await?, clock::now()))
    }
}
