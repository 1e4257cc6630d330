//! Writing down what time has done to accounts that nobody touches: for the worker, in its own time, and for a sandbox
//! clock that was set, before the call returns.
//!
//! Time is true at read without this; here it is written and announced. Accounts go through the writer of their lane,
//! a page at a time, in order of their instants, so that callers get their turns in between. Doing it twice, or at two
//! servers at once, changes nothing more. Source: docs/ledger.md, "Written in time".

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use quotastack_core::ids::{AccountId, EndUserId};
use quotastack_core::ledger::command::{Command, Request};
use quotastack_core::ledger::entry::Actor;
use quotastack_core::time::Timestamp;
use uuid::Uuid;

use crate::app::clock;
use crate::app::decide::{Decided, Submission};
use crate::app::environments::OpenEnvironment;
use crate::app::error::AppError;
use crate::app::root::{App, WRITE_PATIENCE};
use crate::store::due::{DueAccount, DueLane};
use crate::store::types::{EnvironmentId, LaneId};

/// Accounts in one page, which is one transaction at most.
const PAGE_ACCOUNTS: usize = 100;
/// Live blocks and open reservations of all of them together; an account with more goes alone.
const PAGE_SIZE_MAX: usize = 4_000;
/// Lanes that are looked at in one statement.
pub const PAGE_LANES: usize = 500;
/// How long a page that was begun in time is waited for.
const LAST_PAGE_PATIENCE: Duration = Duration::from_secs(4);
/// What the lease is on.
const WORK: &str = "due";

/// How far a pass over the due accounts of a lane is.
pub type DueCursor = (Timestamp, AccountId);

/// What came of a page.
#[derive(Debug, Default)]
pub struct DuePage {
    /// The instants since which the accounts had been due that are now up to date.
    pub written: Vec<Timestamp>,
    /// Accounts that cannot be written.
    pub failed: Vec<AccountId>,
    /// Where the next page begins; `None` = this was the last one.
    pub next: Option<DueCursor>,
}

impl App {
    /// Up to [`PAGE_LANES`] lanes after `after` with something due, of all tenants.
    pub async fn due_lanes(&self, after: Option<LaneId>) -> Result<Vec<DueLane>, AppError> {
        let limit = i32::try_from(PAGE_LANES).expect("a page is small");
        let mut tx = self.store.begin_without_environment().await?;
        let lanes = tx.due_lanes(clock::now(), after, limit).await?;
        tx.commit().await?;
        Ok(lanes)
    }

    /// Writes down what is due at `up_to` in the next page of a lane's accounts, but for those in `without`.
    pub async fn write_due_page(
        &self,
        environment: &OpenEnvironment,
        lane: u16,
        up_to: Timestamp,
        after: Option<DueCursor>,
        without: &HashSet<AccountId>,
    ) -> Result<DuePage, AppError> {
        let (id, lane_id) = (environment.handle.id, environment.handle.lanes[usize::from(lane)]);
        let limit = i64::try_from(PAGE_ACCOUNTS).expect("a page is small");
        let mut tx = self.store.begin_snapshot(id).await?;
        let mut accounts = tx.list_due(lane_id, up_to, after, limit).await?;
        tx.commit().await?;
        let found = accounts.len();
        accounts.truncate(fitting(&accounts));
        let Some(last) = accounts.last() else { return Ok(DuePage::default()) };
        let is_last = found < PAGE_ACCOUNTS && accounts.len() == found;
        let next = (!is_last).then_some((last.next_due, last.account_id));
        let mut page = DuePage { next, ..DuePage::default() };
        accounts.retain(|account| !without.contains(&account.account_id));
        if accounts.is_empty() {
            return Ok(page);
        }
        let commands = accounts.iter().map(|account| advance(&account.end_user_id)).collect();
        let written = environment.writers[usize::from(lane)].write(commands, WRITE_PATIENCE).await?;
        for (account, result) in accounts.iter().zip(written.results) {
            match result {
                Decided::Done { .. } => page.written.push(account.next_due),
                Decided::Postponed => return Err(AppError::Overloaded),
                Decided::Refused(_) | Decided::KeyReused | Decided::Failed => {
                    page.failed.push(account.account_id);
                }
            }
        }
        Ok(page)
    }

    /// Writes down all that is due at `now` in all lanes of an environment. Begins no page after `patience`, waits for
    /// none much longer, and then says so: what is left is done by the worker, or by asking again.
    pub async fn write_all_due(&self, id: EnvironmentId, now: Timestamp, patience: Duration) -> Result<(), AppError> {
        let environment = self.environment(id).await?;
        let ends = Instant::now() + patience;
        let lanes = 0..environment.handle.lane_count().get();
        // What fails in one lane does not hold up the others.
        let lanes = join_all(lanes.map(|lane| self.write_lane_due(&environment, lane, now, ends)));
        let Ok(lanes) = tokio::time::timeout(patience + LAST_PAGE_PATIENCE, lanes).await else {
            return Err(AppError::CatchingUp { now });
        };
        match lanes.into_iter().collect::<Result<Vec<bool>, AppError>>() {
            Ok(finished) if finished.iter().all(|finished| *finished) => Ok(()),
            Ok(_) | Err(AppError::Overloaded | AppError::Unavailable | AppError::OutcomeUnknown) => {
                Err(AppError::CatchingUp { now })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether all of the lane was done before `ends`.
    async fn write_lane_due(
        &self,
        environment: &OpenEnvironment,
        lane: u16,
        now: Timestamp,
        ends: Instant,
    ) -> Result<bool, AppError> {
        let (mut after, nobody, mut has_failed) = (None, HashSet::new(), false);
        loop {
            let page = self.write_due_page(environment, lane, now, after, &nobody).await?;
            has_failed |= !page.failed.is_empty();
            if page.next.is_none() && has_failed {
                return Err(AppError::Internal("what became due in some accounts cannot be written".into()));
            }
            if page.next.is_none() {
                return Ok(true);
            }
            if Instant::now() >= ends {
                return Ok(false);
            }
            after = page.next;
        }
    }

    /// Takes the lease on a lane's due accounts for `length`; `None` while another server has it.
    pub async fn lease_due_lane(
        &self,
        lane: &DueLane,
        holder: Uuid,
        length: Duration,
    ) -> Result<Option<Arc<OpenEnvironment>>, AppError> {
        let environment = self.environment(lane.environment_id).await?;
        let now = clock::now();
        let until = now.saturating_add_micros(i64::try_from(length.as_micros()).expect("a lease is short"));
        let mut tx = self.store.begin(lane.environment_id).await?;
        let is_ours = tx.take_lease(lane.environment_id, lane.lane_id, WORK, holder, now, until).await?;
        tx.commit().await?;
        Ok(is_ours.then_some(environment))
    }

    /// Gives the lease back.
    pub async fn release_due_lane(&self, lane: &DueLane, holder: Uuid) -> Result<(), AppError> {
        let mut tx = self.store.begin(lane.environment_id).await?;
        tx.release_lease(lane.lane_id, WORK, holder, clock::now()).await?;
        Ok(tx.commit().await?)
    }
}

/// How many of these, from the first on, make one page.
fn fitting(accounts: &[DueAccount]) -> usize {
    let mut size = 0;
    let fit = accounts.iter().take_while(|account| {
        size += account.size;
        size <= PAGE_SIZE_MAX
    });
    fit.count().max(1)
}

/// Writes down what time has done to an end user's account.
pub(super) fn advance(end_user_id: &EndUserId) -> Submission {
    Submission {
        end_user_id: end_user_id.clone(),
        request: Request { now: clock::now(), actor: Actor::System, seed: clock::random(), command: Command::Advance },
        // Whoever is up to date has nothing to write, however often they are asked.
        identity: None,
        notes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_by_what_its_accounts_have_and_an_account_with_more_goes_alone() {
        let account = |size| DueAccount {
            next_due: Timestamp::MIN,
            account_id: AccountId::from_uuid(Uuid::nil()),
            end_user_id: EndUserId::new("u").expect("a valid name"),
            size,
        };
        for (sizes, fit) in [
            (vec![1; 100], 100),
            (vec![1_000; 10], 4),
            (vec![4_000, 1], 1),
            (vec![3_999, 1, 1], 2),
            (vec![11_000, 1, 1], 1),
            (vec![1, 11_000], 1),
            (vec![], 1),
        ] {
            let accounts: Vec<DueAccount> = sizes.iter().copied().map(account).collect();
            assert_eq!(fitting(&accounts), fit, "{sizes:?}");
        }
    }
}
