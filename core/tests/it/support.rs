//! Short words for the things that tests talk about.

use std::collections::BTreeMap;

use proptest::test_runner::Config as ProptestConfig;

use quotastack_core::catalogue::{Access, Catalogue, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{
    AccountId, EndUserId, FeatureKey, IdempotencyKey, KeyId, PaymentReference, ReservationId, TopupId, UsageId, uuid_v7,
};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{Command, Commit, Grant, OverCommit, Request, Reserve, TopupOrder, Usage};
use quotastack_core::ledger::entry::{Actor, Entry};
use quotastack_core::ledger::invariants;
use quotastack_core::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use quotastack_core::ledger::refold::Refold;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::ledger::topup::Topup;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};

/// Histories have 30 commands on average: twice the usual number of them makes as many commands as if each had 60.
pub(crate) fn twice_as_many() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases * 2, ..usual }
}

/// 2027-01-01T00:00:00Z: where every story starts.
pub(crate) const START_SECONDS: i64 = 1_798_761_600;

/// The instant `seconds` after the start of the story.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((START_SECONDS + seconds) * MICROS_PER_SECOND).unwrap()
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros() / MICROS_PER_SECOND - START_SECONDS
}

pub(crate) fn credits(amount: i64) -> Credits {
    Credits::new(amount).unwrap()
}

pub(crate) fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

pub(crate) fn feature_key(text: &str) -> FeatureKey {
    FeatureKey::new(text).unwrap()
}

pub(crate) fn new_account() -> Account {
    let id = AccountId::from_uuid(uuid_v7(at(0), [7; 10], Some(1)));
    Account::new(id, EndUserId::new("user_123").unwrap())
}

/// A metered feature: 1 credit per unit since ever, on for everybody.
pub(crate) fn metered(overage_policy: OveragePolicy, overdraft_limit: Option<i64>) -> Feature {
    Feature {
        kind: FeatureKind::Metered,
        default: Access { enabled: true, value: None },
        prices: vec![price_from(Timestamp::MIN, 1, 1)],
        overage_policy,
        overdraft_limit: overdraft_limit.map(credits),
        enforcement: Enforcement::Advisory,
        offline: OfflinePolicy::AllowUntilStale,
        summary_properties: Vec::new(),
    }
}

pub(crate) fn price_from(effective_from: Timestamp, cost: i64, per_units: i64) -> PriceVersion {
    let model = PriceModel::PerUnit { cost: credits(cost), per_units: units(per_units) };
    PriceVersion { effective_from, price: Price::plain(model) }
}

pub(crate) fn catalogue<const N: usize>(features: [(&str, Feature); N]) -> Catalogue {
    let features = features.into_iter().map(|(key, feature)| (feature_key(key), feature)).collect();
    Catalogue { version: 1, features, ..Catalogue::default() }
}

/// A free, never-ending grant of `amount` from now on.
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

/// An id whose random part is `name`.
fn named_uuid(name: &str) -> uuid::Uuid {
    let mut random = [0; 10];
    random.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
    uuid_v7(at(0), random, Some(1))
}

/// The id of the reservation of this name.
pub(crate) fn reservation_id(name: &str) -> ReservationId {
    ReservationId::from_uuid(named_uuid(name))
}

/// A reservation of this name, under the feature's own policy.
pub(crate) fn reserve(name: &str, feature: &str, count: i64, ttl_seconds: i64) -> Reserve {
    Reserve {
        id: reservation_id(name),
        feature_key: feature_key(feature),
        units: units(count),
        properties: BTreeMap::new(),
        ttl_micros: ttl_seconds * MICROS_PER_SECOND,
        on_insufficient: None,
    }
}

/// A final commit of the reservation of this name; `usage` names its usage.
pub(crate) fn commit(name: &str, usage: &str, count: i64) -> Commit {
    Commit {
        reservation_id: reservation_id(name),
        usage_id: UsageId::from_uuid(named_uuid(usage)),
        units: units(count),
        is_final: true,
        over_commit: OverCommit::Draw,
        debit_late: false,
    }
}

/// Credit that was bought, named by its payment.
pub(crate) fn topup(name: &str, amount: i64) -> TopupOrder {
    TopupOrder {
        id: TopupId::from_uuid(named_uuid(name)),
        payment_reference: PaymentReference::new(name).unwrap(),
        package_id: None,
        price_paid: Some(credits(1)),
        currency: Some("USD".to_owned()),
        grant: Grant { paid: true, ..grant(amount) },
        is_on_sale: true,
        expires_after: None,
    }
}

/// Usage now, under the feature's own policy. The id is the key's.
pub(crate) fn usage(key: &str, feature: &str, count: i64) -> Usage {
    Usage {
        id: UsageId::from_uuid(named_uuid(key)),
        key: IdempotencyKey::new(key).unwrap(),
        feature_key: feature_key(feature),
        units: units(count),
        properties: BTreeMap::new(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: None,
        leased: None,
    }
}

pub(crate) fn actor() -> Actor {
    Actor::Key(KeyId::from_uuid(uuid_v7(at(0), [5; 10], None)))
}

/// A command at `now`, as the `number`th of its history.
pub(crate) fn request(now: Timestamp, number: u8, command: Command) -> Request {
    Request { now, actor: actor(), seed: [number; 16], command }
}

/// One account with all it has written, as a server would keep it.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) account: Account,
    pub(crate) catalogue: Catalogue,
    pub(crate) effects: Effects,
    pub(crate) recorded: BTreeMap<IdempotencyKey, UsageRecord>,
    pub(crate) voided: BTreeMap<UsageId, VoidRecord>,
    pub(crate) topups: BTreeMap<PaymentReference, Topup>,
    commands: u8,
}

impl Story {
    pub(crate) fn new(catalogue: Catalogue) -> Self {
        Self {
            account: new_account(),
            catalogue,
            effects: Effects::default(),
            recorded: BTreeMap::new(),
            voided: BTreeMap::new(),
            topups: BTreeMap::new(),
            commands: 0,
        }
    }

    /// Applies a command at `now` and checks what holds after every command.
    pub(crate) fn apply(&mut self, now: Timestamp, command: impl Into<Sent>) -> Result<Outcome, Refusal> {
        let Sent(command) = command.into();
        self.commands = self.commands.wrapping_add(1);
        let request = request(now, self.commands, command);
        let known = match &request.command {
            Command::Usage(usage) | Command::Consume(usage) => self.usage_known(self.recorded.get(&usage.key)),
            Command::Void(void) => {
                let usage = self.recorded.values().find(|record| record.id == void.usage_id);
                Known { void: self.voided.get(&void.usage_id), ..self.usage_known(usage) }
            }
            Command::TopUp(order) => Known { topup: self.topups.get(&order.payment_reference), ..Known::default() },
            _ => Known::default(),
        };
        let outcome = apply(&mut self.account, &self.catalogue, &request, known, &mut self.effects);
        match &outcome {
            Ok(Outcome::Used { record, replayed: false } | Outcome::Committed { record, .. }) => {
                self.recorded.insert(record.key.clone(), record.clone());
            }
            Ok(Outcome::Voided { record, replayed: false }) => {
                self.voided.insert(record.usage_id, record.clone());
            }
            Ok(Outcome::ToppedUp { topup, .. } | Outcome::Refunded { topup, .. }) => {
                self.topups.insert(topup.payment_reference.clone(), topup.clone());
            }
            _ => {}
        }
        self.verify();
        outcome
    }

    const fn usage_known<'a>(&self, usage: Option<&'a UsageRecord>) -> Known<'a> {
        Known { usage, void: None, topup: None }
    }

    /// A refused command at `now`: it leaves nothing but what time alone did.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        assert!(matches!(self.apply(now, usage("touch", "ghost", 1)), Err(Refusal::FeatureUnknown(_))));
    }

    /// Balance and debt, as any reader finds them at `now`.
    pub(crate) fn read(&self, now: Timestamp) -> (i64, i64) {
        let mut wallet = self.account.wallet.clone();
        read_at(&mut wallet, &self.catalogue, now);
        let totals = wallet.totals();
        (totals.balance.get(), totals.debt.get())
    }

    /// All entries, one line each: `10s usage -5 = 95`, with the open debt where there is some.
    pub(crate) fn statement(&self) -> Vec<String> {
        let line = |entry: &Entry| {
            let kind = serde_json::to_value(entry.body.kind).unwrap();
            let (when, kind) = (seconds(entry.body.effective_at), kind.as_str().unwrap().to_owned());
            let debt =
                if entry.debt_after.is_zero() { String::new() } else { format!(", owes {}", entry.debt_after.get()) };
            format!("{when}s {kind} {:+} = {}{debt}", entry.body.amount.get(), entry.balance_after.get())
        };
        self.effects.entries.iter().map(line).collect()
    }

    /// The entries alone rebuild the account, and its totals are what its wallet holds.
    pub(crate) fn verify(&self) {
        let mut refold = Refold::new(self.account.id);
        for entry in &self.effects.entries {
            refold.push(entry).unwrap();
        }
        refold.compare(&self.account).unwrap();
        invariants::check(&self.account).unwrap();
    }
}

/// Anything that can be sent as a command.
pub(crate) struct Sent(Command);

impl From<Grant> for Sent {
    fn from(grant: Grant) -> Self {
        Self(Command::Grant(grant))
    }
}

impl From<Usage> for Sent {
    fn from(usage: Usage) -> Self {
        Self(Command::Usage(usage))
    }
}

impl From<Command> for Sent {
    fn from(command: Command) -> Self {
        Self(command)
    }
}
