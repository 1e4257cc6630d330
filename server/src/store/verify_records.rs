//! What a verifier asks of the records that belong to entries: usage events, voids, reservations and top-ups, each held
//! against its entry, and the other way round.
//!
//! A record is written in the transaction of its entry and every question is one statement, so what others write
//! meanwhile is seen as a whole or not at all.

use quotastack_core::ids::{AccountId, EndUserId, ReservationId, TopupId, UsageId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, end_user_id, unsigned};

/// Differences that one question answers with at most.
pub const DIFFERENCES_MAX: i64 = 100;

/// Something stored that is not what belongs to it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDifference {
    /// Whose it is; `None` for the sums of a lane.
    pub account_id: Option<AccountId>,
    /// Likewise; `None` also where there is no such account.
    pub end_user_id: Option<EndUserId>,
    /// The entry that it belongs to, or would.
    pub seq: Option<u64>,
    /// What differs, and of which record.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// Accounts with an id in `(after, up_to]`, whether or not there is such an account.
#[derive(Debug, Clone, Copy)]
pub struct AccountRange {
    /// Behind this one,
    pub after: Uuid,
    /// up to this one.
    pub up_to: Uuid,
}

/// `$1` the lane, `$2` and `$3` the accounts. Each answers rows of one form: the account, its end user, the entry, the kind
/// and the id of the record, what differs, what was expected and found.
const QUESTIONS: [&str; 6] = [ENTRIES_WITHOUT_ACCOUNT, ENTRIES_BEYOND_HEAD, ENTRIES, USAGE, RESERVATIONS, TOPUPS];

/// Jumps from account to account along the primary key.
const ENTRIES_WITHOUT_ACCOUNT: &str = "
    with recursive ids as (
      (select account_id from entries where lane_id = $1 and account_id > $2 and account_id <= $3
       order by account_id limit 1)
      union all
      select (select e.account_id from entries e where e.lane_id = $1 and e.account_id > ids.account_id
                and e.account_id <= $3 order by e.account_id limit 1)
      from ids where ids.account_id is not null)
    select i.account_id, null as end_user_id,
      (select max(e.seq) from entries e where e.lane_id = $1 and e.account_id = i.account_id) as seq,
      '' as record, null::uuid as record_id, 'account of these entries' as what, 'there' as expected, 'missing' as found
    from ids i
    where i.account_id is not null
      and not exists (select from accounts a where a.lane_id = $1 and a.account_id = i.account_id)
    limit $4";

const ENTRIES_BEYOND_HEAD: &str = "
    select a.account_id, a.end_user_id, e.seq, '' as record, null::uuid as record_id,
      'entry beyond the last one of the account' as what, 'none after ' || a.seq as expected, 'entry ' || e.seq as found
    from accounts a cross join lateral (
      select b.seq from entries b where b.lane_id = $1 and b.account_id = a.account_id and b.seq > a.seq
      order by b.seq limit 1) as e
    where a.lane_id = $1 and a.account_id > $2 and a.account_id <= $3
    limit $4";

/// Entries of usage, and of its voids, without the record.
const ENTRIES: &str = "
    select e.account_id, a.end_user_id, e.seq, case e.kind when 'void' then 'void' else 'usage' end as record,
      e.cause_id as record_id, 'record of this entry' as what, 'there' as expected, 'missing' as found
    from entries e left join accounts a on a.lane_id = $1 and a.account_id = e.account_id
    where e.lane_id = $1 and e.account_id > $2 and e.account_id <= $3 and e.kind in ('usage', 'commit', 'void')
      and case e.kind
        when 'void' then not exists (select from usage_voids v where v.lane_id = $1 and v.usage_id = e.cause_id
          and v.account_id = e.account_id and v.seq = e.seq)
        else not exists (select from usage_events u where u.lane_id = $1 and u.usage_id = e.cause_id
          and u.account_id = e.account_id and u.seq = e.seq)
      end
    limit $4";

/// What an event owes is in the entry right behind its own.
const USAGE: &str = "
    select u.account_id, a.end_user_id, u.seq, 'usage' as record, u.usage_id as record_id, f.what, f.expected, f.found
    from usage_events u
    left join entries e on e.lane_id = $1 and e.account_id = u.account_id and e.seq = u.seq
      and e.kind in ('usage', 'commit') and e.cause_id = u.usage_id
    left join entries d on d.lane_id = $1 and d.account_id = u.account_id and d.seq = u.seq + 1
      and d.kind = 'debt' and d.cause_id = u.usage_id
    left join accounts a on a.lane_id = $1 and a.account_id = u.account_id
    cross join lateral (values
      ('entry', 'there', case when e.seq is null then 'missing' else 'there' end),
      ('feature_key', e.feature_key, u.feature_key),
      ('units', e.units::text, u.units::text),
      ('charged', (coalesce(-d.amount, 0) - e.amount)::text, u.charged::text),
      ('owed', coalesce(-d.amount, 0)::text, u.owed::text),
      ('cost', greatest(u.cost, u.charged)::text, u.cost::text),
      ('counter', case when u.units = 0 or e.kind = 'commit' then u.counter else e.detail -> 'counted' -> 0 end::text,
        u.counter::text),
      ('reservation_id', case e.kind when 'commit' then e.reservation_id else u.reservation_id end::text,
        u.reservation_id::text),
      ('effective_at', e.effective_at::text, u.effective_at::text),
      ('recorded_at', e.recorded_at::text, u.recorded_at::text)) as f (what, expected, found)
    where u.lane_id = $1 and u.account_id > $2 and u.account_id <= $3
      and f.expected is distinct from f.found and (e.seq is not null or f.what = 'entry')
    limit $4";

/// A late commit is usage of its own, which does not name the reservation in its entry.
const RESERVATIONS: &str = "
    with told as (
      select e.account_id, e.reservation_id, min(e.seq) as seq, bool_or(e.kind = 'hold') as is_made,
        max(e.feature_key) filter (where e.kind = 'hold') as feature_key,
        max(e.units) filter (where e.kind = 'hold') as units,
        max(e.effective_at) filter (where e.kind = 'hold') as created_at,
        sum(p.held) filter (where e.kind = 'hold') as amount,
        count(*) filter (where e.kind = 'commit') as commits,
        max(e.recorded_at) filter (where e.kind = 'commit' and e.detail -> 'hold' is null) as committed_at,
        max(e.effective_at) filter (where e.kind = 'release') as released_at,
        max(e.effective_at) filter (where e.kind = 'hold_expired') as expired_at,
        (array_agg((e.detail -> 'hold' ->> 'expires_at')::timestamptz order by e.seq desc)
          filter (where e.detail ? 'hold'))[1] as expires_at
      from entries e cross join lateral (
        select coalesce(sum((part ->> 2)::bigint), 0) as held from jsonb_array_elements(e.allocations) as part) as p
      where e.lane_id = $1 and e.account_id > $2 and e.account_id <= $3 and e.reservation_id is not null
      group by e.account_id, e.reservation_id),
    used as (
      select account_id, reservation_id, count(*) as events, least(sum(units), 9007199254740991) as units,
        least(sum(charged), 9007199254740991) as cost
      from usage_events
      where lane_id = $1 and account_id > $2 and account_id <= $3 and reservation_id is not null
      group by account_id, reservation_id),
    kept as (
      select * from reservations where lane_id = $1 and account_id > $2 and account_id <= $3)
    select coalesce(r.account_id, t.account_id) as account_id, a.end_user_id, t.seq, 'reservation' as record,
      coalesce(r.reservation_id, t.reservation_id) as record_id, f.what, f.expected, f.found
    from kept r
    full join told t on t.account_id = r.account_id and t.reservation_id = r.reservation_id
    left join used u on u.account_id = r.account_id and u.reservation_id = r.reservation_id
    left join accounts a on a.lane_id = $1 and a.account_id = coalesce(r.account_id, t.account_id)
    cross join lateral (values
      ('record of these entries', 'there', case when r.reservation_id is null then 'missing' else 'there' end),
      ('entry', 'there', case when t.is_made then 'there' else 'missing' end),
      ('feature_key', t.feature_key, r.state ->> 'feature_key'),
      ('units', t.units::text, r.state ->> 'units'),
      ('amount', t.amount::text, r.state ->> 'amount'),
      ('created_at', t.created_at::text, (r.state ->> 'created_at')::timestamptz::text),
      ('expires_at', t.expires_at::text, (r.state ->> 'expires_at')::timestamptz::text),
      ('closed_at', coalesce(t.committed_at, t.released_at, t.expired_at)::text,
        (r.state ->> 'closed_at')::timestamptz::text),
      ('committed_units', coalesce(u.units, 0)::text, r.state ->> 'committed_units'),
      ('committed_cost', coalesce(u.cost, 0)::text, r.state ->> 'committed_cost'),
      ('held', (select coalesce(sum((part ->> 1)::bigint), 0) from jsonb_array_elements(r.parts) as part)::text,
        r.state ->> 'held'),
      ('status', case
          when t.committed_at is not null then 'committed'
          when t.released_at is not null then 'released'
          when t.expired_at is null then 'active'
          when coalesce(u.events, 0) > t.commits and r.status = 'committed' then 'committed'
          else 'expired'
        end, r.status),
      ('state', r.status, r.state ->> 'status')) as f (what, expected, found)
    where f.expected is distinct from f.found and case
        when r.reservation_id is null then f.what = 'record of these entries'
        when t.is_made is not true then f.what = 'entry'
        else true
      end
    limit $4";

/// What was asked to be refunded is in no entry: at least what was taken or is owed, and all of it where that ended the
/// block.
const TOPUPS: &str = "
    with told as (
      select e.account_id, e.cause_id as topup_id, min(e.seq) as seq, bool_or(e.cause = 'topup') as is_made,
        max(e.allocations -> 0 ->> 0) filter (where e.cause = 'topup') as block_id,
        max((e.allocations -> 0 ->> 1)::bigint) filter (where e.cause = 'topup') as amount,
        max(e.recorded_at) filter (where e.cause = 'topup') as created_at,
        coalesce(bool_or(e.kind = 'refund' and e.detail ->> 'ends' is not null), false) as is_over,
        count(*) filter (where e.kind = 'refund') as refunds,
        coalesce(sum(-(e.allocations -> 0 ->> 1)::bigint) filter (where e.kind = 'refund'), 0) as withdrawn,
        coalesce(sum(-e.amount) filter (where e.kind = 'debt'), 0) as owed
      from entries e
      where e.lane_id = $1 and e.account_id > $2 and e.account_id <= $3 and e.cause in ('topup', 'refund')
      group by e.account_id, e.cause_id),
    kept as (select *, (state ->> 'refunded')::numeric as refunded from topups
      where lane_id = $1 and account_id > $2 and account_id <= $3)
    select coalesce(k.account_id, t.account_id) as account_id, a.end_user_id, t.seq, 'topup' as record,
      coalesce(k.topup_id, t.topup_id) as record_id, f.what, f.expected, f.found
    from kept k
    full join told t on t.account_id = k.account_id and t.topup_id = k.topup_id
    left join accounts a on a.lane_id = $1 and a.account_id = coalesce(k.account_id, t.account_id)
    cross join lateral (values
      ('record of these entries', 'there', case when k.topup_id is null then 'missing' else 'there' end),
      ('entry', 'there', case when t.is_made then 'there' else 'missing' end),
      ('block_id', t.block_id, k.state ->> 'block_id'),
      ('amount', t.amount::text, k.state ->> 'amount'),
      ('created_at', t.created_at::text, (k.state ->> 'created_at')::timestamptz::text),
      ('refunded', case
          when t.is_over then t.amount
          when t.refunds = 0 then 0
          when k.refunded between t.withdrawn + t.owed and t.amount then k.refunded
          else t.withdrawn + t.owed
        end::text, k.refunded::text),
      ('clawed_back', t.owed::text, k.state ->> 'clawed_back')) as f (what, expected, found)
    where f.expected is distinct from f.found and case
        when k.topup_id is null then f.what = 'record of these entries'
        when t.is_made is not true then f.what = 'entry'
        else true
      end
    limit $4";

/// `$2` and `$3`: voids of events with an id in `($2, $3]`.
const VOIDS: &str = "
    select v.account_id, a.end_user_id, v.seq, 'void' as record, v.usage_id as record_id, f.what, f.expected, f.found
    from usage_voids v
    left join entries e on e.lane_id = $1 and e.account_id = v.account_id and e.seq = v.seq
      and e.kind = 'void' and e.cause_id = v.usage_id
    left join usage_events u on u.lane_id = $1 and u.usage_id = v.usage_id and u.account_id = v.account_id
    left join accounts a on a.lane_id = $1 and a.account_id = v.account_id
    cross join lateral (values
      ('entry', 'there', case when e.seq is null then 'missing' else 'there' end),
      ('usage event', 'there', case when u.usage_id is null then 'missing' else 'there' end),
      ('returned', (e.amount + coalesce((e.detail -> 'owed' ->> 1)::bigint, 0))::text, v.returned::text),
      ('debt_undone', (-coalesce((e.detail -> 'owed' ->> 1)::bigint, 0))::text, v.debt_undone::text),
      ('voided_at', e.recorded_at::text, v.voided_at::text)) as f (what, expected, found)
    where v.lane_id = $1 and v.usage_id > $2 and v.usage_id <= $3
      and f.expected is distinct from f.found and (e.seq is not null or f.what in ('entry', 'usage event'))
    limit $4";

impl Tx {
    /// Lets statements that read many pages take their time, and plans them for that.
    pub async fn plan_for_verifying(&mut self) -> sqlx::Result<()> {
        self.plan_for_sets().await?;
        sqlx::raw_sql("set local statement_timeout = '1h'; set local idle_in_transaction_session_timeout = '1min'")
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// What of the records and entries of these accounts does not belong together.
    pub async fn differing_records(
        &mut self,
        lane_id: LaneId,
        accounts: AccountRange,
    ) -> sqlx::Result<Vec<RecordDifference>> {
        let mut found = Vec::new();
        for question in QUESTIONS {
            found.extend(self.differing(question, lane_id, accounts.after, accounts.up_to).await?);
        }
        Ok(found)
    }

    /// The last of up to `limit` voids of a lane after the event `after`; `None` where there is none.
    pub async fn voids_page_end(&mut self, lane_id: LaneId, after: Uuid, limit: i64) -> sqlx::Result<Option<Uuid>> {
        let last = "select usage_id from (select usage_id from usage_voids where lane_id = $1 and usage_id > $2
            order by usage_id limit $3) as page order by usage_id desc limit 1";
        sqlx::query_scalar(last).bind(lane_id.0).bind(after).bind(limit).fetch_optional(self.connection()).await
    }

    /// Voids of the events in `(after, up_to]` that are not what their entries say.
    pub async fn differing_voids(
        &mut self,
        lane_id: LaneId,
        after: Uuid,
        up_to: Uuid,
    ) -> sqlx::Result<Vec<RecordDifference>> {
        self.differing(VOIDS, lane_id, after, up_to).await
    }

    async fn differing(
        &mut self,
        question: &'static str,
        lane_id: LaneId,
        after: Uuid,
        up_to: Uuid,
    ) -> sqlx::Result<Vec<RecordDifference>> {
        let bound = sqlx::query(question).bind(lane_id.0).bind(after).bind(up_to).bind(DIFFERENCES_MAX);
        bound.fetch_all(self.connection()).await?.iter().map(difference_from_row).collect()
    }
}

fn difference_from_row(row: &PgRow) -> sqlx::Result<RecordDifference> {
    let end_user: Option<&str> = row.try_get("end_user_id")?;
    let seq: Option<i64> = row.try_get("seq")?;
    let (record, what): (&str, &str) = (row.try_get("record")?, row.try_get("what")?);
    let id: Option<Uuid> = row.try_get("record_id")?;
    let id = id.unwrap_or_default();
    let of = match record {
        "usage" => format!("usage event {}: ", UsageId::from_uuid(id)),
        "void" => format!("void of usage event {}: ", UsageId::from_uuid(id)),
        "reservation" => format!("reservation {}: ", ReservationId::from_uuid(id)),
        "topup" => format!("top-up {}: ", TopupId::from_uuid(id)),
        _ => String::new(),
    };
    let text = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(column)?.unwrap_or("none".to_owned()));
    Ok(RecordDifference {
        account_id: Some(AccountId::from_uuid(row.try_get("account_id")?)),
        end_user_id: end_user.map(end_user_id).transpose()?,
        seq: seq.map(|seq| unsigned("seq", seq)).transpose()?,
        what: format!("{of}{what}"),
        expected: text("expected")?,
        found: text("found")?,
    })
}
