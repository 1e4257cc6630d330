//! What a sidecar's machine does in single steps: a change of mode, states that are on their way, refused events, and
//! an outbox that grew long.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::catalogue::{Access, Catalogue, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, LaneCount, UsageId, uuid_v7};
use quotastack_core::ledger::block::{BlockKind, Lot};
use quotastack_core::ledger::command::Usage;
use quotastack_core::ledger::tranche::Tranche;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue::encode;
use quotastack_core::sync::machine::{Admitted, Batch, Config, Machine, NotAdmitted, Shown, Stored};
use quotastack_core::sync::record::{Meta, OutboxWrite, Record};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{BatchAnswer, BatchReply, Blob, Delta, EventResult, Mode, Welcome};

const EPOCH: [u8; 16] = [1; 16];
const GRANTED: i64 = 1_000_000;

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn user() -> EndUserId {
    EndUserId::new("user_1").unwrap()
}

fn ai() -> FeatureKey {
    FeatureKey::new("ai").unwrap()
}

fn config(mode: Mode) -> Config {
    Config { mode, outbox_bytes_max: 1 << 30, answered_kept_max: 1_000_000 }
}

fn catalogue() -> Catalogue {
    let price = Price::plain(PriceModel::PerUnit { cost: Credits::new(1).unwrap(), per_units: Units::ONE });
    let feature = Feature {
        kind: FeatureKind::Metered,
        default: Access { enabled: true, value: None },
        prices: vec![PriceVersion { effective_from: Timestamp::default(), price }],
        overage_policy: OveragePolicy::Block,
        overdraft_limit: None,
        enforcement: Enforcement::Advisory,
        offline: OfflinePolicy::Allow,
        summary_properties: vec![],
    };
    Catalogue { version: 1, features: BTreeMap::from([(ai(), feature)]), ..Catalogue::default() }
}

/// The user's state with `remaining` credits.
fn state(stamp: u64, remaining: i64) -> AccountState {
    let mut state = AccountState { stamp, version: stamp, catalogue_version: 1, ..AccountState::unknown(user()) };
    let lot = Lot {
        kind: BlockKind::Topup,
        priority: 100,
        paid: true,
        settles_debt: true,
        effective_at: Timestamp::default(),
        expires_at: None,
        scope: vec![],
        remaining: Credits::new(remaining).unwrap(),
        held: Credits::ZERO,
        origin: None,
        cap_group: None,
        ended: None,
        claw_back: Credits::ZERO,
        frozen: false,
        rollover: None,
    };
    state.wallet.lots.push(Tranche { granted: 0, lot });
    state
}

fn usage(key: &str) -> Usage {
    Usage {
        id: UsageId::from_uuid(uuid_v7(now(), [7; 10], Some(0))),
        key: IdempotencyKey::new(key).unwrap(),
        feature_key: ai(),
        units: Units::ONE,
        properties: BTreeMap::new(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: None,
        leased: None,
    }
}

fn nothing(_: &EndUserId) -> Option<Arc<AccountState>> {
    None
}

fn link_up(machine: &mut Machine) {
    let welcome = Welcome {
        epoch: EPOCH,
        environment: "ten_1/live".to_owned(),
        lanes: LaneCount::new(1).unwrap(),
        server_now: now(),
        in_flight_max: 1,
        resume: machine.cursor().is_some(),
    };
    machine.link_up(&welcome).unwrap();
}

/// The link comes up, and the first load is the catalogue and `states`.
fn load(machine: &mut Machine, states: Vec<AccountState>) {
    link_up(machine);
    let bytes = Blob(encode(&catalogue()));
    machine.delta(Delta::Catalogue { version: 1, index: 0, count: 1, bytes }, &nothing).unwrap();
    machine.delta(Delta::States(states), &nothing).unwrap();
    machine.delta(Delta::Progress { lanes: vec![9], as_of: Some(now()) }, &nothing).unwrap();
}

fn empty(config: Config) -> Machine {
    Machine::open(config, Stored::default(), &nothing, now())
}

fn admit(machine: &mut Machine, key: &str) -> Result<Admitted, NotAdmitted> {
    machine.admit(&user(), usage(key), &nothing, now())
}

fn commit(machine: &mut Machine) -> Vec<Record> {
    let Some((ticket, writes)) = machine.take_outbox_writes() else { return Vec::new() };
    machine.outbox_committed(ticket);
    let put = |write| if let OutboxWrite::Put(record) = write { Some(record) } else { None };
    writes.into_iter().filter_map(put).collect()
}

/// The next batch, with everything admitted so far on disk.
fn next_batch(machine: &mut Machine) -> Batch {
    commit(machine);
    machine.flush();
    machine.poll(now()).0.pop().unwrap()
}

fn answer(machine: &mut Machine, batch: &Batch, result: &EventResult, state: AccountState) {
    let results = vec![result.clone(); batch.events.len()];
    let answer = BatchReply::Answer(BatchAnswer { results, states: vec![state] });
    machine.answered(batch.id, answer, &nothing, now()).unwrap();
}

fn recorded() -> EventResult {
    EventResult::Recorded { replayed: false, charged: Credits::new(1).unwrap() }
}

fn refused() -> EventResult {
    EventResult::Refused { code: "idempotency_conflict".to_owned(), detail: "another payload".to_owned() }
}

fn balance(machine: &Machine) -> Option<i64> {
    machine.view(&user(), &nothing).map(|state| state.wallet.totals().balance.get())
}

#[test]
fn a_replica_on_demand_that_is_to_hold_all_begins_anew() {
    let meta = Meta { epoch: EPOCH, lanes: vec![9], as_of: Some(now()), mode: Mode::OnDemand };
    let stored = || Stored { meta: Some(meta.clone()), catalogue: Some(Arc::new(catalogue())), ..Stored::default() };
    let same = Machine::open(config(Mode::OnDemand), stored(), &nothing, now());
    assert!(same.cursor().is_some());

    let held = |_: &EndUserId| Some(Arc::new(state(1, GRANTED)));
    let mut all = Machine::open(config(Mode::All), stored(), &held, now());
    assert_eq!((all.cursor(), all.as_of(), all.catalogue_version()), (None, None, 0));
    assert_eq!(all.view(&user(), &nothing), None, "it does not know who exists");
    link_up(&mut all);
    let writes = all.take_replica_writes();
    assert!(writes.is_none(), "the outbox is not durable yet");
    commit(&mut all);
    let writes = all.take_replica_writes().unwrap();
    assert_eq!((writes.reset, writes.meta.mode), (true, Mode::All));
}

#[test]
fn whose_state_waits_for_the_answer_to_usage_is_not_taken_for_nobody() {
    let mut machine = empty(config(Mode::All));
    load(&mut machine, vec![state(1, GRANTED)]);
    admit(&mut machine, "a").unwrap();
    let records = commit(&mut machine);

    // The replica's file is gone, the outbox is not.
    let stored = Stored { environment: Some("ten_1/live".to_owned()), records, ..Stored::default() };
    let mut machine = Machine::open(config(Mode::All), stored, &nothing, now());
    load(&mut machine, vec![state(1, GRANTED)]);
    assert!(machine.as_of().is_some());
    assert_eq!(balance(&machine), None);
    assert_eq!(admit(&mut machine, "b").unwrap_err(), NotAdmitted::NoState);
    let stranger = EndUserId::new("user_2").unwrap();
    assert_eq!(machine.view(&stranger, &nothing).unwrap().stamp, 0, "who was not heard of does not exist");

    let batch = next_batch(&mut machine);
    answer(&mut machine, &batch, &recorded(), state(2, GRANTED - 1));
    assert_eq!(balance(&machine), Some(GRANTED - 1));
}

#[test]
fn whose_state_waits_for_a_catalogue_is_not_taken_for_nobody() {
    let mut machine = empty(config(Mode::All));
    load(&mut machine, vec![AccountState { catalogue_version: 2, ..state(1, GRANTED) }]);
    assert_eq!(balance(&machine), None);
}

#[test]
fn the_key_of_a_refused_event_may_be_used_again() {
    let mut machine = empty(config(Mode::OnDemand));
    machine.fetch_begins(&user());
    load(&mut machine, vec![state(1, GRANTED)]);
    let first = admit(&mut machine, "a").unwrap();
    assert!(admit(&mut machine, "a").unwrap().replayed);
    let batch = next_batch(&mut machine);
    answer(&mut machine, &batch, &refused(), state(1, GRANTED));
    assert_eq!(balance(&machine), Some(GRANTED));

    let mut records = commit(&mut machine);
    let again = admit(&mut machine, "a").unwrap();
    assert!(!again.replayed && again.ticket > first.ticket);
    assert_eq!((machine.outbox_status().waiting, machine.outbox_status().refused), (1, 1));
    records.extend(commit(&mut machine));

    // After a restart too, the key is that of the second event.
    let mut machine = Machine::open(config(Mode::OnDemand), Stored { records, ..Stored::default() }, &nothing, now());
    assert!(admit(&mut machine, "a").unwrap().replayed);
    assert_eq!(machine.refused().count(), 1);
}

#[test]
fn refused_events_take_no_room_from_those_that_wait_and_none_goes_unsaid() {
    const EVENTS_MAX: usize = 4;
    let mut machine = empty(config(Mode::OnDemand));
    machine.fetch_begins(&user());
    load(&mut machine, vec![state(1, GRANTED)]);
    admit(&mut machine, "key-00").unwrap();
    let bytes = machine.outbox_status().bytes;

    let mut machine = empty(Config { outbox_bytes_max: EVENTS_MAX * bytes, ..config(Mode::OnDemand) });
    machine.fetch_begins(&user());
    load(&mut machine, vec![state(1, GRANTED)]);
    for key in 0..3 * EVENTS_MAX {
        admit(&mut machine, &format!("key-{key:02}")).unwrap();
        let batch = next_batch(&mut machine);
        answer(&mut machine, &batch, &refused(), state(1, GRANTED));
    }
    machine.poll(now());
    let status = machine.outbox_status();
    assert_eq!((status.refused, status.refused_bytes, status.bytes), (EVENTS_MAX, EVENTS_MAX * bytes, 0));
    let dropped: Vec<String> = machine.take_dropped().iter().map(|event| event.usage.key.to_string()).collect();
    let oldest: Vec<String> = (0..2 * EVENTS_MAX).map(|key| format!("key-{key:02}")).collect();
    assert_eq!(dropped, oldest);
}

#[test]
fn a_long_outbox_of_one_end_user_drains_with_few_computations_and_ends_exact() {
    const EVENTS: usize = 20_000;
    let mut machine = empty(config(Mode::OnDemand));
    machine.fetch_begins(&user());
    load(&mut machine, vec![state(1, GRANTED)]);
    for key in 0..EVENTS {
        admit(&mut machine, &key.to_string()).unwrap();
    }
    let mut left = GRANTED - i64::try_from(EVENTS).unwrap();
    assert_eq!(balance(&machine), Some(left));
    machine.take_shown();

    let (mut stamp, mut remaining, mut shown, mut replayed) = (1, GRANTED, 0, 0);
    while machine.outbox_status().waiting > 0 {
        let batch = next_batch(&mut machine);
        stamp += 1;
        // Something else is charged to the account all the while.
        remaining -= i64::try_from(batch.events.len()).unwrap() + 1;
        answer(&mut machine, &batch, &recorded(), state(stamp, remaining));
        left -= 1;
        let states = machine.take_shown().into_iter().filter(|shown| matches!(shown, Shown::State(_))).count();
        if states > 0 {
            shown += states;
            replayed += machine.outbox_status().waiting;
            assert_eq!(balance(&machine), Some(left), "what is computed is exact");
        }
        assert!(balance(&machine).unwrap() >= left);
    }
    assert_eq!(balance(&machine), Some(left));
    assert!(shown > 1, "it is shown now and then");
    assert!(replayed <= 10 * EVENTS, "{replayed} events were computed again");
}
