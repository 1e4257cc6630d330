//! Accounts as the rules see them: the row, its live blocks and its live subscriptions.

use std::collections::HashMap;

use quotastack_core::ids::{AccountId, BlockId, EndUserId, FeatureKey, SubscriptionId, VariantId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::block::{Block, Ending, HasLot, Lot, Origin};
use quotastack_core::ledger::entry::Hash;
use quotastack_core::ledger::proof::Point;
use quotastack_core::ledger::wallet::{Totals, Wallet};
use quotastack_core::subscription::Subscription;
use quotastack_core::time::Timestamp;
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, Ts, bytes, cap_group_of, credits, end_user_id, from_json, named, unsigned};

macro_rules! select_blocks {
    ($rest:literal) => {
        concat!(
            "select account_id, block_id, granted_seq, granted_place, kind, priority, paid, settles_debt, effective_at,
               expires_at, scope, subscription_id, variant_id, template, cap_group, ended, claw_back, original, expired, rolled, withdrawn,
               frozen, rollover, remaining, held, price_paid, currency, metadata
             from blocks ",
            $rest
        )
    };
}

/// What people attach to a block; the rules never look at it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BlockNotes {
    /// What was paid for it, in the currency's smallest unit.
    pub price_paid: Option<i64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The caller's own.
    pub metadata: std::collections::BTreeMap<String, String>,
}

macro_rules! select_accounts {
    ($condition:literal) => {
        concat!(
            "select account_id, end_user_id, seq, version, last_hash, advanced_to, balance, reserved, debt,
               lifetime_granted, lifetime_consumed, debts, given, last_expiry, counters, overrides, rollovers, past, tallies,
               feed_seq
             from accounts join feed using (lane_id, account_id) where lane_id = $1 and ",
            $condition
        )
    };
}

impl Tx {
    /// The accounts of these end users that exist, ready for commands, each with its place in the lane's feed.
    pub async fn load_accounts(
        &mut self,
        lane_id: LaneId,
        end_users: &[EndUserId],
    ) -> sqlx::Result<HashMap<EndUserId, (Account, u64)>> {
        if end_users.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<&str> = end_users.iter().map(EndUserId::as_str).collect();
        let rows = sqlx::query(select_accounts!("end_user_id = any ($2)"))
            .bind(lane_id.0)
            .bind(names)
            .fetch_all(self.connection())
            .await?;
        let accounts = self.complete(lane_id, &rows).await?;
        Ok(accounts.into_iter().map(|(account, stamp)| (account.end_user_id.clone(), (account, stamp))).collect())
    }

    /// The account of an end user, if anything was ever written for them.
    pub async fn find_account(&mut self, lane_id: LaneId, end_user_id: &EndUserId) -> sqlx::Result<Option<AccountId>> {
        let id: Option<Uuid> =
            sqlx::query_scalar("select account_id from accounts where lane_id = $1 and end_user_id = $2")
                .bind(lane_id.0)
                .bind(end_user_id.as_str())
                .fetch_optional(self.connection())
                .await?;
        Ok(id.map(AccountId::from_uuid))
    }

    /// The account of an end user and the `seq` of its last entry, if anything was ever written for them.
    pub async fn find_account_seq(
        &mut self,
        lane_id: LaneId,
        end_user_id: &EndUserId,
    ) -> sqlx::Result<Option<(AccountId, u64)>> {
        let row = sqlx::query("select account_id, seq from accounts where lane_id = $1 and end_user_id = $2")
            .bind(lane_id.0)
            .bind(end_user_id.as_str())
            .fetch_optional(self.connection())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((AccountId::from_uuid(row.try_get("account_id")?), unsigned("seq", row.try_get("seq")?)?)))
    }

    /// Whose these accounts are.
    pub async fn end_users_of(
        &mut self,
        lane_id: LaneId,
        accounts: &[AccountId],
    ) -> sqlx::Result<Vec<(AccountId, EndUserId)>> {
        let ids: Vec<Uuid> = accounts.iter().map(|id| id.uuid()).collect();
        let rows =
            sqlx::query("select account_id, end_user_id from accounts where lane_id = $1 and account_id = any ($2)")
                .bind(lane_id.0)
                .bind(ids)
                .fetch_all(self.connection())
                .await?;
        let found = rows.iter().map(|row| {
            Ok((AccountId::from_uuid(row.try_get("account_id")?), end_user_id(row.try_get("end_user_id")?)?))
        });
        found.collect()
    }

    /// The account of an end user, and where its chain ends.
    pub async fn find_head(
        &mut self,
        lane_id: LaneId,
        end_user_id: &EndUserId,
    ) -> sqlx::Result<Option<(AccountId, Point)>> {
        let row = sqlx::query(
            "select account_id, seq, last_hash, balance, reserved, debt from accounts
             where lane_id = $1 and end_user_id = $2",
        )
        .bind(lane_id.0)
        .bind(end_user_id.as_str())
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let head = Point {
            seq: unsigned("seq", row.try_get("seq")?)?,
            hash: Hash(bytes("last_hash", row.try_get("last_hash")?)?),
            balance: credits("balance", row.try_get("balance")?)?,
            reserved: credits("reserved", row.try_get("reserved")?)?,
            debt: credits("debt", row.try_get("debt")?)?,
        };
        Ok(Some((AccountId::from_uuid(row.try_get("account_id")?), head)))
    }

    /// Whose a block is.
    pub async fn find_block_owner(&mut self, lane_id: LaneId, id: BlockId) -> sqlx::Result<Option<EndUserId>> {
        let name: Option<String> = sqlx::query_scalar(
            "select a.end_user_id from blocks b join accounts a using (lane_id, account_id)
             where b.lane_id = $1 and b.block_id = $2",
        )
        .bind(lane_id.0)
        .bind(id.uuid())
        .fetch_optional(self.connection())
        .await?;
        name.as_deref().map(end_user_id).transpose()
    }

    /// The accounts with these ids, each with its place in the lane's feed.
    pub async fn load_accounts_by_id(
        &mut self,
        lane_id: LaneId,
        ids: &[AccountId],
    ) -> sqlx::Result<Vec<(Account, u64)>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query(select_accounts!("account_id = any ($2)"))
            .bind(lane_id.0)
            .bind(ids)
            .fetch_all(self.connection())
            .await?;
        self.complete(lane_id, &rows).await
    }

    async fn complete(&mut self, lane_id: LaneId, rows: &[PgRow]) -> sqlx::Result<Vec<(Account, u64)>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut accounts = rows.iter().map(account_from_row).collect::<sqlx::Result<Vec<_>>>()?;
        let places: HashMap<AccountId, usize> =
            accounts.iter().enumerate().map(|(place, account)| (account.id, place)).collect();
        let ids: Vec<Uuid> = accounts.iter().map(|account| account.id.uuid()).collect();
        let blocks = sqlx::query(select_blocks!("where lane_id = $1 and account_id = any ($2) and live"))
            .bind(lane_id.0)
            .bind(&ids)
            .fetch_all(self.connection())
            .await?;
        for row in &blocks {
            let account = &mut accounts[places[&AccountId::from_uuid(row.try_get("account_id")?)]];
            account.wallet.lots.push(block_from_row(row)?);
        }
        for account in &mut accounts {
            account.wallet.lots.sort_by(Block::full_order);
        }
        self.add_open_reservations(lane_id, &ids, |id| places[&id], &mut accounts).await?;
        let subscriptions = sqlx::query(
            "select account_id, state from subscriptions where lane_id = $1 and account_id = any ($2) and live
             order by account_id, subscription_id",
        )
        .bind(lane_id.0)
        .bind(&ids)
        .fetch_all(self.connection())
        .await?;
        for row in &subscriptions {
            let account = &mut accounts[places[&AccountId::from_uuid(row.try_get("account_id")?)]];
            account.wallet.subscriptions.push(from_json("state", row.try_get("state")?)?);
        }
        let stamps = rows.iter().map(|row| unsigned("feed_seq", row.try_get("feed_seq")?));
        accounts.into_iter().zip(stamps).map(|(account, stamp)| Ok((account, stamp?))).collect()
    }

    /// The blocks of an account with what people attached to them: the live ones, then the newest of the others.
    pub async fn list_blocks(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        limit: i64,
    ) -> sqlx::Result<Vec<(Block, BlockNotes)>> {
        let rows = sqlx::query(select_blocks!(
            "where lane_id = $1 and account_id = $2
             order by live desc, granted_seq desc, granted_place limit $3"
        ))
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| Ok((block_from_row(row)?, notes_from_row(row)?))).collect()
    }

    /// What people attached to a block, if there is such a block.
    pub async fn block_notes(&mut self, lane_id: LaneId, id: BlockId) -> sqlx::Result<Option<BlockNotes>> {
        let row = sqlx::query(select_blocks!("where lane_id = $1 and block_id = $2"))
            .bind(lane_id.0)
            .bind(id.uuid())
            .fetch_optional(self.connection())
            .await?;
        row.as_ref().map(notes_from_row).transpose()
    }

    /// Blocks by their ids, also those with nothing left, each with its account and what people attached to it.
    pub async fn load_blocks(
        &mut self,
        lane_id: LaneId,
        ids: &[(AccountId, BlockId)],
    ) -> sqlx::Result<Vec<(AccountId, Block, BlockNotes)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (accounts, blocks): (Vec<Uuid>, Vec<Uuid>) =
            ids.iter().map(|(account, block)| (account.uuid(), block.uuid())).unzip();
        let rows = sqlx::query(select_blocks!(
            "join unnest($2::uuid[], $3::uuid[]) as wanted (account_id, block_id) using (account_id, block_id)
             where lane_id = $1"
        ))
        .bind(lane_id.0)
        .bind(accounts)
        .bind(blocks)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(with_account).collect()
    }

    /// The blocks of these accounts that are over and have nothing left, each with its account.
    pub async fn load_used_up_blocks(
        &mut self,
        lane_id: LaneId,
        accounts: &[AccountId],
    ) -> sqlx::Result<Vec<(AccountId, Block)>> {
        let accounts: Vec<Uuid> = accounts.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query(select_blocks!("where lane_id = $1 and account_id = any ($2) and not live"))
            .bind(lane_id.0)
            .bind(accounts)
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| with_account(row).map(|(account, block, _)| (account, block))).collect()
    }

    /// The blocks of these accounts that lost credit to expiry after the instant given for each.
    pub async fn load_expired_blocks(
        &mut self,
        lane_id: LaneId,
        since: &[(AccountId, Timestamp)],
    ) -> sqlx::Result<Vec<(AccountId, Block, BlockNotes)>> {
        if since.is_empty() {
            return Ok(Vec::new());
        }
        let (accounts, instants): (Vec<Uuid>, Vec<Ts>) =
            since.iter().map(|(account, at)| (account.uuid(), Ts(*at))).unzip();
        let rows = sqlx::query(select_blocks!(
            "join unnest($2::uuid[], $3::timestamptz[]) as wanted (account_id, late_from) using (account_id)
             where lane_id = $1 and expired > 0 and expires_at > late_from"
        ))
        .bind(lane_id.0)
        .bind(accounts)
        .bind(instants)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(with_account).collect()
    }

    /// A subscription by its id, and whose it is.
    pub async fn find_subscription(
        &mut self,
        lane_id: LaneId,
        id: SubscriptionId,
    ) -> sqlx::Result<Option<(EndUserId, Subscription)>> {
        let row = sqlx::query(
            "select a.end_user_id, s.state from subscriptions s join accounts a using (lane_id, account_id)
             where s.lane_id = $1 and s.subscription_id = $2",
        )
        .bind(lane_id.0)
        .bind(id.uuid())
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((end_user_id(row.try_get("end_user_id")?)?, from_json("state", row.try_get("state")?)?)))
    }

    /// Up to `limit` subscriptions of an account after `after`, newest first.
    pub async fn list_subscriptions(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        after: Option<SubscriptionId>,
        limit: i64,
    ) -> sqlx::Result<Vec<Subscription>> {
        let rows = sqlx::query(
            "select state from subscriptions where lane_id = $1 and account_id = $2 and subscription_id < $3
             order by subscription_id desc limit $4",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(after.map_or(Uuid::max(), SubscriptionId::uuid))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| from_json("state", row.try_get("state")?)).collect()
    }
}

fn account_from_row(row: &PgRow) -> sqlx::Result<Account> {
    let totals = Totals {
        balance: credits("balance", row.try_get("balance")?)?,
        reserved: credits("reserved", row.try_get("reserved")?)?,
        debt: credits("debt", row.try_get("debt")?)?,
        ..Totals::default()
    };
    let counters: Option<serde_json::Value> = row.try_get("counters")?;
    let overrides: Option<serde_json::Value> = row.try_get("overrides")?;
    let given: Option<serde_json::Value> = row.try_get("given")?;
    let rollovers: Option<serde_json::Value> = row.try_get("rollovers")?;
    let past: Option<serde_json::Value> = row.try_get("past")?;
    let tallies: Option<serde_json::Value> = row.try_get("tallies")?;
    Ok(Account {
        id: AccountId::from_uuid(row.try_get("account_id")?),
        end_user_id: end_user_id(row.try_get("end_user_id")?)?,
        seq: unsigned("seq", row.try_get("seq")?)?,
        version: unsigned("version", row.try_get("version")?)?,
        last_hash: Hash(bytes("last_hash", row.try_get("last_hash")?)?),
        totals: Totals { available: totals.balance - totals.reserved, ..totals },
        lifetime_granted: credits("lifetime_granted", row.try_get("lifetime_granted")?)?,
        lifetime_consumed: credits("lifetime_consumed", row.try_get("lifetime_consumed")?)?,
        last_expiry: row.try_get::<Option<Ts>, _>("last_expiry")?.map(|at| at.0),
        wallet: Wallet {
            time: row.try_get::<Ts, _>("advanced_to")?.0,
            debts: from_json("debts", row.try_get("debts")?)?,
            counters: counters.map_or(Ok(Default::default()), |value| from_json("counters", value))?,
            overrides: overrides.map_or(Ok(Vec::new()), |value| from_json("overrides", value))?,
            given: given.map_or(Ok(Default::default()), |value| from_json("given", value))?,
            past: past.map_or(Ok(Default::default()), |value| from_json("past", value))?,
            rollovers: rollovers.map_or(Ok(Default::default()), |value| from_json("rollovers", value))?,
            ..Wallet::default()
        },
        tallies: tallies.map_or(Ok(Default::default()), |value| from_json("tallies", value))?,
        reservations: Vec::new(),
        ended: Vec::new(),
        topups: Vec::new(),
        settled: Default::default(),
    })
}

fn block_from_row(row: &PgRow) -> sqlx::Result<Block> {
    let scope: Vec<FeatureKey> = from_json("scope", row.try_get("scope")?)?;
    let subscription: Option<Uuid> = row.try_get("subscription_id")?;
    let variant: Option<Uuid> = row.try_get("variant_id")?;
    let template: Option<i16> = row.try_get("template")?;
    let origin = subscription.zip(variant).zip(template).map(|((subscription, variant), template)| Origin {
        subscription_id: SubscriptionId::from_uuid(subscription),
        variant_id: VariantId::from_uuid(variant),
        template: template.unsigned_abs(),
    });
    let id = BlockId::from_uuid(row.try_get("block_id")?);
    let cap_group: Option<&str> = row.try_get("cap_group")?;
    let rollover: Option<serde_json::Value> = row.try_get("rollover")?;
    let place: i16 = row.try_get("granted_place")?;
    Ok(Block {
        id,
        granted: (
            unsigned("granted_seq", row.try_get("granted_seq")?)?,
            u16::try_from(place).expect("places count from 0"),
        ),
        original: credits("original", row.try_get("original")?)?,
        expired: credits("expired", row.try_get("expired")?)?,
        rolled: credits("rolled", row.try_get("rolled")?)?,
        withdrawn: credits("withdrawn", row.try_get("withdrawn")?)?,
        lot: Lot {
            kind: named("kind", row.try_get("kind")?)?,
            priority: u8::try_from(row.try_get::<i16, _>("priority")?).expect("priorities are 0 to 255"),
            paid: row.try_get("paid")?,
            settles_debt: row.try_get("settles_debt")?,
            effective_at: row.try_get::<Ts, _>("effective_at")?.0,
            expires_at: row.try_get::<Option<Ts>, _>("expires_at")?.map(|at| at.0),
            scope,
            remaining: credits("remaining", row.try_get("remaining")?)?,
            held: credits("held", row.try_get("held")?)?,
            origin,
            cap_group: cap_group.map(cap_group_of).transpose()?,
            ended: row.try_get::<Option<&str>, _>("ended")?.map(ending_of),
            claw_back: credits("claw_back", row.try_get("claw_back")?)?,
            frozen: row.try_get("frozen")?,
            rollover: rollover.map(|rule| from_json("rollover", rule)).transpose()?,
        },
    })
}

fn with_account(row: &PgRow) -> sqlx::Result<(AccountId, Block, BlockNotes)> {
    Ok((AccountId::from_uuid(row.try_get("account_id")?), block_from_row(row)?, notes_from_row(row)?))
}

fn notes_from_row(row: &PgRow) -> sqlx::Result<BlockNotes> {
    let metadata: Option<serde_json::Value> = row.try_get("metadata")?;
    Ok(BlockNotes {
        price_paid: row.try_get("price_paid")?,
        currency: row.try_get("currency")?,
        metadata: metadata.map_or(Ok(Default::default()), |value| from_json("metadata", value))?,
    })
}

fn ending_of(name: &str) -> Ending {
    if name == "refunded" { Ending::Refunded } else { Ending::Voided }
}

/// How a block was ended before its time, as it is kept.
pub(super) const fn ending_name(ended: Ending) -> &'static str {
    match ended {
        Ending::Voided => "voided",
        Ending::Refunded => "refunded",
    }
}
