//! Moving the subscribers of a variant to its newest version, page by page.
//!
//! Nobody is moved twice: who has the newest version is not moved again, so a call that was cut off is simply repeated.
//! Source: docs/subscriptions.md, "Migration".

use quotastack_core::ids::{EndUserId, SubscriptionId, VariantId};
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::outcome::Standing;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::subscription::order::{Action, ChangeCredits, SubscriptionOrder, When};
use serde::{Deserialize, Serialize};

use crate::app::auth::Principal;
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::idempotency::RequestIdentity;
use crate::app::root::{App, submission};
use crate::app::variants::archived_variant;
use crate::store::subscribers::Subscriber;
use crate::store::tx::Tx;
use crate::store::types::EnvironmentId;

/// One page of a migration.
#[derive(Debug, Clone, Copy)]
pub struct MigrationOrder {
    /// Whose subscribers move.
    pub variant_id: VariantId,
    /// When each of them does.
    pub at: When,
    /// What becomes of the credit of a change now.
    pub credits: ChangeCredits,
    /// Whether to say what would happen, and do nothing.
    pub preview: bool,
    /// Subscriptions of a page.
    pub limit: usize,
    /// Behind which subscription the page begins.
    pub after: Option<Place>,
}

/// How far a migration is: lanes are worked through in order, each by its subscriptions' ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The lane's number.
    pub lane: u16,
    /// The last subscription in it; `None` = none yet.
    pub subscription_id: Option<SubscriptionId>,
}

/// What came of one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationPage {
    /// The newest version, to which subscribers move.
    pub version: u32,
    /// The subscriptions of the page.
    pub rows: Vec<Migrated>,
    /// Subscriptions to earlier versions behind this page.
    pub remaining: u64,
    /// Where the next page begins; `None` = there is none.
    pub next: Option<Place>,
}

/// What came of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrated {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Whose it is.
    pub end_user_id: EndUserId,
    /// The version that it had.
    pub from_version: u32,
    /// What came of it.
    pub result: Moved,
}

/// Whether a subscription moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moved {
    /// It did, or will at its period's end.
    Migrated,
    /// It would: the account before and with it.
    Would(Standing, Standing),
    /// It had been moved already.
    Unchanged,
    /// The rules refuse it.
    Refused {
        /// The stable code of why.
        code: String,
        /// Why, for people.
        detail: String,
    },
}

impl App {
    /// Moves, or previews, one page of a variant's subscribers. Whether an earlier request with the same key did it.
    pub async fn migrate_variant(
        &self,
        principal: &Principal,
        order: MigrationOrder,
        identity: Option<RequestIdentity>,
    ) -> Result<(MigrationPage, bool), AppError> {
        let environment = principal.environment_id;
        let identity = identity.filter(|_| !order.preview);
        if let Some(identity) = identity
            && let Some(page) =
                migrated_before(&mut self.store.begin(environment).await?, environment, identity).await?
        {
            return Ok((page, true));
        }
        let page = self.migrate_page(principal, order).await?;
        let Some(identity) = identity else { return Ok((page, false)) };
        let mut tx = self.store.begin(environment).await?;
        tx.lock_catalogue(environment).await?;
        // The same request at the same time: each subscription moved once, and the answer that was stored first stands.
        if let Some(first) = migrated_before(&mut tx, environment, identity).await? {
            return Ok((first, true));
        }
        let answer = serde_json::to_value(&page).expect("a page has a JSON form");
        let RequestIdentity { key_hash, request_hash } = identity;
        tx.insert_catalogue_request(environment, &key_hash, &request_hash, &answer, clock::now()).await?;
        tx.commit().await?;
        Ok((page, false))
    }

    async fn migrate_page(&self, principal: &Principal, order: MigrationOrder) -> Result<MigrationPage, AppError> {
        let environment = self.environment(principal.environment_id).await?;
        let latest = self.variant(principal.environment_id, order.variant_id, None).await?.variant;
        if latest.archived {
            return Err(archived_variant(order.variant_id));
        }
        let lanes = &environment.handle.lanes;
        let mut page = MigrationPage { version: latest.version, rows: Vec::new(), remaining: 0, next: None };
        let mut place = order.after.unwrap_or(Place { lane: 0, subscription_id: None });
        while let Some(lane_id) = lanes.get(usize::from(place.lane)) {
            let wanted = order.limit - page.rows.len();
            if wanted == 0 {
                page.next = Some(place);
                break;
            }
            let mut tx = self.store.begin(principal.environment_id).await?;
            let found =
                tx.list_subscribers(*lane_id, order.variant_id, latest.version, place.subscription_id, wanted).await?;
            tx.commit().await?;
            let last = found.last().map(|subscriber| subscriber.subscription_id);
            let is_all = found.len() < wanted;
            page.rows.extend(self.migrate_lane(principal, place.lane, order, latest.version, found).await?);
            place = if is_all {
                Place { lane: place.lane + 1, subscription_id: None }
            } else {
                Place { subscription_id: last, ..place }
            };
        }
        if let Some(next) = page.next {
            let mut tx = self.store.begin(principal.environment_id).await?;
            let (first, rest) = lanes[usize::from(next.lane)..].split_first().expect("the next page begins in a lane");
            let (variant, version) = (order.variant_id, latest.version);
            page.remaining = tx.count_subscribers(&[*first], variant, version, next.subscription_id).await?
                + tx.count_subscribers(rest, variant, version, None).await?;
            page.next = Some(next).filter(|_| page.remaining > 0);
        }
        Ok(page)
    }

    /// Moves subscribers of one lane, all of them in one transaction.
    async fn migrate_lane(
        &self,
        principal: &Principal,
        lane: u16,
        order: MigrationOrder,
        version: u32,
        subscribers: Vec<Subscriber>,
    ) -> Result<Vec<Migrated>, AppError> {
        if subscribers.is_empty() {
            return Ok(Vec::new());
        }
        let command = |subscriber: &Subscriber| {
            let action = Action::Migrate { at: order.at, credits: order.credits };
            Command::Subscription(SubscriptionOrder { id: subscriber.subscription_id, action })
        };
        let results: Vec<Result<Moved, AppError>> = if order.preview {
            let commands = subscribers.iter().map(|it| (it.end_user_id.clone(), command(it))).collect();
            let previews = self.preview(principal, lane, commands).await?.into_iter();
            previews.map(|preview| preview.map(|preview| Moved::Would(preview.before, preview.after))).collect()
        } else {
            let commands = subscribers.iter();
            let commands = commands.map(|it| submission(principal, it.end_user_id.clone(), command(it), None, None));
            let written = self.write_lane(principal.environment_id, lane, commands.collect()).await?;
            written.results.into_iter().map(|decided| decided.into_result().map(|_| Moved::Migrated)).collect()
        };
        let rows = subscribers.into_iter().zip(results);
        rows.map(|(subscriber, result)| migrated(subscriber, order.at, version, result)).collect()
    }
}

/// The answer to an earlier request with this key.
async fn migrated_before(
    tx: &mut Tx,
    environment: EnvironmentId,
    identity: RequestIdentity,
) -> Result<Option<MigrationPage>, AppError> {
    let found = tx.find_catalogue_request(environment, &identity.key_hash, clock::now()).await?;
    let Some((request_hash, answer, _)) = found else { return Ok(None) };
    if request_hash != identity.request_hash {
        return Err(AppError::KeyReused);
    }
    serde_json::from_value(answer).map(Some).map_err(|error| AppError::Internal(Box::new(error)))
}

fn migrated(
    subscriber: Subscriber,
    at: When,
    version: u32,
    result: Result<Moved, AppError>,
) -> Result<Migrated, AppError> {
    let Subscriber { subscription_id, end_user_id, state } = subscriber;
    let is_waiting = at == When::PeriodEnd && state.pending_change.is_some_and(|to| to.variant_version == version);
    let result = match result {
        Err(AppError::Refused(Refusal::NothingToChange(_))) => Moved::Unchanged,
        Ok(_) if is_waiting => Moved::Unchanged,
        Ok(moved) => moved,
        Err(AppError::Refused(refusal)) => {
            Moved::Refused { code: refusal.code().as_str().to_owned(), detail: refusal.to_string() }
        }
        Err(other) => return Err(other),
    };
    Ok(Migrated { subscription_id, end_user_id, from_version: state.variant_version, result })
}
