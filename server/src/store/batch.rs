//! What the lane writer writes: everything that a batch of commands left behind, set-based, all in one statement.

use quotastack_core::ids::AccountId;
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::entry::{Actor, Entry};
use quotastack_core::ledger::event::Event;
use quotastack_core::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use quotastack_core::ledger::reservation::Reservation;
use quotastack_core::ledger::topup::Topup;
use quotastack_core::subscription::Subscription;
use quotastack_core::subscription::given::Given;
use quotastack_core::time::Timestamp;

use crate::fault::{self, Point};
use crate::store::accounts::{BlockNotes, ending_name};
use crate::store::due::write_due;
use crate::store::entries::{CauseColumns, allocations_to_json_text, detail_to_json_text};
use crate::store::requests::RequestPeriod;
use crate::store::reservations::write_reservations;
use crate::store::statement::Statement;
use crate::store::topups::write_topups;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, Ts, name_of, signed, to_json, to_json_text};
use crate::store::usage::key_hash;
use crate::store::voids::insert_voids;

/// What a batch left behind in one lane.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Where the lane's feed ends with it.
    pub feed_seq: u64,
    /// Accounts that are new, each with its stamp.
    pub made_accounts: Vec<(&'a Account, u64)>,
    /// Accounts that were there before and changed, each with its new stamp and the version that was read.
    pub changed_accounts: Vec<(&'a Account, u64, u64)>,
    /// Accounts that time alone will next change at another instant than before; `None` = at none.
    pub due: Vec<(AccountId, Option<Timestamp>)>,
    /// Blocks that were made, with what people attached to them, and whether they are live.
    pub made_blocks: Vec<(AccountId, &'a Block, Option<&'a BlockNotes>, bool)>,
    /// Blocks that were there before and changed, and whether they are live now.
    pub changed_blocks: Vec<(AccountId, &'a Block, bool)>,
    /// Made or changed subscriptions, the last state of each.
    pub subscriptions: Vec<(AccountId, &'a Subscription)>,
    /// New entries.
    pub entries: Vec<(AccountId, &'a Entry)>,
    /// Why people made some of them.
    pub reasons: Vec<(AccountId, u64, &'a str)>,
    /// New usage, each with the stamp of its account.
    pub usage: Vec<(AccountId, u64, &'a UsageRecord)>,
    /// Usage that was undone, each with the stamp of its account.
    pub voids: Vec<(AccountId, u64, &'a VoidRecord)>,
    /// Made or changed reservations, each with its account.
    pub reservations: Vec<(&'a Account, &'a Reservation)>,
    /// Made or changed top-ups, the last state of each.
    pub topups: Vec<(AccountId, &'a Topup)>,
    /// New events, each with the stamp of its account and its place among the events of that stamp.
    pub events: Vec<(AccountId, u64, i32, &'a Event)>,
    /// Requests that were carried out.
    pub requests: Vec<NewRequest<'a>>,
}

/// A request that was carried out, to be stored with its effect.
#[derive(Debug)]
pub struct NewRequest<'a> {
    /// Of environment, operation, end user and key.
    pub key_hash: [u8; 16],
    /// Of its body.
    pub request_hash: [u8; 16],
    /// Of the run that carried it out.
    pub seed: [u8; 16],
    /// What came of it.
    pub outcome: &'a Outcome,
}

/// The lane that a batch is written to, and the instant it is stamped with.
#[derive(Debug, Clone, Copy)]
pub struct BatchPlace {
    /// The environment.
    pub environment_id: EnvironmentId,
    /// The lane, locked by this transaction.
    pub lane_id: LaneId,
    /// The batch's now.
    pub now: Timestamp,
    /// The real time, from which requests are kept.
    pub real_now: Timestamp,
}

/// One column of a set of rows.
pub(super) fn column<T, U>(rows: &[T], value: impl Fn(&T) -> U) -> Vec<U> {
    rows.iter().map(value).collect()
}

impl Tx {
    /// Writes a batch and moves its lane on, as one statement.
    pub async fn write_batch(&mut self, place: BatchPlace, batch: &Batch<'_>) -> sqlx::Result<()> {
        let mut statement = Statement::new(place.lane_id.0, place.environment_id.0);
        move_lane(&mut statement, batch.feed_seq, place.now);
        insert_accounts(&mut statement, &batch.made_accounts);
        update_accounts(&mut statement, &batch.changed_accounts);
        write_due(&mut statement, &batch.due);
        insert_blocks(&mut statement, &batch.made_blocks);
        update_blocks(&mut statement, &batch.changed_blocks);
        write_subscriptions(&mut statement, place.now, &batch.subscriptions);
        insert_entries(&mut statement, &batch.entries);
        insert_reasons(&mut statement, &batch.reasons);
        insert_usage(&mut statement, &batch.usage);
        insert_voids(&mut statement, &batch.voids);
        write_reservations(&mut statement, &batch.reservations);
        write_topups(&mut statement, &batch.topups);
        insert_events(&mut statement, &batch.events);
        insert_requests(&mut statement, place.real_now, &batch.requests);
        fault::underway(Point::WriteUnderway, statement.execute(self.connection())).await
    }
}

fn move_lane(statement: &mut Statement, feed_seq: u64, now: Timestamp) {
    statement
        .update("lanes", 1, "update lanes set feed_seq = $3, last_now = $4 where lane_id = $1")
        .bind(signed(feed_seq))
        .bind(Ts(now));
}

fn insert_accounts(statement: &mut Statement, rows: &[(&Account, u64)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "insert into accounts (lane_id, environment_id, account_id, end_user_id, seq, version, last_hash, advanced_to,
          balance, reserved, debt, lifetime_granted, lifetime_consumed, last_expiry, debts, given, counters,
          overrides, rollovers, past, tallies)
        select $1, $2, account_id, end_user_id, seq, version, last_hash, advanced_to, balance, reserved, debt, granted,
          consumed, last_expiry, debts::jsonb, given::jsonb, counters::jsonb, overrides::jsonb, rollovers::jsonb,
          past::jsonb, tallies::jsonb
        from unnest($3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::timestamptz[], $9::bigint[],
          $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::timestamptz[], $15::text[], $16::text[],
          $17::text[], $18::text[], $19::text[], $20::text[], $21::text[])
          as t (account_id, end_user_id, seq, version, last_hash, advanced_to, balance, reserved, debt, granted, consumed,
            last_expiry, debts, given, counters, overrides, rollovers, past, tallies)";
    statement
        .part(sql)
        .bind(column(rows, |(account, _)| account.id.uuid()))
        .bind(column(rows, |(account, _)| account.end_user_id.as_str()));
    bind_figures(statement, &column(rows, |(account, _)| *account));
    let sql = "insert into feed (lane_id, environment_id, account_id, feed_seq)
        select $1, $2, account_id, feed_seq from unnest($3::uuid[], $4::bigint[]) as t (account_id, feed_seq)";
    statement
        .part(sql)
        .bind(column(rows, |(account, _)| account.id.uuid()))
        .bind(column(rows, |(_, stamp)| signed(*stamp)));
}

/// Not as an upsert, which costs three times as much per row. One with another version than was read is not what the rules
/// decided from.
fn update_accounts(statement: &mut Statement, rows: &[(&Account, u64, u64)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "update accounts a set seq = t.seq, version = t.version, last_hash = t.last_hash, advanced_to = t.advanced_to,
          balance = t.balance, reserved = t.reserved, debt = t.debt, lifetime_granted = t.granted,
          lifetime_consumed = t.consumed, last_expiry = t.last_expiry, debts = t.debts::jsonb,
          given = t.given::jsonb, counters = t.counters::jsonb, overrides = t.overrides::jsonb,
          rollovers = t.rollovers::jsonb, past = t.past::jsonb, tallies = t.tallies::jsonb
        from unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::bytea[], $7::timestamptz[], $8::bigint[], $9::bigint[],
          $10::bigint[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::text[], $15::text[], $16::text[],
          $17::text[], $18::text[], $19::text[], $20::text[], $21::bigint[])
          as t (account_id, seq, version, last_hash, advanced_to, balance, reserved, debt, granted, consumed, last_expiry,
            debts, given, counters, overrides, rollovers, past, tallies, version_read)
        where a.lane_id = $1 and a.account_id = t.account_id and a.version = t.version_read";
    statement.update("accounts", rows.len(), sql).bind(column(rows, |(account, ..)| account.id.uuid()));
    bind_figures(statement, &column(rows, |(account, ..)| *account));
    statement.bind(column(rows, |(.., version_read)| signed(*version_read)));
    let sql =
        "update feed f set feed_seq = t.feed_seq from unnest($3::uuid[], $4::bigint[]) as t (account_id, feed_seq)
        where f.lane_id = $1 and f.account_id = t.account_id";
    statement
        .update("feed", rows.len(), sql)
        .bind(column(rows, |(account, ..)| account.id.uuid()))
        .bind(column(rows, |(_, stamp, _)| signed(*stamp)));
}

/// What changes of an account, from its `seq` to its tallies.
fn bind_figures(statement: &mut Statement, rows: &[&Account]) {
    statement
        .bind(column(rows, |account| signed(account.seq)))
        .bind(column(rows, |account| signed(account.version)))
        .bind(column(rows, |account| account.last_hash.0.as_slice()))
        .bind(column(rows, |account| Ts(account.wallet.time)))
        .bind(column(rows, |account| account.totals.balance.get()))
        .bind(column(rows, |account| account.totals.reserved.get()))
        .bind(column(rows, |account| account.totals.debt.get()))
        .bind(column(rows, |account| account.lifetime_granted.get()))
        .bind(column(rows, |account| account.lifetime_consumed.get()))
        .bind(column(rows, |account| account.last_expiry.map(Ts)))
        .bind(column(rows, |account| to_json_text(&account.wallet.debts)))
        .bind(column(rows, |account| {
            let given = &account.wallet.given;
            (*given != Given::default()).then(|| to_json_text(given))
        }))
        .bind(column(rows, |account| {
            let counters = &account.wallet.counters;
            (!counters.is_empty()).then(|| to_json_text(counters))
        }))
        .bind(column(rows, |account| {
            let overrides = &account.wallet.overrides;
            (!overrides.is_empty()).then(|| to_json_text(overrides))
        }))
        .bind(column(rows, |account| {
            let rollovers = &account.wallet.rollovers;
            (!rollovers.is_empty()).then(|| to_json_text(rollovers))
        }))
        .bind(column(rows, |account| {
            let past = &account.wallet.past;
            (!past.is_empty()).then(|| to_json_text(past))
        }))
        .bind(column(rows, |account| (!account.tallies.is_empty()).then(|| to_json_text(&account.tallies))));
}

fn insert_blocks(statement: &mut Statement, rows: &[(AccountId, &Block, Option<&BlockNotes>, bool)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "insert into blocks (lane_id, environment_id, account_id, block_id, granted_seq, granted_place, kind, priority, paid,
          settles_debt, effective_at, expires_at, scope, subscription_id, template, original, expired, remaining, held,
          price_paid, currency, metadata, withdrawn, variant_id, cap_group, ended, claw_back, rolled, frozen, rollover, live)
        select $1, $2, account_id, block_id, granted_seq, granted_place, kind, priority, paid, settles_debt, effective_at,
          expires_at, scope::jsonb, subscription_id, template, original, expired, remaining, held, price_paid, currency,
          metadata::jsonb, withdrawn, variant_id, cap_group, ended, claw_back, rolled, frozen, rollover::jsonb, live
        from unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::smallint[], $7::text[], $8::smallint[], $9::boolean[],
          $10::boolean[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::uuid[], $15::smallint[], $16::bigint[],
          $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::text[], $22::text[],
          $23::bigint[], $24::uuid[], $25::text[], $26::text[], $27::bigint[], $28::bigint[], $29::boolean[], $30::text[],
          $31::boolean[])
          as t (account_id, block_id, granted_seq, granted_place, kind, priority, paid, settles_debt, effective_at,
            expires_at, scope, subscription_id, template, original, expired, remaining, held, price_paid, currency, metadata,
            withdrawn, variant_id, cap_group, ended, claw_back, rolled, frozen, rollover, live)";
    statement
        .part(sql)
        .bind(column(rows, |(account, ..)| account.uuid()))
        .bind(column(rows, |(_, block, ..)| block.id.uuid()))
        .bind(column(rows, |(_, block, ..)| signed(block.granted.0)))
        .bind(column(rows, |(_, block, ..)| i16::try_from(block.granted.1).expect("a command grants few blocks")))
        .bind(column(rows, |(_, block, ..)| name_of(&block.lot.kind)))
        .bind(column(rows, |(_, block, ..)| i16::from(block.lot.priority)))
        .bind(column(rows, |(_, block, ..)| block.lot.paid))
        .bind(column(rows, |(_, block, ..)| block.lot.settles_debt))
        .bind(column(rows, |(_, block, ..)| Ts(block.lot.effective_at)))
        .bind(column(rows, |(_, block, ..)| block.lot.expires_at.map(Ts)))
        .bind(column(rows, |(_, block, ..)| to_json_text(&block.lot.scope)))
        .bind(column(rows, |(_, block, ..)| block.lot.origin.map(|origin| origin.subscription_id.uuid())))
        .bind(column(rows, |(_, block, ..)| {
            block.lot.origin.map(|origin| i16::try_from(origin.template).expect("a variant has few templates"))
        }))
        .bind(column(rows, |(_, block, ..)| block.original.get()))
        .bind(column(rows, |(_, block, ..)| block.expired.get()))
        .bind(column(rows, |(_, block, ..)| block.lot.remaining.get()))
        .bind(column(rows, |(_, block, ..)| block.lot.held.get()))
        .bind(column(rows, |(_, _, notes, _)| notes.and_then(|notes| notes.price_paid)))
        .bind(column(rows, |(_, _, notes, _)| notes.and_then(|notes| notes.currency.as_deref())))
        .bind(column(rows, |(_, _, notes, _)| notes.map(|notes| to_json_text(&notes.metadata))))
        .bind(column(rows, |(_, block, ..)| block.withdrawn.get()))
        .bind(column(rows, |(_, block, ..)| block.lot.origin.map(|origin| origin.variant_id.uuid())))
        .bind(column(rows, |(_, block, ..)| block.lot.cap_group.as_ref().map(ToString::to_string)))
        .bind(column(rows, |(_, block, ..)| block.lot.ended.map(ending_name)))
        .bind(column(rows, |(_, block, ..)| block.lot.claw_back.get()))
        .bind(column(rows, |(_, block, ..)| block.rolled.get()))
        .bind(column(rows, |(_, block, ..)| block.lot.frozen))
        .bind(column(rows, |(_, block, ..)| block.lot.rollover.as_ref().map(to_json_text)))
        .bind(column(rows, |(.., live)| *live));
}

/// Writes what of a block can change.
fn update_blocks(statement: &mut Statement, rows: &[(AccountId, &Block, bool)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "update blocks b set expired = t.expired, withdrawn = t.withdrawn, remaining = t.remaining, held = t.held,
          ended = t.ended, claw_back = t.claw_back, original = t.original, rolled = t.rolled, frozen = t.frozen,
          expires_at = t.expires_at, rollover = t.rollover::jsonb, live = t.live
        from unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::bigint[],
          $11::bigint[], $12::bigint[], $13::boolean[], $14::timestamptz[], $15::text[], $16::boolean[])
          as t (account_id, block_id, expired, withdrawn, remaining, held, ended, claw_back, original, rolled, frozen,
            expires_at, rollover, live)
        where b.lane_id = $1 and b.account_id = t.account_id and b.block_id = t.block_id";
    statement
        .update("blocks", rows.len(), sql)
        .bind(column(rows, |(account, ..)| account.uuid()))
        .bind(column(rows, |(_, block, _)| block.id.uuid()))
        .bind(column(rows, |(_, block, _)| block.expired.get()))
        .bind(column(rows, |(_, block, _)| block.withdrawn.get()))
        .bind(column(rows, |(_, block, _)| block.lot.remaining.get()))
        .bind(column(rows, |(_, block, _)| block.lot.held.get()))
        .bind(column(rows, |(_, block, _)| block.lot.ended.map(ending_name)))
        .bind(column(rows, |(_, block, _)| block.lot.claw_back.get()))
        .bind(column(rows, |(_, block, _)| block.original.get()))
        .bind(column(rows, |(_, block, _)| block.rolled.get()))
        .bind(column(rows, |(_, block, _)| block.lot.frozen))
        .bind(column(rows, |(_, block, _)| block.lot.expires_at.map(Ts)))
        .bind(column(rows, |(_, block, _)| block.lot.rollover.as_ref().map(to_json_text)))
        .bind(column(rows, |(.., live)| *live));
}

fn write_subscriptions(statement: &mut Statement, now: Timestamp, rows: &[(AccountId, &Subscription)]) {
    if rows.is_empty() {
        return;
    }
    let sql =
        "insert into subscriptions (lane_id, environment_id, created_at, account_id, subscription_id, live, state)
        select $1, $2, $3, account_id, subscription_id, live, state::jsonb
        from unnest($4::uuid[], $5::uuid[], $6::boolean[], $7::text[]) as t (account_id, subscription_id, live, state)
        on conflict (lane_id, subscription_id) do update set live = excluded.live, state = excluded.state";
    statement
        .part(sql)
        .bind(Ts(now))
        .bind(column(rows, |(account, _)| account.uuid()))
        .bind(column(rows, |(_, subscription)| subscription.id.uuid()))
        .bind(column(rows, |(_, subscription)| !subscription.status.is_over()))
        .bind(column(rows, |(_, subscription)| to_json_text(subscription)));
}

fn insert_entries(statement: &mut Statement, rows: &[(AccountId, &Entry)]) {
    if rows.is_empty() {
        return;
    }
    let causes: Vec<_> = column(rows, |(_, entry)| CauseColumns::of(&entry.body.cause));
    let actor = |actor: Actor| match actor {
        Actor::Key(id) => Some(id.uuid()),
        Actor::System => None,
    };
    let sql =
        "insert into entries (lane_id, environment_id, account_id, seq, kind, amount, balance_after, reserved_after,
          debt_after, allocations, granted, cause, cause_id, feature_key, units, effective_at, recorded_at, actor, hash,
          reservation_id, detail)
        select $1, $2, account_id, seq, kind, amount, balance_after, reserved_after, debt_after, allocations::jsonb,
          granted::jsonb, cause, cause_id, feature_key, units, effective_at, recorded_at, actor, hash, reservation_id,
          detail::jsonb
        from unnest($3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
          $10::text[], $11::text[], $12::text[], $13::uuid[], $14::text[], $15::bigint[], $16::timestamptz[],
          $17::timestamptz[], $18::uuid[], $19::bytea[], $20::uuid[], $21::text[])
          as t (account_id, seq, kind, amount, balance_after, reserved_after, debt_after, allocations, granted, cause,
            cause_id, feature_key, units, effective_at, recorded_at, actor, hash, reservation_id, detail)";
    statement
        .part(sql)
        .bind(column(rows, |(account, _)| account.uuid()))
        .bind(column(rows, |(_, entry)| signed(entry.seq)))
        .bind(column(rows, |(_, entry)| entry.body.kind.name()))
        .bind(column(rows, |(_, entry)| entry.body.amount.get()))
        .bind(column(rows, |(_, entry)| entry.balance_after.get()))
        .bind(column(rows, |(_, entry)| entry.reserved_after.get()))
        .bind(column(rows, |(_, entry)| entry.debt_after.get()))
        .bind(column(rows, |(_, entry)| allocations_to_json_text(&entry.body.allocations)))
        .bind(column(rows, |(_, entry)| {
            let granted = &entry.body.granted;
            (!granted.is_empty()).then(|| to_json_text(granted))
        }))
        .bind(column(&causes, |cause| cause.name))
        .bind(column(&causes, |cause| cause.id))
        .bind(column(&causes, |cause| cause.feature_key))
        .bind(column(&causes, |cause| cause.units))
        .bind(column(rows, |(_, entry)| Ts(entry.body.effective_at)))
        .bind(column(rows, |(_, entry)| Ts(entry.recorded_at)))
        .bind(column(rows, |(_, entry)| actor(entry.actor)))
        .bind(column(rows, |(_, entry)| entry.hash.0.as_slice()))
        .bind(column(&causes, |cause| cause.reservation_id))
        .bind(column(rows, |(_, entry)| detail_to_json_text(&entry.body)));
}

fn insert_reasons(statement: &mut Statement, rows: &[(AccountId, u64, &str)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "insert into entry_reasons (lane_id, environment_id, account_id, seq, reason)
        select $1, $2, account_id, seq, reason
        from unnest($3::uuid[], $4::bigint[], $5::text[]) as t (account_id, seq, reason)";
    statement
        .part(sql)
        .bind(column(rows, |(account, ..)| account.uuid()))
        .bind(column(rows, |(_, seq, _)| signed(*seq)))
        .bind(column(rows, |(.., reason)| (*reason).to_owned()));
}

fn insert_usage(statement: &mut Statement, rows: &[(AccountId, u64, &UsageRecord)]) {
    if rows.is_empty() {
        return;
    }
    let sql = "insert into usage_events (lane_id, environment_id, account_id, key_hash, usage_id, idempotency_key, fingerprint,
          feature_key, units, properties, cost, charged, effective_at, recorded_at, seq, version, balance_after,
          reserved_after, debt_after, owed, priced_by, counter, reservation_id, feed_seq)
        select $1, $2, account_id, key_hash, usage_id, idempotency_key, fingerprint, feature_key, units, properties::jsonb,
          cost, charged, effective_at, recorded_at, seq, version, balance_after, reserved_after, debt_after, owed,
          priced_by::jsonb, counter::jsonb, reservation_id, feed_seq
        from unnest($3::uuid[], $4::bytea[], $5::uuid[], $6::text[], $7::bytea[], $8::text[], $9::bigint[], $10::text[],
          $11::bigint[], $12::bigint[], $13::timestamptz[], $14::timestamptz[], $15::bigint[], $16::bigint[],
          $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::text[], $22::text[], $23::uuid[], $24::bigint[])
          as t (account_id, key_hash, usage_id, idempotency_key, fingerprint, feature_key, units, properties, cost, charged,
            effective_at, recorded_at, seq, version, balance_after, reserved_after, debt_after, owed, priced_by, counter,
            reservation_id, feed_seq)";
    statement
        .part(sql)
        .bind(column(rows, |(account, ..)| account.uuid()))
        .bind(column(rows, |(.., usage)| key_hash(&usage.key).to_vec()))
        .bind(column(rows, |(.., usage)| usage.id.uuid()))
        .bind(column(rows, |(.., usage)| usage.key.as_str()))
        .bind(column(rows, |(.., usage)| usage.fingerprint.as_slice()))
        .bind(column(rows, |(.., usage)| usage.feature_key.as_str()))
        .bind(column(rows, |(.., usage)| usage.units.get()))
        .bind(column(rows, |(.., usage)| (!usage.properties.is_empty()).then(|| to_json_text(&usage.properties))))
        .bind(column(rows, |(.., usage)| usage.cost.get()))
        .bind(column(rows, |(.., usage)| usage.charged.get()))
        .bind(column(rows, |(.., usage)| Ts(usage.effective_at)))
        .bind(column(rows, |(.., usage)| Ts(usage.recorded_at)))
        .bind(column(rows, |(.., usage)| signed(usage.seq)))
        .bind(column(rows, |(.., usage)| signed(usage.version)))
        .bind(column(rows, |(.., usage)| usage.totals.balance.get()))
        .bind(column(rows, |(.., usage)| usage.totals.reserved.get()))
        .bind(column(rows, |(.., usage)| usage.totals.debt.get()))
        .bind(column(rows, |(.., usage)| usage.owed.get()))
        .bind(column(rows, |(.., usage)| to_json_text(&usage.priced_by)))
        .bind(column(rows, |(.., usage)| usage.counter.as_ref().map(to_json_text)))
        .bind(column(rows, |(.., usage)| usage.reservation_id.map(|id| id.uuid())))
        .bind(column(rows, |(_, stamp, _)| signed(*stamp)));
}

fn insert_events(statement: &mut Statement, rows: &[(AccountId, u64, i32, &Event)]) {
    if rows.is_empty() {
        return;
    }
    let kinds: Vec<serde_json::Value> = column(rows, |(.., event)| to_json(&event.kind));
    let text = |kind: &serde_json::Value| kind["type"].as_str().expect("events are tagged").to_owned();
    let sql =
        "insert into events (lane_id, environment_id, account_id, feed_seq, place, event_id, occurred_at, type, data)
        select $1, $2, account_id, feed_seq, place, event_id, occurred_at, type, data::jsonb
        from unnest($3::uuid[], $4::bigint[], $5::integer[], $6::uuid[], $7::timestamptz[], $8::text[], $9::text[])
          as t (account_id, feed_seq, place, event_id, occurred_at, type, data)";
    statement
        .part(sql)
        .bind(column(rows, |(account, ..)| account.uuid()))
        .bind(column(rows, |(_, stamp, ..)| signed(*stamp)))
        .bind(column(rows, |(_, _, place, _)| *place))
        .bind(column(rows, |(.., event)| event.id.uuid()))
        .bind(column(rows, |(.., event)| Ts(event.at)))
        .bind(column(&kinds, text))
        .bind(column(&kinds, |kind| kind["data"].to_string()));
}

fn insert_requests(statement: &mut Statement, real_now: Timestamp, rows: &[NewRequest<'_>]) {
    if rows.is_empty() {
        return;
    }
    let seeds: Vec<Vec<u8>> = column(rows, |row| row.seed.to_vec());
    let period = RequestPeriod::at(real_now);
    let sql =
        "insert into account_requests (lane_id, environment_id, created_at, period, slot, key_hash, request_hash, seed,
          outcome)
        select $1, $2, $3, $4, $5, key_hash, request_hash, seed, outcome::jsonb
        from unnest($6::bytea[], $7::bytea[], $8::bytea[], $9::text[]) as t (key_hash, request_hash, seed, outcome)";
    statement
        .part(sql)
        .bind(Ts(real_now))
        .bind(period.number())
        .bind(period.slot())
        .bind(column(rows, |row| row.key_hash.to_vec()))
        .bind(column(rows, |row| row.request_hash.to_vec()))
        .bind(seeds)
        .bind(column(rows, |row| to_json_text(row.outcome)));
}
