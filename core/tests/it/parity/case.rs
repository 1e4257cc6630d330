//! One question, and everybody's answer to it.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use quotastack_core::api::check::AnswerJson;
use quotastack_core::api::edge;
use quotastack_core::catalogue::{Catalogue, Clock};
use quotastack_core::credits::Credits;
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::ids::{EndUserId, LaneCount};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{Command, Properties, Usage};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::wallet::Totals;
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue::encode;
use quotastack_core::sync::machine::{Config, Machine, Stored};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{self, Blob, Delta, Mode, Welcome};

use crate::parity::offering::{ASKED, METERED};
use crate::support::{Story, feature_key, request, units, usage};

/// The stamp of every state.
const STAMP: u64 = 7;
const HOUR: i64 = 3_600_000_000;

/// When a question is asked, from the state's time on.
#[derive(Debug, Clone)]
enum Instant {
    Later(i64),
    /// Where the so manieth instant from the state's time on is due, or right before it.
    Due {
        number: usize,
        before: bool,
    },
}

/// A question to be asked of a state.
#[derive(Debug, Clone)]
pub(super) struct Question {
    feature: &'static str,
    units: i64,
    instant: Instant,
    /// The environment's clock stands.
    stands: bool,
    /// What a sidecar has admitted meanwhile: feature, units, and how many hours later than the usage before.
    pending: Vec<(&'static str, i64, i64)>,
}

pub(super) fn question() -> impl Strategy<Value = Question> {
    let instant = prop_oneof![
        1 => Just(Instant::Later(0)),
        3 => (1i64..2_000 * HOUR).prop_map(Instant::Later),
        1 => (1i64..3 * 365 * 24 * HOUR).prop_map(Instant::Later),
        5 => (1usize..8, any::<bool>()).prop_map(|(number, before)| Instant::Due { number, before }),
    ];
    let units = prop_oneof![4 => 0i64..300, 1 => Just(9_007_199_254_740_991)];
    let pending = prop::collection::vec((select(METERED), 0i64..200, 0i64..40), 0..4);
    (select(ASKED), units, instant, prop::bool::weighted(0.05), pending)
        .prop_map(|(feature, units, instant, stands, pending)| Question { feature, units, instant, stands, pending })
}

/// A question about an account, at an instant of the environment.
#[derive(Debug, Clone)]
pub(super) struct Case {
    account: Account,
    catalogue: Catalogue,
    question: Question,
    /// The environment's instant.
    at: Timestamp,
    /// The real one.
    now: Timestamp,
}

/// What the caller of usage was told, and what the question is answered with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WithUsage {
    pub(super) receipts: Vec<(Credits, Totals)>,
    answer: String,
}

impl Case {
    pub(super) fn new(story: &Story, question: &Question) -> Self {
        let mut catalogue = story.catalogue.clone();
        let mut wallet = story.account.wallet.clone();
        let at = match question.instant {
            Instant::Later(micros) => wallet.time.saturating_add_micros(micros),
            Instant::Due { number, before } => {
                let mut at = wallet.time;
                for due in std::iter::repeat_with(|| {
                    let due = wallet.next_due()?;
                    read_at(&mut wallet, &catalogue, due);
                    Some(due)
                })
                .take(number)
                .map_while(|due| due.filter(|due| *due < Timestamp::MAX))
                {
                    at = due;
                }
                let before = if before { -1 } else { 0 };
                at.saturating_add_micros(before).max(story.account.wallet.time)
            }
        };
        if question.stands {
            catalogue.clock = Clock::Standing(at);
        }
        let now = match catalogue.clock {
            Clock::Real => at,
            // Whatever the real time is.
            Clock::Standing(_) => Timestamp::default(),
            Clock::Ahead(micros) => at.saturating_add_micros(-micros),
        };
        Self { account: story.account.clone(), catalogue, question: question.clone(), at, now }
    }

    /// Whether time changes something between the state's time and the question's.
    pub(super) fn is_due(&self) -> bool {
        self.account.wallet.is_due(self.at)
    }

    pub(super) fn catalogue_bytes(&self) -> Vec<u8> {
        encode(&self.catalogue)
    }

    /// As the server reads the account for a check.
    fn state(&self) -> AccountState {
        AccountState::whole(&self.account, STAMP, &self.catalogue)
    }

    /// What the server answers, less how fresh it is.
    pub(super) fn by_the_server(&self) -> String {
        self.answer(&self.state())
    }

    /// What the server answers once the ledger has written down all that was due.
    pub(super) fn by_the_ledger(&self) -> String {
        let mut account = self.account.clone();
        let somebody = Command::Usage(usage("somebody", "ghost", 1));
        let refused = apply(
            &mut account,
            &self.catalogue,
            &request(self.at, 0, somebody),
            Known::default(),
            &mut Effects::default(),
        );
        assert!(refused.is_err(), "there is no such feature");
        let written = AccountState::whole(&account, STAMP, &self.catalogue);
        assert!(!written.wallet.is_due(self.at));
        self.answer(&AccountState { version: self.account.version, ..written })
    }

    /// What a sidecar answers that has heard of all this over its link. Of an account that is too large, what the
    /// server does.
    pub(super) fn by_the_sidecar(&self) -> String {
        let (machine, _) = self.machine();
        self.sidecar_answer(&machine)
    }

    /// What is answered from the bytes alone.
    pub(super) fn at_the_edge(&self) -> String {
        let question = &self.question;
        let state = self.state().into_published();
        if state.partial {
            return self.by_the_server();
        }
        let catalogue = self.catalogue_bytes();
        let now = self.now.to_string();
        let answer = edge::answer(&state.encode(), &catalogue, question.feature, question.units, &now);
        String::from_utf8(answer.unwrap()).unwrap()
    }

    /// What is answered where usage was recorded meanwhile: by the ledger, and by a sidecar that has admitted it and
    /// not heard of it since.
    pub(super) fn with_pending_usage(&self) -> (WithUsage, WithUsage) {
        let (mut machine, end_user_id) = self.machine();
        let mut account = self.account.clone();
        let mut receipts = (Vec::new(), Vec::new());
        let mut at = account.wallet.time;
        for (number, (feature, count, hours)) in self.question.pending.iter().enumerate() {
            at = at.saturating_add_micros(hours * HOUR);
            if at > self.at || !matches!(self.catalogue.clock, Clock::Real) {
                break;
            }
            let event = usage(&format!("pending {number}"), feature, *count);
            let Ok(admitted) = machine.admit(&end_user_id, event, &nothing, at) else { continue };
            receipts.1.push((admitted.admission.answer.charged, admitted.admission.answer.totals));
            let event: Usage = admitted.admission.usage.clone();
            let number = u8::try_from(number).unwrap();
            let recorded = apply(
                &mut account,
                &self.catalogue,
                &request(at, number, Command::Usage(event)),
                Known::default(),
                &mut Effects::default(),
            );
            let Ok(Outcome::Used { record, .. }) = recorded else { panic!("{recorded:?}") };
            receipts.0.push((record.charged, record.totals));
        }
        let state = AccountState::whole(&account, STAMP, &self.catalogue);
        let ledger = self.answer(&AccountState { version: self.account.version, ..state });
        let sidecar = self.sidecar_answer(&machine);
        (WithUsage { receipts: receipts.0, answer: ledger }, WithUsage { receipts: receipts.1, answer: sidecar })
    }

    /// As one line of the file of cases.
    pub(super) fn to_json(&self, seed: u64, catalogue: usize) -> String {
        let state = self.state().into_published();
        let answer = if state.partial { String::new() } else { self.by_the_server() };
        serde_json::json!({
            "seed": seed.to_string(),
            "state": hex(&state.encode()),
            "catalogue": catalogue,
            "feature_key": self.question.feature,
            "units": self.question.units,
            "now": self.now.to_string(),
            "answer": answer,
        })
        .to_string()
    }

    fn answer(&self, state: &AccountState) -> String {
        let feature_key = feature_key(self.question.feature);
        let properties = Properties::new();
        let request =
            CheckRequest { feature_key: &feature_key, units: units(self.question.units), properties: &properties };
        let decision = evaluate(state, &self.catalogue, request, self.catalogue.clock.at(self.now));
        String::from_utf8(AnswerJson::undated(&feature_key, &decision).to_json()).unwrap()
    }

    /// A sidecar that has this state and this catalogue from its link.
    fn machine(&self) -> (Machine, EndUserId) {
        let config = Config { mode: Mode::All, outbox_bytes_max: 1 << 20, answered_kept_max: 100 };
        let mut machine = Machine::open(config, Stored::default(), &nothing, self.now);
        let lanes = LaneCount::new(1).unwrap();
        let welcome = Welcome {
            epoch: [1; 16],
            environment: "ten_1/sandbox".to_owned(),
            lanes,
            server_now: self.now,
            in_flight_max: 1,
            resume: false,
        };
        machine.link_up(&welcome).unwrap();
        let state = self.state().into_published();
        let end_user_id = state.end_user_id.clone();
        let deltas = [
            Delta::Catalogue {
                version: self.catalogue.version,
                index: 0,
                count: 1,
                bytes: Blob(self.catalogue_bytes()),
            },
            Delta::States(vec![state]),
            Delta::Progress { lanes: vec![STAMP], as_of: Some(self.now) },
        ];
        for delta in deltas {
            let frame = wire::encode(&delta).unwrap();
            machine.delta(wire::decode(&frame).unwrap(), &nothing).unwrap();
        }
        (machine, end_user_id)
    }

    fn sidecar_answer(&self, machine: &Machine) -> String {
        let state = machine.view(&self.account.end_user_id, &nothing).unwrap();
        if state.partial { self.by_the_server() } else { self.answer(&state) }
    }
}

fn nothing(_: &EndUserId) -> Option<Arc<AccountState>> {
    None
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
