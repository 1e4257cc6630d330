//! A case of docs/cases as the ledger's own commands. Read by the tests of the core and by those of the server.

use quotastack_core::catalogue::{Access, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{Bucket, FeatureKey, IdempotencyKey, ReservationId, UsageId, uuid_v7};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Command, Commit, Extend, Grant, Reserve, Usage, Void};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};

use crate::case_file::{Case, Expect, FeatureSpec, GrantStep, Offset, Step, UseStep};

/// How a case's own names become ids and keys: several cases in one environment need different ones.
pub(crate) struct Naming {
    /// Before each feature's key; also what tells the ids of one case from those of another.
    pub(crate) prefix: String,
    /// Of the case's end user.
    pub(crate) bucket: Bucket,
    /// When the case starts.
    pub(crate) start: Timestamp,
}

impl Naming {
    pub(crate) fn at(&self, offset: Offset) -> Timestamp {
        self.start.saturating_add_micros(offset.seconds * MICROS_PER_SECOND)
    }

    fn feature(&self, key: &str) -> FeatureKey {
        FeatureKey::new(&format!("{}{key}", self.prefix)).unwrap()
    }

    fn uuid(&self, what: &str, name: &str) -> uuid::Uuid {
        let mut random = [0; 10];
        random.copy_from_slice(&blake3::hash(format!("{}/{what}/{name}", self.prefix).as_bytes()).as_bytes()[..10]);
        uuid_v7(self.start, random, Some(self.bucket))
    }

    fn usage(&self, key: &str) -> UsageId {
        UsageId::from_uuid(self.uuid("use", key))
    }

    fn reservation(&self, name: &str) -> ReservationId {
        ReservationId::from_uuid(self.uuid("hold", name))
    }

    /// The features of a case.
    pub(crate) fn features(&self, case: &Case) -> Vec<(FeatureKey, Feature)> {
        if case.features.is_empty() {
            return vec![(self.feature("f"), feature_of(&FeatureSpec::default()))];
        }
        case.features.iter().map(|(key, spec)| (self.feature(key), feature_of(spec))).collect()
    }

    /// What a step asks for; `None` where only time passes.
    pub(crate) fn command(&self, step: &Step) -> Option<Command> {
        if let Some(given) = &step.grant {
            return Some(Command::Grant(self.grant(given)));
        }
        if let Some(used) = &step.usage {
            return Some(Command::Usage(self.used(used)));
        }
        if let Some(undone) = &step.void {
            return Some(Command::Void(Void { usage_id: self.usage(&undone.key), reason: None }));
        }
        if let Some(asked) = &step.reserve {
            return Some(Command::Reserve(Reserve {
                id: self.reservation(&asked.name),
                feature_key: self.feature("f"),
                units: units(asked.units),
                properties: Default::default(),
                ttl_micros: asked.ttl.seconds * MICROS_PER_SECOND,
                on_insufficient: None,
            }));
        }
        if let Some(done) = &step.commit {
            return Some(Command::Commit(Commit {
                reservation_id: self.reservation(&done.hold),
                // A commit has no name of its own: what it does and when makes one.
                usage_id: self.usage(&format!("commit {} {} {}", done.hold, step.at.seconds, done.units)),
                units: units(done.units),
                is_final: done.is_final.unwrap_or(true),
                over_commit: done.over_commit.unwrap_or_default(),
                debit_late: false,
            }));
        }
        if let Some(released) = &step.release {
            return Some(Command::Release(self.reservation(&released.hold)));
        }
        let extended = step.extend.as_ref()?;
        let ttl_micros = extended.ttl.seconds * MICROS_PER_SECOND;
        Some(Command::Extend(Extend { reservation_id: self.reservation(&extended.hold), ttl_micros }))
    }

    fn grant(&self, given: &GrantStep) -> Grant {
        let mut feature_keys: Vec<FeatureKey> = given.features.iter().map(|key| self.feature(key)).collect();
        feature_keys.sort();
        Grant {
            kind: BlockKind::Promo,
            amount: credits(given.amount),
            priority: given.priority.unwrap_or(100),
            effective_at: given.effective.map(|offset| self.at(offset)),
            expires_at: given.expires.map(|offset| self.at(offset)),
            paid: given.paid,
            settles_debt: true,
            feature_keys,
            cap_group: None,
            accumulation_cap: None,
        }
    }

    fn used(&self, used: &UseStep) -> Usage {
        Usage {
            id: self.usage(&used.key),
            key: IdempotencyKey::new(&used.key).unwrap(),
            feature_key: self.feature(used.feature.as_deref().unwrap_or("f")),
            units: units(used.units),
            properties: Default::default(),
            effective_at: used.effective.map(|offset| self.at(offset)),
            on_insufficient: used.on_insufficient,
            admitted_at: None,
            leased: None,
        }
    }
}

fn credits(amount: i64) -> Credits {
    Credits::new(amount).unwrap()
}

fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

fn feature_of(spec: &FeatureSpec) -> Feature {
    let (cost, per_units) = (credits(spec.cost.unwrap_or(1)), units(spec.per_units.unwrap_or(1)));
    let price = Price::plain(PriceModel::PerUnit { cost, per_units });
    Feature {
        kind: FeatureKind::Metered,
        default: Access { enabled: true, value: None },
        prices: vec![PriceVersion { effective_from: Timestamp::MIN, price }],
        overage_policy: spec.overage_policy.unwrap_or(OveragePolicy::Block),
        overdraft_limit: spec.overdraft_limit.map(credits),
        enforcement: Enforcement::Advisory,
        offline: OfflinePolicy::AllowUntilStale,
        summary_properties: Vec::new(),
    }
}

/// Whether a step came to what its case expects of it.
pub(crate) fn check_outcome(expect: &Expect, outcome: Option<&Result<Outcome, Refusal>>, place: &str) {
    let Some(outcome) = outcome else {
        assert!(expect.ok.is_none() && expect.error.is_none(), "{place}: nothing was sent");
        return;
    };
    // A step that says nothing of its outcome is one that works.
    assert_eq!(outcome.is_ok(), expect.ok.unwrap_or(true), "{place}: {outcome:?}");
    let error = match outcome {
        Err(refusal) => Some(refusal.code().as_str()),
        Ok(Outcome::Used { replayed: true, .. } | Outcome::Voided { replayed: true, .. }) => Some("replayed"),
        Ok(_) => None,
    };
    if expect.error.is_some() || outcome.is_ok() {
        assert_eq!(error, expect.error.as_deref(), "{place}");
    }
}
