//! Things of an account that are found by their own id: usage, reservations, top-ups, blocks. The last byte of an id
//! leads to the lane.

use quotastack_core::ids::{BlockId, EndUserId, ReservationId, TopupId, UsageId};
use quotastack_core::ledger::outcome::{UsageRecord, VoidRecord};
use quotastack_core::ledger::reservation::Reservation;
use quotastack_core::ledger::topup::Topup;

use crate::app::clock;
use crate::app::error::AppError;
use crate::app::root::App;
use crate::store::accounts::BlockNotes;
use crate::store::types::EnvironmentId;

/// A usage event as a reader sees it.
#[derive(Debug, Clone)]
pub struct UsageRead {
    /// Whose it is.
    pub end_user_id: EndUserId,
    /// The event.
    pub record: UsageRecord,
    /// Its void, if it was undone.
    pub void: Option<VoidRecord>,
}

impl App {
    /// One usage event.
    pub async fn usage_event(&self, id: EnvironmentId, usage_id: UsageId) -> Result<UsageRead, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(usage_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let missing = || AppError::NotFound(format!("there is no usage event {usage_id}"));
        let end_user_id = tx.find_usage_owner(lane_id, usage_id).await?.ok_or_else(missing)?;
        let (_, record) = tx.load_usage(lane_id, &[usage_id]).await?.pop().ok_or_else(missing)?;
        let void = tx.load_voids(lane_id, &[usage_id]).await?.pop();
        tx.commit().await?;
        Ok(UsageRead { end_user_id, record, void })
    }

    /// Whose a usage event is.
    pub async fn owner_of_usage(&self, id: EnvironmentId, usage_id: UsageId) -> Result<EndUserId, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(usage_id.bucket());
        let found = self.store.begin(id).await?.find_usage_owner(lane_id, usage_id).await?;
        found.ok_or_else(|| AppError::NotFound(format!("there is no usage event {usage_id}")))
    }

    /// Whose a block is.
    pub async fn owner_of_block(&self, id: EnvironmentId, block_id: BlockId) -> Result<EndUserId, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(block_id.bucket());
        let found = self.store.begin(id).await?.find_block_owner(lane_id, block_id).await?;
        found.ok_or_else(|| AppError::NotFound(format!("there is no block {block_id}")))
    }

    /// What people attached to a block when it was granted.
    pub async fn block_notes(&self, id: EnvironmentId, block_id: BlockId) -> Result<BlockNotes, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(block_id.bucket());
        let found = self.store.begin(id).await?.block_notes(lane_id, block_id).await?;
        found.ok_or_else(|| AppError::NotFound(format!("there is no block {block_id}")))
    }

    /// A reservation as it stands now, and whose it is.
    pub async fn reservation(
        &self,
        id: EnvironmentId,
        reservation_id: ReservationId,
    ) -> Result<(EndUserId, Reservation), AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(reservation_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let found = tx.find_reservation(lane_id, reservation_id).await?;
        tx.commit().await?;
        let missing = || AppError::NotFound(format!("there is no reservation {reservation_id}"));
        let (end_user_id, reservation) = found.ok_or_else(missing)?;
        Ok((end_user_id, reservation.at(catalogue.clock.at(clock::now()))))
    }

    /// Up to `limit` reservations of an end user before `before`, newest first, as they stand now.
    pub async fn reservations(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        before: Option<ReservationId>,
        limit: i64,
    ) -> Result<Vec<Reservation>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let now = catalogue.clock.at(clock::now());
        let Some(account_id) = tx.find_account(lane_id, end_user_id).await? else { return Ok(Vec::new()) };
        let reservations = tx.list_reservations(lane_id, account_id, before, limit).await?;
        Ok(reservations.into_iter().map(|reservation| reservation.at(now)).collect())
    }

    /// A top-up, and whose it is.
    pub async fn topup(&self, id: EnvironmentId, topup_id: TopupId) -> Result<(EndUserId, Topup), AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(topup_id.bucket());
        let found = self.store.begin(id).await?.find_topup(lane_id, topup_id).await?;
        found.ok_or_else(|| AppError::NotFound(format!("there is no top-up {topup_id}")))
    }

    /// Up to `limit` top-ups of an end user before `before`, newest first.
    pub async fn topups(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        before: Option<TopupId>,
        limit: i64,
    ) -> Result<Vec<Topup>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let Some(account_id) = tx.find_account(lane_id, end_user_id).await? else { return Ok(Vec::new()) };
        Ok(tx.list_topups(lane_id, account_id, before, limit).await?)
    }
}
