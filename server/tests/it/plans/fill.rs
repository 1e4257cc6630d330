//! A database in which every table of accounts has rows of many accounts in many lanes.

use std::sync::Arc;

use quotastack_core::catalogue::{GrantInterval, GrantTemplate, PlanKind, Variant};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{
    BlockId, EndUserId, FeatureKey, IdempotencyKey, PaymentReference, ReservationId, TopupId, UsageId, VariantId,
    uuid_v7,
};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Adjust, Command, Grant, Reserve, TopupOrder, Usage, Void};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::subscription::order::Subscribe;
use quotastack_core::time::{MICROS_PER_SECOND, Period, PeriodUnit, Timestamp};
use quotastack_server::app::auth::Principal;
use quotastack_server::app::catalogue::{CatalogueChange, Changed};
use quotastack_server::app::decide::{Decided, Submission};
use quotastack_server::app::{App, clock, submission};
use quotastack_server::workers::due::DueWorker;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio_util::sync::CancellationToken;

use super::plan::Tables;
use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::wait::until;
use crate::writer::create_feature;

/// Accounts that are made by commands.
const ACCOUNTS: usize = 400;
/// Lanes that their rows are copied into, for each lane; more where that makes less than `ROWS_MIN` rows.
const COPIES_MIN: i64 = 6;
/// Postgres reads a table of a few rows in any way.
const ROWS_MIN: i64 = 3_000;
/// Entries of a long history: more than lie between two checkpoints.
const LONG: usize = 2_100;
const DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// An end user with something of everything.
pub(crate) struct Filled {
    pub(crate) end_user_id: EndUserId,
    pub(crate) lane: u16,
    /// A block that never ends.
    pub(crate) block: BlockId,
    /// Usage that made a debt, which was then settled.
    pub(crate) owing: UsageId,
    pub(crate) key: IdempotencyKey,
    pub(crate) topup: TopupId,
    pub(crate) payment_reference: PaymentReference,
    /// Its time ran out.
    pub(crate) reservation: ReservationId,
    pub(crate) variant_id: VariantId,
    /// When a block was usable that has expired since.
    pub(crate) then: Timestamp,
}

/// Fills the sandbox, and leaves its clock standing a day later.
pub(crate) async fn fill(server: &TestServer) -> Vec<Filled> {
    create_feature(&server.sandbox).await;
    let (app, principal) = server.app(&server.sandbox).await;
    let variant_id = create_variant(&app, &principal).await;
    let handle = app.environment(principal.environment_id).await.unwrap().handle.clone();
    let then = clock::now();
    let mut filled: Vec<Filled> = Vec::new();
    for number in 0..ACCOUNTS {
        let end_user_id = EndUserId::new(&format!("filled-{number}")).unwrap();
        let uuid = || uuid_v7(then, clock::random(), Some(end_user_id.bucket()));
        filled.push(Filled {
            lane: handle.lane_of(end_user_id.bucket()).0,
            block: BlockId::from_uuid(uuid()),
            owing: UsageId::from_uuid(uuid()),
            key: IdempotencyKey::new("the first").unwrap(),
            topup: TopupId::from_uuid(uuid()),
            payment_reference: PaymentReference::new("paid once").unwrap(),
            reservation: ReservationId::from_uuid(uuid()),
            variant_id,
            then,
            end_user_id,
        });
    }
    write(&app, &principal, &mut filled, first_day).await;
    server.sandbox.post("/v1/sandbox/clock", &json!({ "advance_seconds": DAY / MICROS_PER_SECOND })).await.is(200);
    write(&app, &principal, &mut filled, second_day).await;
    app.stop().await;
    work(server).await;
    look_back(server, &server.sandbox, "looked-back-on").await;
    filled
}

/// An end user with a long history, whom somebody looks back on.
pub(crate) async fn look_back(server: &TestServer, client: &Client, name: &str) {
    let (app, principal) = server.app(client).await;
    let end_user_id = EndUserId::new(name).unwrap();
    let lane = app.environment(principal.environment_id).await.unwrap().handle.lane_of(end_user_id.bucket()).0;
    let of = |command| submission(&principal, end_user_id.clone(), command, None, None);
    // Two of the blocks are used up soon.
    let mut commands: Vec<Submission> = [5, 5, 50_000].map(|amount| of(Command::Grant(grant(amount)))).into();
    commands.extend((0..LONG).map(|_| of(Command::Usage(usage_of(&end_user_id, 1)))));
    app.write_lane(principal.environment_id, lane, commands).await.unwrap();
    client.get(&format!("/v1/end_users/{name}/credits?as_of_seq={LONG}&include=blocks")).await.is(200);
    client.get(&format!("/v1/end_users/{name}/ledger/proof?from_seq=1001")).await.is(200);
    app.stop().await;
}

/// Has the workers find something to do.
pub(crate) async fn work(server: &TestServer) {
    let (app, principal) = server.app(&server.live).await;
    let now = clock::now();
    let end_user_id = EndUserId::new(&format!("due at {now}")).unwrap();
    let ending = Grant { expires_at: Some(now.saturating_add_micros(MICROS_PER_SECOND / 10)), ..grant(1) };
    let due = submission(&principal, end_user_id.clone(), Command::Grant(ending), None, None);
    let lane = app.environment(principal.environment_id).await.unwrap().handle.lane_of(end_user_id.bucket()).0;
    app.write_lane(principal.environment_id, lane, vec![due]).await.unwrap();
    let mut worker = DueWorker::new(Arc::clone(&app), CancellationToken::new());
    until("the worker has written what is due", async || {
        worker.round().await.unwrap();
        let read = app.account(principal.environment_id, &end_user_id, false).await.unwrap().unwrap();
        read.account.last_expiry
    })
    .await;
    while app.roll_up_round().await.unwrap() {}
    app.forget_old_requests().await.unwrap();
    app.stop().await;
}

async fn create_variant(app: &App, principal: &Principal) -> VariantId {
    let change = async |change| app.change_catalogue(principal, &change, None).await.unwrap().changed;
    let plan = CatalogueChange::CreatePlan { name: "a plan".to_owned(), kind: PlanKind::Base };
    let Changed::Plan(plan) = change(plan).await else { unreachable!() };
    let template = GrantTemplate { priority: 10, ..GrantTemplate::new(credits(50), GrantInterval::BillingPeriod) };
    let variant = Variant {
        grace_period_days: 0,
        grants: vec![template],
        ..Variant::new(plan.plan_id, PlanKind::Base, Period { count: 1, unit: PeriodUnit::Month })
    };
    let variant = CatalogueChange::CreateVariant { name: "a variant".to_owned(), variant };
    let Changed::Variant(variant) = change(variant).await else { unreachable!() };
    variant.variant_id
}

/// Has everybody's commands carried out, a batch per lane; every one must work.
async fn write(app: &App, principal: &Principal, filled: &mut [Filled], commands: fn(&Filled) -> Vec<Command>) {
    for lane in [0, 1] {
        let mut batch: Vec<Submission> = Vec::new();
        for of in filled.iter().filter(|of| of.lane == lane) {
            let own = commands(of).into_iter();
            batch.extend(own.map(|command| submission(principal, of.end_user_id.clone(), command, None, None)));
        }
        let written = app.write_lane(principal.environment_id, lane, batch.clone()).await.unwrap();
        for (sent, decided) in batch.iter().zip(written.results) {
            let Decided::Done { outcome, .. } = decided else { panic!("{:?}: {decided:?}", sent.request.command) };
            if let Outcome::Granted { block: Some(block), .. } = *outcome
                && block.lot.expires_at.is_none()
            {
                let of = filled.iter_mut().find(|of| of.end_user_id == sent.end_user_id).unwrap();
                of.block = block.id;
            }
        }
    }
}

fn first_day(of: &Filled) -> Vec<Command> {
    let ending = Grant { expires_at: Some(of.then.saturating_add_micros(DAY / 2)), ..grant(20) };
    vec![
        Command::Usage(Usage { id: of.owing, key: of.key.clone(), ..usage(of, 30) }),
        Command::Grant(grant(40)),
        Command::Grant(ending),
        Command::Reserve(reserve(of.reservation, 300)),
        Command::Subscribe(Subscribe::now(of.variant_id, 1)),
    ]
}

fn second_day(of: &Filled) -> Vec<Command> {
    let event = usage(of, 3);
    let open = ReservationId::from_uuid(usage(of, 1).id.uuid());
    let void = Void { usage_id: event.id, reason: Some("a mistake".to_owned()) };
    vec![
        Command::Usage(event),
        Command::Void(void),
        Command::Reserve(reserve(open, 86_400)),
        Command::TopUp(topup(of)),
        Command::Usage(usage(of, 2)),
        Command::Adjust(Adjust {
            amount: credits(4),
            reason: "goodwill".to_owned(),
            block_id: None,
            feature_key: None,
            allow_negative: false,
            priority: 100,
            expires_at: None,
        }),
    ]
}

pub(crate) fn reserve(id: ReservationId, ttl_seconds: i64) -> Reserve {
    Reserve {
        id,
        feature_key: feature_key(),
        units: units(5),
        properties: Default::default(),
        ttl_micros: ttl_seconds * MICROS_PER_SECOND,
        on_insufficient: None,
    }
}

pub(crate) fn topup(of: &Filled) -> TopupOrder {
    TopupOrder {
        id: of.topup,
        payment_reference: of.payment_reference.clone(),
        package_id: None,
        price_paid: Some(credits(500)),
        currency: Some("USD".to_owned()),
        grant: Grant { paid: true, ..grant(10) },
        is_on_sale: true,
        expires_after: None,
    }
}

pub(crate) fn grant(amount: i64) -> Grant {
    Grant {
        kind: BlockKind::Promo,
        amount: credits(amount),
        priority: 100,
        effective_at: None,
        expires_at: None,
        paid: false,
        settles_debt: true,
        feature_keys: Vec::new(),
        cap_group: None,
        accumulation_cap: None,
    }
}

/// An event with an id and a key of its own.
pub(crate) fn usage(of: &Filled, count: i64) -> Usage {
    usage_of(&of.end_user_id, count)
}

fn usage_of(end_user_id: &EndUserId, count: i64) -> Usage {
    let id = uuid_v7(clock::now(), clock::random(), Some(end_user_id.bucket()));
    Usage {
        id: UsageId::from_uuid(id),
        key: IdempotencyKey::new(&id.to_string()).unwrap(),
        feature_key: feature_key(),
        units: units(count),
        properties: Default::default(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: None,
        leased: None,
    }
}

pub(crate) fn feature_key() -> FeatureKey {
    FeatureKey::new("f").unwrap()
}

pub(crate) fn credits(amount: i64) -> Credits {
    Credits::new(amount).unwrap()
}

pub(crate) fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

/// Copies all rows of accounts into lanes that no environment has, so that one lane is a small part of each table.
pub(crate) async fn copy_into_other_lanes(owner: &mut PgConnection, tables: &Tables) {
    // The copies belong to no account: nothing may check them.
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *owner).await.unwrap();
    for table in tables.whole() {
        let sql = "select column_name::text as name from information_schema.columns
                   where table_schema = 'public' and table_name = $1 and column_name <> 'lane_id'
                     and is_generated = 'NEVER'";
        let rows = sqlx::query(sql).bind(table).fetch_all(&mut *owner).await.unwrap();
        let columns = rows.iter().map(|row| row.get("name")).collect::<Vec<String>>().join(", ");
        let sql = format!("select count(*) from {table}");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *owner).await.unwrap();
        assert!(count > 0, "nothing writes into {table}: have that done before this");
        let copies = COPIES_MIN.max(ROWS_MIN / count);
        let sql = format!(
            "insert into {table} (lane_id, {columns})
             select lane_id + copy, {columns} from {table}, generate_series(1, {copies}) copy"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *owner).await.unwrap();
    }
    sqlx::raw_sql("set session_replication_role = origin").execute(&mut *owner).await.unwrap();
    // Not what is empty: Postgres would take it to stay so.
    for table in tables.with_rows(owner).await {
        sqlx::raw_sql(AssertSqlSafe(format!("vacuum analyze {table}"))).execute(&mut *owner).await.unwrap();
    }
}
