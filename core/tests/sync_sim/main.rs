//! Server and sidecars in a simulated world: delay, reordering between streams, repeated states, links that break,
//! answers that are lost after their commit, servers that restart, clocks that differ, and sidecars that crash and lose
//! what was not durable. The ledger, the rings, the sessions and the sidecar's machine are the real ones. Each rule that
//! the guarantees rest on is also broken on purpose, and must be found.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` that many.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

mod check;
mod clients;
mod fault;
mod rng;
mod server;
mod sidecar;
mod strict;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::fault::Fault;
use crate::world::World;

const SEEDS: u64 = 500;

#[test]
fn every_acknowledged_event_is_charged_once_and_every_replica_ends_equal_to_the_server() {
    run_seeds(World::new);
}

#[test]
fn a_database_restored_from_a_backup_gets_its_events_again() {
    run_seeds(World::with_restore);
}

#[test]
fn strict_features_are_never_overspent() {
    run_seeds(World::strict);
}

#[test]
fn strict_features_are_overspent_by_no_more_than_comes_after_its_grace() {
    run_seeds(World::strict_with_long_outages);
}

#[test]
fn leases_without_fencing_are_found() {
    is_found(World::strict, Fault::FencingOff);
}

#[test]
fn leases_kept_across_restarts_are_found() {
    is_found(World::strict, Fault::LeasesKeptAcrossRestarts);
}

#[test]
fn leases_freed_before_their_grace_are_found() {
    is_found(World::strict, Fault::LeasesFreedBeforeGrace);
}

#[test]
fn an_acknowledgement_before_the_disk_is_found() {
    is_found(World::new, Fault::AcknowledgedBeforeDurable);
}

#[test]
fn a_state_applied_over_an_answer_on_its_way_is_found() {
    is_found(World::new, Fault::StateOverAnswer);
}

#[test]
fn another_history_that_is_taken_for_the_same_is_found() {
    is_found(World::with_restore, Fault::EpochIgnored);
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    }
}

fn run_seeds(world: fn(u64) -> World) {
    let (mut acknowledged, mut count) = (0, 0);
    for seed in seeds() {
        let run = catch_unwind(AssertUnwindSafe(|| world(seed).run()));
        acknowledged += run.unwrap_or_else(|panic| {
            eprintln!("failed with SIM_SEED={seed}");
            resume_unwind(panic)
        });
        count += 1;
    }
    assert!(acknowledged > 50 * count, "only {acknowledged} events: the world is too quiet");
}

/// A world with a broken rule does not get through the seeds.
fn is_found(world: fn(u64) -> World, fault: Fault) {
    let is_sound = |seed: u64| catch_unwind(AssertUnwindSafe(|| world(seed).breaking(fault).run())).is_ok();
    assert!(!seeds().all(is_sound), "no seed finds {fault:?}");
}
