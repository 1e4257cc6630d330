//! The shared cases of docs/cases through the model: once as written, once with every write sent twice.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::story::{START, commit, feature, grant, usage};
use super::{Answer, BlockId, Code, Command, Commit, DAY, Feature, Grant, HoldId, Micros, Model, OverCommit, Policy};
use super::{Price, Properties, SECOND, Use, invariants};

const LEDGER: &str = include_str!("../../../../docs/cases/ledger.json");

#[test]
fn every_case_holds_as_written() {
    run_all(1);
}

#[test]
fn every_case_holds_with_every_write_sent_twice() {
    run_all(2);
}

fn run_all(sendings: u32) {
    let file: CaseFile = serde_json::from_str(LEDGER).unwrap();
    assert!(file.cases.len() >= 51, "cases went missing");
    for case in &file.cases {
        Run::new(case).all_steps(case, sendings);
    }
}

struct Run {
    model: Model,
    blocks: BTreeMap<String, BlockId>,
    holds: BTreeMap<String, HoldId>,
}

impl Run {
    fn new(case: &Case) -> Self {
        let mut features: BTreeMap<String, Feature> =
            case.features.iter().map(|(key, spec)| (key.clone(), spec.feature())).collect();
        if features.is_empty() {
            features.insert("f".to_owned(), feature(Policy::Block, None));
        }
        Self { model: Model::new(features, START), blocks: BTreeMap::new(), holds: BTreeMap::new() }
    }

    fn all_steps(mut self, case: &Case, sendings: u32) {
        for (number, step) in case.steps.iter().enumerate() {
            let place = format!("{} step {} ({})", case.id, number + 1, case.about);
            let now = START + offset(&step.at);
            self.model.advance(now);
            if let Some(command) = self.command(step) {
                let first = self.model.apply(now, &command);
                for _ in 1..sendings {
                    self.send_again(now, &command, &first, &place);
                }
                self.learn_names(step, &first);
                check_outcome(&step.expect, &first, &place);
            }
            self.check_figures(&step.expect, &place);
            invariants(&self.model).unwrap();
        }
    }

    /// The same result, and nothing moves. (That a repeated grant or reserve is one is the work of the API's
    /// `Idempotency-Key`: it does not reach the ledger again.)
    fn send_again(&mut self, now: Micros, command: &Command, first: &Result<Answer, Code>, place: &str) {
        let before = self.model.clone();
        let again = match (command, first) {
            (Command::Use(_) | Command::Void { .. } | Command::Commit(_), _) | (_, Err(_)) => {
                self.model.apply(now, command)
            }
            (_, Ok(answer)) => Ok(answer.again()),
        };
        let expected = first.clone().map(|answer| answer.again());
        assert_eq!(again, expected, "{place}");
        assert_eq!(self.model, before, "{place}");
    }

    fn learn_names(&mut self, step: &Step, result: &Result<Answer, Code>) {
        let Ok(answer) = result else { return };
        if let (Some(given), Some(block)) = (&step.grant, answer.block) {
            self.blocks.insert(given.name.clone(), block);
        }
        if let (Some(reserved), Some(hold)) = (&step.reserve, answer.hold) {
            self.holds.insert(reserved.name.clone(), hold);
        }
    }

    fn command(&self, step: &Step) -> Option<Command> {
        if let Some(given) = &step.grant {
            return Some(Command::Grant(given.grant()));
        }
        if let Some(used) = &step.usage {
            return Some(Command::Use(used.asked()));
        }
        if let Some(voided) = &step.void {
            let is_it = |asked: &Option<Use>| asked.as_ref().is_some_and(|asked| asked.key == voided.key);
            let event = self.model.events.iter().position(|event| is_it(&event.asked)).unwrap();
            return Some(Command::Void { event });
        }
        if let Some(reserved) = &step.reserve {
            let (feature, ttl) = (reserved.feature.clone(), offset(&reserved.ttl));
            let properties = Properties::new();
            return Some(Command::Reserve { feature, units: reserved.units, properties, ttl });
        }
        if let Some(committed) = &step.commit {
            return Some(Command::Commit(Commit {
                key: Some(format!("commit at {}", step.at)),
                is_final: committed.is_final,
                over_commit: committed.over_commit(),
                ..commit(self.holds[&committed.hold], committed.units)
            }));
        }
        if let Some(released) = &step.release {
            return Some(Command::Release { hold: self.holds[&released.hold] });
        }
        let extended = step.extend.as_ref()?;
        Some(Command::Extend { hold: self.holds[&extended.hold], ttl: offset(&extended.ttl) })
    }

    fn check_figures(&self, expect: &Expect, place: &str) {
        let figures = self.model.figures();
        for (name, expected, found) in [
            ("balance", expect.balance, figures.balance),
            ("reserved", expect.reserved, figures.reserved),
            ("available", expect.available, figures.available),
            ("debt", expect.debt, figures.debt),
        ] {
            assert!(expected.is_none_or(|amount| amount == found), "{place}: {name} is {found}, not {expected:?}");
        }
        for (name, expected) in &expect.blocks {
            let block = figures.blocks[&self.blocks[name]];
            assert_eq!(block.remaining - block.held, *expected, "{place}: block {name}");
        }
    }
}

fn check_outcome(expect: &Expect, result: &Result<Answer, Code>, place: &str) {
    assert_eq!(result.is_ok(), expect.ok.unwrap_or(true), "{place}: {result:?}");
    let code = match result {
        Err(code) => Some(*code),
        Ok(answer) => answer.replayed.then_some("replayed"),
    };
    if expect.error.is_some() || result.is_ok() {
        assert_eq!(code, expect.error.as_deref(), "{place}");
    }
}

#[derive(Deserialize)]
struct CaseFile {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    about: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(default)]
    features: BTreeMap<String, FeatureSpec>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureSpec {
    cost: Option<i64>,
    per_units: Option<i64>,
    overage_policy: Option<String>,
    overdraft_limit: Option<i64>,
}

impl FeatureSpec {
    fn feature(&self) -> Feature {
        let price = Price::PerUnit { cost: self.cost.unwrap_or(1), per_units: self.per_units.unwrap_or(1) };
        let policy = policy(self.overage_policy.as_deref().unwrap_or("block"));
        Feature { price: Some(price), ..feature(policy, self.overdraft_limit) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: String,
    grant: Option<GrantStep>,
    #[serde(rename = "use")]
    usage: Option<UseStep>,
    void: Option<KeyStep>,
    reserve: Option<ReserveStep>,
    commit: Option<CommitStep>,
    release: Option<HoldStep>,
    extend: Option<ExtendStep>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantStep {
    #[serde(rename = "as")]
    name: String,
    amount: i64,
    priority: Option<u8>,
    effective: Option<String>,
    expires: Option<String>,
    #[serde(default)]
    paid: bool,
    #[serde(default)]
    features: Vec<String>,
}

impl GrantStep {
    fn grant(&self) -> Grant {
        Grant {
            priority: self.priority.unwrap_or(100),
            effective_at: self.effective.as_deref().map(|time| START + offset(time)),
            expires_at: self.expires.as_deref().map(|time| START + offset(time)),
            paid: self.paid,
            scope: self.features.iter().cloned().collect(),
            ..grant(self.amount)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UseStep {
    key: String,
    units: i64,
    feature: Option<String>,
    on_insufficient: Option<String>,
    effective: Option<String>,
}

impl UseStep {
    fn asked(&self) -> Use {
        Use {
            feature: self.feature.clone().unwrap_or("f".to_owned()),
            on_insufficient: self.on_insufficient.as_deref().map(policy),
            effective_at: self.effective.as_deref().map(|time| START + offset(time)),
            ..usage(&self.key, self.units)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyStep {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReserveStep {
    #[serde(rename = "as")]
    name: String,
    units: i64,
    #[serde(default = "only_feature")]
    feature: String,
    ttl: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitStep {
    hold: String,
    units: i64,
    #[serde(rename = "final", default = "yes")]
    is_final: bool,
    over_commit: Option<String>,
}

impl CommitStep {
    fn over_commit(&self) -> OverCommit {
        match self.over_commit.as_deref() {
            None | Some("draw") => OverCommit::Draw,
            Some("cap") => OverCommit::Cap,
            Some("reject") => OverCommit::Reject,
            Some(other) => panic!("{other} is no over_commit"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldStep {
    hold: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendStep {
    hold: String,
    ttl: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Expect {
    ok: Option<bool>,
    error: Option<String>,
    balance: Option<i64>,
    reserved: Option<i64>,
    available: Option<i64>,
    debt: Option<i64>,
    #[serde(default)]
    blocks: BTreeMap<String, i64>,
}

fn only_feature() -> String {
    "f".to_owned()
}

fn yes() -> bool {
    true
}

fn policy(name: &str) -> Policy {
    match name {
        "block" => Policy::Block,
        "cap" => Policy::Cap,
        "overdraft" => Policy::Overdraft,
        "notify" => Policy::Notify,
        other => panic!("{other} is no policy"),
    }
}

/// `90s`, `5m`, `1h`, `30d`.
fn offset(text: &str) -> Micros {
    let (count, unit) = text.split_at(text.len() - 1);
    let length = match unit {
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "d" => DAY,
        _ => panic!("{text} is no offset"),
    };
    count.parse::<i64>().unwrap() * length
}
