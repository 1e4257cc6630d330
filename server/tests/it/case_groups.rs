//! The shared cases of docs/cases through the lane's writer: all cases at once in one lane, cut into groups of random
//! sizes that mix them. Each case comes to what it comes to alone, and to what it expects.

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::ids::{AccountId, BlockId};
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::command::Request;
use quotastack_core::ledger::entry::{Actor, Entry};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refold::Refold;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};
use quotastack_server::app::catalogue::CatalogueChange;
use quotastack_server::app::clock;
use quotastack_server::app::decide::Submission;
use quotastack_server::app::idempotency::RequestIdentity;

use crate::case_commands::{Naming, check_outcome};
use crate::case_file::{self, Case};
use crate::histories::{Answer, History, Lane};
use crate::support::server::TestServer;

/// How often all cases are run, each time in other groups.
const ROUNDS: u64 = 3;
/// Commands in a group, at most.
const GROUP_MAX: u64 = 40;
/// Gives the groups of an earlier run again, which printed it.
const SEED_VAR: &str = "QUOTASTACK_GROUPS_SEED";
/// When the cases of the first round start: a future in which nothing has happened yet.
const START: &str = "2100-01-01T00:00:00Z";
/// Longer than any case: the time of a lane never goes back, so each round starts after the one before.
const ROUND_DAYS: usize = 1_000;

/// A case as it is sent.
struct Run {
    case: Case,
    naming: Naming,
    history: History,
    /// For each step which command of the history it sends, and how many entries there are with it.
    steps: Vec<(Option<usize>, usize)>,
}

#[tokio::test]
async fn every_case_holds_with_its_commands_in_random_groups() {
    let server = TestServer::start().await;
    let (app, principal) = server.app(&server.live).await;
    let seed =
        std::env::var(SEED_VAR).map_or_else(|_| u64::from_be_bytes(clock::random()), |seed| seed.parse().unwrap());
    println!("{SEED_VAR}={seed}");
    for (round, days) in (0..ROUNDS).zip((0..).step_by(ROUND_DAYS)) {
        let start: Timestamp = START.parse().unwrap();
        let start = start.saturating_add_micros(days * 86_400 * MICROS_PER_SECOND);
        let prefix = |case: &Case| format!("r{round}_{}_", case.id.replace('-', "_"));
        let cases = case_file::ledger();
        // The features of all cases are in one environment, each case's under names of its own.
        for case in &cases {
            let naming = Naming { prefix: prefix(case), bucket: 0, start };
            for (feature_key, feature) in naming.features(case) {
                let name = feature_key.to_string();
                let change = CatalogueChange::CreateFeature { feature_key, name, feature };
                app.change_catalogue(&principal, &change, None).await.unwrap();
            }
        }
        let lane = Lane::open(&server, Arc::clone(&app), principal.clone()).await;
        let mut runs = Vec::new();
        for case in cases {
            let end_user_id = lane.end_user(&prefix(&case), 0).await;
            let naming = Naming { prefix: prefix(&case), bucket: end_user_id.bucket(), start };
            let history = History::new(end_user_id, Arc::clone(&lane.catalogue));
            let mut run = Run { case, naming, history, steps: Vec::new() };
            run.send_all(Actor::Key(principal.key_id));
            runs.push(run);
        }
        // The first round one by one.
        let sizes = if round == 0 { vec![1] } else { sizes(seed, round) };
        let (histories, told): (Vec<History>, Vec<_>) =
            runs.into_iter().map(|run| (run.history, (run.case, run.naming, run.steps))).unzip();
        lane.takes(&histories, &sizes, &server).await.unwrap();
        for (history, (case, naming, steps)) in histories.iter().zip(told) {
            // A case in which everything is refused leaves no account.
            let id = lane.account_id(&history.end_user_id).await.unwrap_or(history.alone.account.id);
            let entries = lane.entries(&history.end_user_id).await;
            check(&case, &naming, history, &steps, (id, &entries));
        }
    }
}

impl Run {
    fn send_all(&mut self, actor: Actor) {
        for (number, step) in self.case.steps.iter().enumerate() {
            let sent = self.naming.command(step).map(|command| {
                let mut seed = [0; 16];
                let named = format!("{}{number}", self.naming.prefix);
                seed.copy_from_slice(&blake3::hash(named.as_bytes()).as_bytes()[..16]);
                let identity = command.usage().is_none().then(|| RequestIdentity::unique(seed));
                let request = Request { now: self.naming.at(step.at), actor, seed, command };
                let end_user_id = self.history.end_user_id.clone();
                self.history.send(Submission { end_user_id, request, identity, notes: None });
                self.history.sent.len() - 1
            });
            self.steps.push((sent, self.history.alone.effects.entries.len()));
        }
    }
}

/// Holds what is stored, as of each step, against what the case expects there.
fn check(
    case: &Case,
    naming: &Naming,
    history: &History,
    steps: &[(Option<usize>, usize)],
    (id, entries): (AccountId, &[Entry]),
) {
    let mut blocks: BTreeMap<&str, BlockId> = BTreeMap::new();
    for (number, (step, (sent, entries_with_it))) in case.steps.iter().zip(steps).enumerate() {
        let place = format!("{} step {} ({})", case.id, number + 1, case.about);
        let outcome: Option<Result<Outcome, Refusal>> = sent.map(|sent| match history.sent[sent].answer.clone() {
            Answer::Done { outcome, .. } => Ok(outcome),
            Answer::Refused(refusal) => Err(refusal),
            Answer::KeyReused => panic!("{place}: nothing is sent twice"),
        });
        check_outcome(&step.expect, outcome.as_ref(), &place);
        if let (Some(given), Some(Ok(Outcome::Granted { block: Some(block), .. }))) = (&step.grant, &outcome) {
            blocks.insert(&given.name, block.id);
        }
        let mut refold = Refold::new(id);
        for entry in &entries[..*entries_with_it] {
            refold.push(entry).unwrap();
        }
        let mut wallet = refold.account(history.end_user_id.clone()).wallet;
        read_at(&mut wallet, &history.catalogue, naming.at(step.at));
        let totals = wallet.totals();
        let expect = &step.expect;
        for (name, expected, found) in [
            ("balance", expect.balance, totals.balance),
            ("reserved", expect.reserved, totals.reserved),
            ("available", expect.available, totals.available),
            ("debt", expect.debt, totals.debt),
        ] {
            assert!(expected.is_none_or(|amount| amount == found.get()), "{place}: {name} {expected:?}, not {found:?}");
        }
        for (name, expected) in &expect.blocks {
            let block = wallet.lots.iter().find(|block| block.id == blocks[name.as_str()]).unwrap();
            assert_eq!(block.lot.free().get(), *expected, "{place}: block {name}");
        }
    }
}

/// Sizes of groups, the same ones for a seed and a round.
fn sizes(seed: u64, round: u64) -> Vec<usize> {
    let size = |number: u64| {
        let hash = blake3::hash(format!("{seed}/{round}/{number}").as_bytes());
        let random = u64::from_be_bytes(hash.as_bytes()[..8].try_into().unwrap());
        1 + usize::try_from(random % GROUP_MAX).unwrap()
    };
    (0..37).map(size).collect()
}
