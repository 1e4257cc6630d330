//! What a sidecar's machine does in single steps: a change of mode, states that are on their way, refused events, an
//! outbox that grew long, and leases.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::catalogue::{Access, Catalogue, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, LaneCount, ReservationId, UsageId, uuid_v7};
use quotastack_core::ledger::block::{BlockKind, Lot};
use quotastack_core::ledger::command::Usage;
use quotastack_core::ledger::hold::{HeldPart, Hold};
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::ledger::tranche::Tranche;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue::encode;
use quotastack_core::sync::machine::{Admitted, Batch, Config, LeaseReturn, Machine, NotAdmitted, Shown, Stored};
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

/// Strict.
fn sure() -> FeatureKey {
    FeatureKey::new("sure").unwrap()
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
    let strict = Feature { enforcement: Enforcement::Strict, ..feature.clone() };
    Catalogue { version: 1, features: BTreeMap::from([(ai(), feature), (sure(), strict)]), ..Catalogue::default() }
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

fn lease_id(number: u8) -> ReservationId {
    ReservationId::from_uuid(uuid_v7(now(), [number; 10], Some(user().bucket())))
}

fn later(seconds: i64) -> Timestamp {
    now().saturating_add_micros(seconds * 1_000_000)
}

fn open_lease(machine: &mut Machine, number: u8, granted: i64, until: Timestamp) {
    let granted = Credits::new(granted).unwrap();
    machine.lease_opened((&user(), &sure()), lease_id(number), (granted, until), &nothing, now());
}

/// Consumes one credit of the strict feature.
fn consume(machine: &mut Machine, key: &str, at: Timestamp) -> Result<Admitted, NotAdmitted> {
    machine.consume(&user(), Usage { feature_key: sure(), ..usage(key) }, &nothing, at)
}

fn spent_of(admitted: &Admitted) -> (ReservationId, i64) {
    let leased = admitted.admission.usage.leased.unwrap();
    (leased.id, leased.cost.get())
}

fn back(number: u8, returned: i64) -> LeaseReturn {
    LeaseReturn { end_user_id: user(), id: lease_id(number), returned: Credits::new(returned).unwrap() }
}

fn with_lease(granted: i64) -> Machine {
    let mut machine = empty(config(Mode::All));
    load(&mut machine, vec![state(5, 100)]);
    open_lease(&mut machine, 1, granted, later(60));
    machine
}

#[test]
fn a_strict_feature_is_spent_from_leases_only_and_each_for_as_long_as_it_lasts() {
    let mut machine = empty(config(Mode::All));
    load(&mut machine, vec![state(5, 100)]);
    let none = NotAdmitted::NoLease { need: Credits::new(1).unwrap() };
    assert_eq!(consume(&mut machine, "a", now()).unwrap_err(), none);
    assert_eq!(
        machine.admit(&user(), Usage { feature_key: sure(), ..usage("b") }, &nothing, now()).unwrap_err(),
        NotAdmitted::ServerOnly
    );
    assert_eq!(machine.consume(&user(), usage("c"), &nothing, now()).unwrap_err(), NotAdmitted::ServerOnly);
    let free = Usage { units: Units::default(), feature_key: sure(), ..usage("d") };
    assert_eq!(machine.consume(&user(), free, &nothing, now()).unwrap_err(), NotAdmitted::ServerOnly);
    open_lease(&mut machine, 1, 2, later(60));
    for key in ["a", "b"] {
        assert_eq!(spent_of(&consume(&mut machine, key, now()).unwrap()), (lease_id(1), 1));
    }
    assert!(consume(&mut machine, "a", now()).unwrap().replayed);
    assert_eq!(consume(&mut machine, "c", now()).unwrap_err(), none, "it is used up");
    open_lease(&mut machine, 2, 50, later(60));
    let last = later(60).saturating_add_micros(-1);
    assert_eq!(spent_of(&consume(&mut machine, "c", last).unwrap()), (lease_id(2), 1));
    assert_eq!(consume(&mut machine, "d", later(60)).unwrap_err(), none, "it is over");
}

#[test]
fn what_the_rules_deny_no_lease_allows() {
    let mut machine = with_lease(10);
    let mut catalogue = catalogue();
    catalogue.version = 2;
    catalogue.features.get_mut(&sure()).unwrap().default.enabled = false;
    let bytes = Blob(encode(&catalogue));
    machine.delta(Delta::Catalogue { version: 2, index: 0, count: 1, bytes }, &nothing).unwrap();
    let refused = consume(&mut machine, "a", now()).unwrap_err();
    assert_eq!(refused, NotAdmitted::Refused(Refusal::NoSubscription(sure())));
}

#[test]
fn an_idle_lease_and_one_that_is_over_go_back_once_and_are_sent_until_that_is_confirmed() {
    let mut machine = with_lease(10);
    consume(&mut machine, "a", later(1)).unwrap();
    assert_eq!(machine.end_leases(later(2), false), []);
    assert_eq!(machine.end_leases(later(3), false), [back(1, 9)], "2 s after it was spent last");
    assert!(matches!(consume(&mut machine, "b", later(3)), Err(NotAdmitted::NoLease { .. })), "nothing of it any more");
    assert_eq!(machine.end_leases(later(3), false), [], "it is on its way");
    assert!(!machine.are_leases_returned());
    machine.link_down();
    link_up(&mut machine);
    assert_eq!(machine.end_leases(later(4), false), [back(1, 9)], "nobody knows whether it arrived");
    machine.lease_returned(&back(1, 9), false);
    assert_eq!(machine.end_leases(later(4), false), [back(1, 9)]);
    machine.lease_returned(&back(1, 9), true);
    assert_eq!((machine.end_leases(later(5), false), machine.are_leases_returned()), (vec![], true));

    open_lease(&mut machine, 2, 10, later(6));
    consume(&mut machine, "c", later(5)).unwrap();
    assert_eq!(machine.end_leases(later(6), false), [back(2, 9)], "busy, and over");
    machine.lease_doubtful(&user(), lease_id(3));
    assert_eq!(machine.end_leases(later(6), false), [back(3, Credits::MAX.get())], "all of it, if it was opened");
    open_lease(&mut machine, 4, 10, later(60));
    assert_eq!(machine.end_leases(later(6), true), [back(4, 10)], "a stop");
    assert_eq!(machine.lease_figures(), (0, Credits::ZERO));
}

#[test]
fn where_others_find_nothing_what_is_not_needed_soon_goes_back_at_once() {
    let mut machine = with_lease(10);
    let half = |number: i64| now().saturating_add_micros(number * 500_000);
    consume(&mut machine, "a", now()).unwrap();
    assert_eq!(machine.end_leases(half(1), false), [], "there is enough for others");
    machine.delta(Delta::States(vec![state(6, 9)]), &nothing).unwrap();
    consume(&mut machine, "b", half(1)).unwrap();
    assert_eq!(machine.end_leases(half(2), false), [back(1, 4)], "four times as much as was spent since is kept");
    assert_eq!(machine.lease_figures(), (1, Credits::new(4).unwrap()));
    machine.lease_returned(&back(1, 3), true);
    assert!(!machine.are_leases_returned(), "that was an earlier return");
    machine.lease_returned(&back(1, 4), true);
    consume(&mut machine, "c", half(2)).unwrap();
    let last = back(1, 7);
    assert_eq!(machine.end_leases(half(3), false), [], "three are left of four that may be needed");
    assert_eq!(machine.end_leases(half(4), false), [last], "nothing was spent since");
    assert_eq!(machine.lease_figures(), (0, Credits::ZERO));
}

#[test]
fn its_own_lease_counts_as_free_and_what_was_spent_of_it_once() {
    let mut machine = with_lease(10);
    let available = |machine: &Machine| machine.view(&user(), &nothing).unwrap().wallet.totals().available.get();
    let holding = |stamp, remaining, held: i64| {
        let mut state = state(stamp, remaining);
        let amount = Credits::new(held).unwrap();
        state.wallet.lots[0].lot.held = amount;
        let parts = vec![HeldPart { lot: 0, amount }];
        let (id, feature_key, expires_at) = (lease_id(1), sure(), later(70));
        state.wallet.holds.push(Hold { id, feature_key, expires_at, parts, uncovered: Credits::ZERO, counted: None });
        state
    };
    machine.delta(Delta::States(vec![holding(6, 100, 10)]), &nothing).unwrap();
    assert_eq!(available(&machine), 100);
    consume(&mut machine, "a", now()).unwrap();
    assert_eq!(available(&machine), 99);
    let batch = next_batch(&mut machine);
    answer(&mut machine, &batch, &recorded(), holding(7, 99, 9));
    assert_eq!(available(&machine), 99);
    machine.end_leases(later(10), false);
    assert_eq!(available(&machine), 90, "until the server has it back");
}

#[test]
fn leases_are_of_one_run_and_one_history() {
    let mut machine = with_lease(10);
    let welcome = Welcome {
        epoch: [2; 16],
        environment: "ten_1/live".to_owned(),
        lanes: LaneCount::new(1).unwrap(),
        server_now: now(),
        in_flight_max: 1,
        resume: false,
    };
    machine.link_down();
    machine.link_up(&welcome).unwrap();
    assert_eq!(machine.lease_figures(), (0, Credits::ZERO));
    let mut machine = with_lease(10);
    let admitted = consume(&mut machine, "a", now()).unwrap();
    let records = commit(&mut machine);
    let stored = Stored { environment: Some("ten_1/live".to_owned()), records, ..Stored::default() };
    let mut again = Machine::open(config(Mode::All), stored, &nothing, now());
    load(&mut again, vec![state(5, 100)]);
    let batch = next_batch(&mut again);
    assert_eq!(batch.events[0].usage, admitted.admission.usage, "what was spent is reported");
    answer(&mut again, &batch, &recorded(), state(6, 99));
    assert!(matches!(consume(&mut again, "b", now()), Err(NotAdmitted::NoLease { .. })), "a restart holds nothing");
}

#[test]
fn how_much_is_wanted_follows_how_much_is_used() {
    let mut machine = empty(config(Mode::All));
    load(&mut machine, vec![state(5, 100)]);
    let wish = |machine: &Machine, need, at| {
        let wish = machine.lease_wish(&user(), &sure(), Credits::new(need).unwrap(), at);
        (wish.need.get(), wish.want.get())
    };
    assert_eq!(wish(&machine, 3, now()), (3, 48));
    open_lease(&mut machine, 1, 48, later(60));
    assert_eq!(wish(&machine, 3, later(4)), (3, 96), "used up soon");
    assert_eq!(wish(&machine, 3, later(6)), (3, 24), "not so soon");
    assert_eq!(wish(&machine, 30, later(6)), (30, 30), "never less than is needed");
    let mut low = Vec::new();
    for number in 0..48 {
        low.push(consume(&mut machine, &format!("{number}"), now()).unwrap().is_low);
    }
    assert_eq!(low.iter().position(|is_low| *is_low), Some(36), "less than a quarter is left");
}
