//! Server, ledger, sidecar and WebAssembly decide alike (invariant 9 of docs/ledger.md), byte for byte: random
//! catalogues, random histories, and questions about instants between which much becomes due.
//!
//! `offering` makes the catalogues, `case` asks one question of everybody. What WebAssembly answers is compared in
//! sdk-wasm/tests/parity.test.mjs, over the cases that one of the tests here writes. `PARITY_SEED=n` repeats a run.

mod case;
mod offering;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::parity::case::{Case, Question, question};
use crate::parity::offering::{METERED, catalogue};
use crate::plans::random::{World, op};

/// What every run asks, beside what a seed of its own comes to.
const FIXED_SEED: u64 = 9;
const HISTORIES: usize = 120;

/// The seeds of a run: the same one always, and another one each time.
fn seeds() -> Vec<u64> {
    let given = std::env::var("PARITY_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = given.map_or_else(|| vec![FIXED_SEED, RandomState::new().build_hasher().finish()], |seed| vec![seed]);
    println!("again with one of these as PARITY_SEED: {seeds:?}");
    seeds
}

/// The questions that a seed comes to, each asked of the server's rules.
fn cases(seed: u64) -> Vec<Case> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let steps = prop::collection::vec((op(METERED), prop::collection::vec(question(), 0..4)), 10..40);
    let history = (catalogue(), steps);
    let mut cases = Vec::new();
    for _ in 0..HISTORIES {
        let (catalogue, steps) = history.new_tree(&mut runner).unwrap().current();
        let mut world = World::new(catalogue);
        for (op, questions) in steps {
            world.apply(&op);
            cases.extend(questions.iter().map(|question: &Question| Case::new(&world.story, question)));
        }
    }
    cases
}

#[test]
fn server_ledger_sidecar_and_edge_decide_alike() {
    for seed in seeds() {
        let cases = cases(seed);
        assert!(cases.len() > 2_000, "{}", cases.len());
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut due = 0;
        for (number, case) in cases.iter().enumerate() {
            assert_eq!(case.by_the_ledger(), case.by_the_server(), "case {number} of {seed}: {case:#?}");
            assert_eq!(case.by_the_sidecar(), case.by_the_server(), "case {number} of {seed}: {case:#?}");
            assert_eq!(case.at_the_edge(), case.by_the_server(), "case {number} of {seed}: {case:#?}");
            due += usize::from(case.is_due());
            let answer: serde_json::Value = serde_json::from_str(&case.by_the_server()).unwrap();
            *reasons.entry(answer["reason"].to_string()).or_default() += 1;
        }
        assert!(due > cases.len() / 3, "what is due between state and instant is what this is about: {due}");
        assert_eq!(reasons.len(), 10, "every reason but that of a stale copy: {reasons:?}");
    }
}

#[test]
fn what_a_sidecar_has_admitted_counts_for_it_as_it_does_in_the_ledger() {
    for seed in seeds() {
        let mut admitted = 0;
        for (number, case) in cases(seed).iter().enumerate() {
            let (ledger, sidecar) = case.with_pending_usage();
            assert_eq!(sidecar, ledger, "case {number} of {seed}: {case:#?}");
            admitted += sidecar.receipts.len();
        }
        assert!(admitted > 200, "{admitted}");
    }
}

#[test]
#[ignore = "`cargo xtask test wasm` has it write the cases that WebAssembly answers"]
fn the_cases_are_written_down() {
    let path = std::env::var("PARITY_CASES").expect("PARITY_CASES says where to");
    let mut file = String::from("{");
    let mut numbers: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for seed in seeds() {
        for case in cases(seed) {
            let next = numbers.len();
            let catalogue = *numbers.entry(case.catalogue_bytes()).or_insert(next);
            lines.push(case.to_json(seed, catalogue));
        }
    }
    let mut catalogues: Vec<(usize, String)> = numbers.into_iter().map(|(bytes, at)| (at, case::hex(&bytes))).collect();
    catalogues.sort();
    let catalogues: Vec<String> = catalogues.into_iter().map(|(_, hex)| format!("{hex:?}")).collect();
    file.push_str(&format!("\"catalogues\":[{}],\n\"cases\":[\n{}\n]}}\n", catalogues.join(",\n"), lines.join(",\n")));
    std::fs::write(path, file).unwrap();
}
