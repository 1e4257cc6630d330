//! docs/cases/ledger.json as it is written. Read by the tests of the core and by those of the server.

use std::collections::BTreeMap;

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::ledger::command::{OnInsufficient, OverCommit};
use serde::Deserialize;

const LEDGER: &str = include_str!("../../../docs/cases/ledger.json");

/// The cases of the ledger.
pub(crate) fn ledger() -> Vec<Case> {
    let cases: Cases = serde_json::from_str(LEDGER).unwrap();
    assert_eq!(cases.format, 1);
    assert!(cases.cases.len() >= 51, "cases went missing");
    cases.cases
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    format: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) about: String,
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(default)]
    pub(crate) features: BTreeMap<String, FeatureSpec>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeatureSpec {
    pub(crate) cost: Option<i64>,
    pub(crate) per_units: Option<i64>,
    pub(crate) overage_policy: Option<OveragePolicy>,
    pub(crate) overdraft_limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at: Offset,
    pub(crate) grant: Option<GrantStep>,
    #[serde(rename = "use")]
    pub(crate) usage: Option<UseStep>,
    pub(crate) void: Option<VoidStep>,
    pub(crate) reserve: Option<ReserveStep>,
    pub(crate) commit: Option<CommitStep>,
    pub(crate) release: Option<ReleaseStep>,
    pub(crate) extend: Option<ExtendStep>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantStep {
    #[serde(rename = "as")]
    pub(crate) name: String,
    pub(crate) amount: i64,
    pub(crate) priority: Option<u8>,
    pub(crate) effective: Option<Offset>,
    pub(crate) expires: Option<Offset>,
    #[serde(default)]
    pub(crate) paid: bool,
    #[serde(default)]
    pub(crate) features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UseStep {
    pub(crate) key: String,
    pub(crate) units: i64,
    pub(crate) feature: Option<String>,
    pub(crate) on_insufficient: Option<OnInsufficient>,
    pub(crate) effective: Option<Offset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoidStep {
    pub(crate) key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReserveStep {
    #[serde(rename = "as")]
    pub(crate) name: String,
    pub(crate) units: i64,
    pub(crate) ttl: Offset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitStep {
    pub(crate) hold: String,
    pub(crate) units: i64,
    #[serde(rename = "final")]
    pub(crate) is_final: Option<bool>,
    pub(crate) over_commit: Option<OverCommit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseStep {
    pub(crate) hold: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtendStep {
    pub(crate) hold: String,
    pub(crate) ttl: Offset,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) ok: Option<bool>,
    pub(crate) error: Option<String>,
    pub(crate) balance: Option<i64>,
    pub(crate) reserved: Option<i64>,
    pub(crate) available: Option<i64>,
    pub(crate) debt: Option<i64>,
    #[serde(default)]
    pub(crate) blocks: BTreeMap<String, i64>,
}

/// `90s`, `5m`, `1h`, `30d` after the start of the case.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
pub(crate) struct Offset {
    pub(crate) seconds: i64,
}

impl TryFrom<String> for Offset {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (count, unit) = text.split_at(text.len() - 1);
        let length = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(format!("{text} is no offset")),
        };
        let count: i64 = count.parse().map_err(|_| format!("{text} is no offset"))?;
        Ok(Self { seconds: count * length })
    }
}
