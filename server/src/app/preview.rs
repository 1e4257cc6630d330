//! What commands would come to: they are decided as the lane writer would, in a snapshot, and nothing of it stays.

use std::collections::HashMap;
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::credits::Credits;
use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::entry::{Entry, EntryKind};
use quotastack_core::ledger::outcome::{Outcome, Standing, UsageRecord};
use quotastack_core::ledger::wallet::Totals;
use quotastack_core::time::Timestamp;

use crate::app::auth::Principal;
use crate::app::clock;
use crate::app::decide::{Decided, Decisions, Submission, decide};
use crate::app::error::AppError;
use crate::app::needs;
use crate::app::residents::Residents;
use crate::app::root::{App, submission};

/// What a command would do to an account.
#[derive(Debug)]
pub struct Preview {
    /// What it would come to.
    pub outcome: Outcome,
    /// The account as it is.
    pub before: Standing,
    /// The account as it would be.
    pub after: Standing,
    /// What would be written, but for what time alone does: kind, change of the balance, and from when on.
    pub entries: Vec<(EntryKind, Credits, Timestamp)>,
}

impl App {
    /// Finds out what recording usage would come to; changes nothing.
    pub async fn dry_run(
        &self,
        principal: &Principal,
        end_user_id: EndUserId,
        command: Command,
    ) -> Result<(UsageRecord, bool), AppError> {
        let lane = self.lane_of(principal, &end_user_id).await?;
        let tried =
            self.try_out(principal, lane, vec![submission(principal, end_user_id, command, None, None)]).await?;
        let mut results = tried.decisions.results;
        match results.pop().expect("one command has one result").into_result()? {
            (Outcome::Used { record, .. }, replayed) => Ok((record, replayed)),
            _ => unreachable!("usage comes to a usage record"),
        }
    }

    /// Finds out what commands of one lane, each of another end user, would come to; changes nothing.
    pub async fn preview(
        &self,
        principal: &Principal,
        lane: u16,
        commands: Vec<(EndUserId, Command)>,
    ) -> Result<Vec<Result<Preview, AppError>>, AppError> {
        let commands = commands.into_iter();
        let commands = commands.map(|(end_user_id, command)| submission(principal, end_user_id, command, None, None));
        let commands: Vec<_> = commands.collect();
        let mut tried = self.try_out(principal, lane, commands.clone()).await?;
        let results = std::mem::take(&mut tried.decisions.results);
        Ok(commands.iter().zip(results).map(|(command, decided)| tried.preview(command, decided)).collect())
    }

    /// The lane of an end user.
    pub async fn lane_of(&self, principal: &Principal, end_user_id: &EndUserId) -> Result<u16, AppError> {
        Ok(self.environment(principal.environment_id).await?.handle.lane_of(end_user_id.bucket()).0)
    }

    async fn try_out(&self, principal: &Principal, lane: u16, commands: Vec<Submission>) -> Result<Tried, AppError> {
        let environment = self.environment(principal.environment_id).await?;
        let lane_id = environment.handle.lanes[usize::from(lane)];
        let mut tx = self.store.begin_snapshot(principal.environment_id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let place = tx.lane_place(lane_id).await?;
        let nobody = &mut Residents::default();
        let known = Arc::clone(&catalogue);
        let loaded = needs::load(&mut tx, lane_id, place, known, &commands, clock::now(), nobody).await?;
        tx.commit().await?;
        let before = loaded.accounts.clone();
        Ok(Tried { before, catalogue, decisions: decide(loaded, &commands) })
    }
}

/// Commands that were decided, and will not be written.
struct Tried {
    before: HashMap<EndUserId, (Account, u64)>,
    catalogue: Arc<Catalogue>,
    decisions: Decisions,
}

impl Tried {
    fn preview(&self, command: &Submission, decided: Decided) -> Result<Preview, AppError> {
        let (outcome, _) = decided.into_result()?;
        let now = self.decisions.now;
        let end_user_id = &command.end_user_id;
        let standing = |account: &Account| {
            let mut wallet = account.wallet.clone();
            read_at(&mut wallet, &self.catalogue, now);
            Standing { totals: wallet.totals(), version: account.version, now }
        };
        let nothing = Standing { totals: Totals::default(), version: 0, now };
        let before = self.before.get(end_user_id).map_or(nothing, |(account, _)| standing(account));
        let after = self.decisions.account(end_user_id).map_or(before, standing);
        let is_asked_for = |entry: &&Entry| entry.actor == command.request.actor;
        let entries = self.decisions.entries(end_user_id).iter().filter(is_asked_for);
        let entries = entries.map(|entry| (entry.body.kind, entry.body.amount, entry.body.effective_at)).collect();
        Ok(Preview { outcome, before, after, entries })
    }
}
