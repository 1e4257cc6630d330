//! Sidecars as their servers have seen them last.

use quotastack_core::ids::SidecarId;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::Report;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, Ts, from_json, signed, to_json, unsigned};

/// A sidecar.
#[derive(Debug, Clone)]
pub struct SidecarRow {
    /// Its id.
    pub sidecar_id: SidecarId,
    /// What it says it is, for people.
    pub software: String,
    /// `all` or `on_demand`.
    pub mode: String,
    /// When its newest link began.
    pub linked_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
    /// When that link ended; `None` = its server has not seen it end.
    pub ended_at: Option<Timestamp>,
    /// Places of the feed that it had not been sent.
    pub behind: u64,
    /// What it said of itself.
    pub report: Report,
}

/// A link that begins.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Names it among the links of all servers.
    pub session: Uuid,
    /// The sidecar.
    pub sidecar_id: SidecarId,
    /// Its run.
    pub run_id: [u8; 16],
    /// What it says it is.
    pub software: String,
    /// `all` or `on_demand`.
    pub mode: &'static str,
}

impl Tx {
    /// Notes that a link begins. It is the sidecar's newest.
    pub async fn begin_link(&mut self, environment: EnvironmentId, link: &NewLink, now: Timestamp) -> sqlx::Result<()> {
        sqlx::query(
            "insert into sidecars (environment_id, sidecar_id, run_id, session, software, mode, linked_at, seen_at, behind, report)
             values ($1, $2, $3, $4, $5, $6, $7, $7, 0, $8)
             on conflict (environment_id, sidecar_id) do update set run_id = excluded.run_id, session = excluded.session,
               software = excluded.software, mode = excluded.mode, linked_at = excluded.linked_at,
               seen_at = excluded.seen_at, ended_at = null",
        )
        .bind(environment.0)
        .bind(link.sidecar_id.uuid())
        .bind(link.run_id.as_slice())
        .bind(link.session)
        .bind(&link.software)
        .bind(link.mode)
        .bind(Ts(now))
        .bind(to_json(&Report::default()))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Notes how a sidecar is, and with `ended` that its link is over, if that is still its newest.
    pub async fn update_link(
        &mut self,
        environment: EnvironmentId,
        link: &NewLink,
        (behind, report): (u64, &Report),
        now: Timestamp,
        ended: bool,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "update sidecars set seen_at = $4, behind = $5, report = $6, ended_at = $7
             where environment_id = $1 and sidecar_id = $2 and session = $3",
        )
        .bind(environment.0)
        .bind(link.sidecar_id.uuid())
        .bind(link.session)
        .bind(Ts(now))
        .bind(signed(behind))
        .bind(to_json(report))
        .bind(ended.then_some(Ts(now)))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Forgets sidecars that were last heard of more than 30 days ago.
    pub async fn forget_sidecars(&mut self, environment: EnvironmentId) -> sqlx::Result<()> {
        sqlx::query("select forget_sidecars($1)").bind(environment.0).execute(self.connection()).await?;
        Ok(())
    }

    /// Up to `limit` sidecars after `after`, in order of their ids.
    pub async fn list_sidecars(
        &mut self,
        environment: EnvironmentId,
        after: Option<SidecarId>,
        limit: i64,
    ) -> sqlx::Result<Vec<SidecarRow>> {
        let rows = sqlx::query(
            "select sidecar_id, software, mode, linked_at, seen_at, ended_at, behind, report from sidecars
             where environment_id = $1 and sidecar_id > $2 order by sidecar_id limit $3",
        )
        .bind(environment.0)
        .bind(after.map_or(Uuid::nil(), SidecarId::uuid))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(sidecar_from_row).collect()
    }
}

fn sidecar_from_row(row: &PgRow) -> sqlx::Result<SidecarRow> {
    Ok(SidecarRow {
        sidecar_id: SidecarId::from_uuid(row.try_get("sidecar_id")?),
        software: row.try_get("software")?,
        mode: row.try_get("mode")?,
        linked_at: row.try_get::<Ts, _>("linked_at")?.0,
        seen_at: row.try_get::<Ts, _>("seen_at")?.0,
        ended_at: row.try_get::<Option<Ts>, _>("ended_at")?.map(|at| at.0),
        behind: unsigned("behind", row.try_get("behind")?)?,
        report: from_json("report", row.try_get("report")?)?,
    })
}
