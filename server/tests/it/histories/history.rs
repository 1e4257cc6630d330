//! A [`History`]: what was sent to one account, and what it came to there alone.

use std::fmt::Debug;
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, EndUserId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::invariants;
use quotastack_core::ledger::refold::Refold;
use quotastack_core::ledger::reservation::ReservationStatus;
use quotastack_core::state::AccountState;
use quotastack_core::subscription::Subscription;
use quotastack_core::time::Timestamp;
use quotastack_server::app::decide::Submission;
use uuid::Uuid;

use super::alone::{Alone, Answer};

/// One command of a history.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) submission: Submission,
    pub(crate) answer: Answer,
    /// The account with it.
    pub(crate) after: Account,
}

/// The commands of one account in order, times never falling.
pub(crate) struct History {
    pub(crate) end_user_id: EndUserId,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) sent: Vec<Sent>,
    /// Under an id of its own: which one the server will give it is not known yet.
    pub(crate) alone: Alone,
}

impl History {
    pub(crate) fn new(end_user_id: EndUserId, catalogue: Arc<Catalogue>) -> Self {
        let alone = Alone::new(AccountId::from_uuid(Uuid::nil()), end_user_id.clone());
        Self { end_user_id, catalogue, sent: Vec::new(), alone }
    }

    pub(crate) fn send(&mut self, submission: Submission) -> &Sent {
        let answer = self.alone.send(&self.catalogue, &submission);
        self.sent.push(Sent { submission, answer, after: self.alone.account.clone() });
        self.sent.last().expect("one was just sent")
    }

    /// The same commands once more, for the account with this id: the hashes are of this id.
    pub(crate) fn replay(&self, id: AccountId) -> Alone {
        let mut alone = Alone::new(id, self.end_user_id.clone());
        for sent in &self.sent {
            alone.send(&self.catalogue, &sent.submission);
        }
        alone
    }
}

/// The commands of all histories in the order of a lane, cut into groups of these sizes, which are used round and
/// round. Each command with its place: which history, and which command of it.
pub(crate) fn in_groups(histories: &[History], sizes: &[usize]) -> Vec<Vec<(usize, usize)>> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (history, of) in histories.iter().enumerate() {
        places.extend((0..of.sent.len()).map(|place| (history, place)));
    }
    // At one instant the histories take turns.
    places.sort_by_key(|(history, place)| (histories[*history].sent[*place].submission.request.now, *place, *history));
    let mut sizes = sizes.iter().cycle();
    let mut groups = Vec::new();
    while !places.is_empty() {
        let rest = places.split_off(places.len().min(*sizes.next().expect("there are sizes")));
        groups.push(std::mem::replace(&mut places, rest));
    }
    groups
}

/// Says where two things that should be the same are not.
pub(crate) fn differ<T: Debug + PartialEq>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:#?}\nshould be {expected:#?}")) }
}

/// What is kept of an account between two batches, with time applied up to `now`: a command that wrote nothing moved
/// the time of the account in memory only.
fn at_rest(account: &Account, catalogue: &Catalogue, now: Timestamp) -> Account {
    let mut account = account.clone();
    read_at(&mut account.wallet, catalogue, now);
    let periods = account.wallet.tier_windows();
    account.wallet.counters.forget_closed(now, &periods);
    account.wallet.subscriptions.sort_by_key(|subscription| subscription.id);
    account.reservations.retain(|reservation| reservation.status == ReservationStatus::Active);
    account.reservations.sort_by_key(|reservation| reservation.id);
    account.topups.clear();
    account.ended.clear();
    account.settled = Default::default();
    account
}

/// Holds a stored account, with all of its blocks, against the one that was alone.
pub(crate) fn compare_accounts(stored: &Account, alone: &Alone, catalogue: &Catalogue) -> Result<(), String> {
    let now = stored.wallet.time.max(alone.account.wallet.time);
    differ("the stored account", &at_rest(stored, catalogue, now), &at_rest(&alone.account, catalogue, now))?;
    invariants::check(stored).map_err(|broken| broken.to_string())?;
    let mut refold = Refold::new(stored.id);
    for entry in &alone.effects.entries {
        refold.push(entry).map_err(|difference| difference.to_string())?;
    }
    refold.compare(stored).map_err(|difference| difference.to_string())
}

/// Holds a published state against the account as it was then.
pub(crate) fn compare_states(published: &AccountState, after: &Account, catalogue: &Catalogue) -> Result<(), String> {
    let now = published.wallet.time.max(after.wallet.time);
    let brought_to_now = |mut state: AccountState| {
        read_at(&mut state.wallet, catalogue, now);
        let period = state.wallet.base().map(Subscription::tier_window);
        state.wallet.counters.keep_current(now, period);
        state.wallet.subscriptions.sort_by_key(|subscription| subscription.id);
        state
    };
    let expected = brought_to_now(AccountState::publish(after, published.stamp, catalogue));
    differ("the published state", &brought_to_now(published.clone()), &expected)
}
