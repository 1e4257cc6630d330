//! Server and sidecars in a simulated world: delay, reordering between streams, repeated states, links that break,
//! answers that are lost after their commit, servers that restart, and sidecars that crash and lose what was not
//! durable. The ledger, the rings, the sessions and the sidecar's machine are the real ones.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` that many.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

mod check;
mod rng;
mod server;
mod sidecar;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SEEDS: u64 = 300;

#[test]
fn every_acknowledged_event_is_charged_once_and_every_replica_ends_equal_to_the_server() {
    run_seeds(world::World::new);
}

#[test]
fn a_database_restored_from_a_backup_gets_its_events_again() {
    run_seeds(world::World::with_restore);
}

fn run_seeds(world: fn(u64) -> world::World) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let count = usize::try_from(seeds.end - seeds.start).unwrap();
    let mut acknowledged = 0;
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| world(seed).run()));
        acknowledged += run.unwrap_or_else(|panic| {
            eprintln!("failed with SIM_SEED={seed}");
            resume_unwind(panic)
        });
    }
    assert!(acknowledged > 50 * count, "only {acknowledged} events: the world is too quiet");
}
