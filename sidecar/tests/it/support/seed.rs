//! A data directory as a sidecar leaves it that had a link once: catalogue, states and cursor in the replica.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use quotastack_core::catalogue::{Access, Catalogue, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{EndUserId, FeatureKey};
use quotastack_core::ledger::block::{BlockKind, Lot};
use quotastack_core::ledger::tranche::Tranche;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::state::AccountState;
use quotastack_core::sync::record::Meta;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::Mode;
use quotastack_sidecar::replica::{ReplicaStore, ReplicaWrite};

pub(crate) fn credits(amount: i64) -> Credits {
    Credits::new(amount).unwrap()
}

pub(crate) fn units(units: i64) -> Units {
    Units::new(units).unwrap()
}

pub(crate) fn end_user(id: &str) -> EndUserId {
    EndUserId::new(id).unwrap()
}

pub(crate) fn feature_key(key: &str) -> FeatureKey {
    FeatureKey::new(key).unwrap()
}

/// A metered feature that everybody has, at `cost` per unit.
pub(crate) fn metered(cost: i64, overage_policy: OveragePolicy, offline: OfflinePolicy) -> Feature {
    let price = Price::plain(PriceModel::PerUnit { cost: credits(cost), per_units: units(1) });
    Feature {
        kind: FeatureKind::Metered,
        default: Access { enabled: true, value: None },
        prices: vec![PriceVersion { effective_from: Timestamp::MIN, price }],
        overage_policy,
        overdraft_limit: None,
        enforcement: quotastack_core::catalogue::Enforcement::Advisory,
        offline,
        summary_properties: Vec::new(),
    }
}

/// What a replica holds.
pub(crate) struct Seed {
    pub(crate) catalogue: Catalogue,
    pub(crate) states: Vec<AccountState>,
    pub(crate) as_of: Timestamp,
}

impl Seed {
    /// A catalogue of a few features, nobody in it, heard just now.
    pub(crate) fn new() -> Self {
        let mut catalogue = Catalogue { version: 1, ..Catalogue::default() };
        let features = [
            ("api_calls", metered(1, OveragePolicy::Block, OfflinePolicy::Allow)),
            ("until_stale", metered(1, OveragePolicy::Block, OfflinePolicy::AllowUntilStale)),
            ("online_only", metered(1, OveragePolicy::Block, OfflinePolicy::Deny)),
            ("capped", metered(3, OveragePolicy::Cap, OfflinePolicy::Allow)),
            ("on_credit", metered(1, OveragePolicy::Overdraft, OfflinePolicy::Allow)),
        ];
        for (key, feature) in features {
            catalogue.features.insert(feature_key(key), feature);
        }
        let value = Some(r#"{"max": [1, 2]}"#.to_owned());
        let config = Feature {
            kind: FeatureKind::Config,
            default: Access { enabled: true, value },
            prices: Vec::new(),
            ..metered(1, OveragePolicy::Block, OfflinePolicy::AllowUntilStale)
        };
        catalogue.features.insert(feature_key("limits"), config);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let as_of = Timestamp::from_micros(i64::try_from(now).unwrap()).unwrap();
        Self { catalogue, states: Vec::new(), as_of }
    }

    /// An end user with credit that never ends.
    pub(crate) fn with_credit(mut self, id: &str, amount: i64) -> Self {
        let mut state = AccountState::unknown(end_user(id));
        state.stamp = 1 + self.states.len() as u64;
        state.version = 1;
        state.catalogue_version = 1;
        let lot = Lot {
            kind: BlockKind::Promo,
            priority: 1,
            paid: false,
            settles_debt: true,
            effective_at: Timestamp::MIN,
            expires_at: None,
            scope: Vec::new(),
            remaining: credits(amount),
            held: Credits::ZERO,
            origin: None,
            cap_group: None,
            ended: None,
            claw_back: Credits::ZERO,
            frozen: false,
            rollover: None,
        };
        state.wallet.lots.push(Tranche { granted: 0, lot });
        self.states.push(state);
        self
    }

    /// Everything was last heard so long ago.
    pub(crate) fn heard_before(mut self, seconds: i64) -> Self {
        self.as_of = self.as_of.saturating_add_micros(-seconds * 1_000_000);
        self
    }

    /// Writes the replica of a data directory.
    pub(crate) fn write(&self, data_dir: &Path) {
        std::fs::create_dir_all(data_dir).unwrap();
        let (store, _) = ReplicaStore::open(&data_dir.join("replica.redb")).unwrap();
        let meta =
            Meta { epoch: [7; 16], lanes: vec![self.states.len() as u64], as_of: Some(self.as_of), mode: Mode::All };
        let mut writes: Vec<ReplicaWrite<'_>> = self.states.iter().map(ReplicaWrite::State).collect();
        writes.push(ReplicaWrite::Catalogue(&self.catalogue));
        writes.push(ReplicaWrite::Meta(&meta));
        store.commit(&writes, true).unwrap();
    }
}
