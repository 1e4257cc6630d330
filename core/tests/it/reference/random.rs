//! Random streams through the model: its invariants after every operation, and that it hangs on nothing but commands.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::stream::streams;
use super::{Command, EntryKind, Model, Played, Player, Stream, invariants, refused_left_nothing};
use crate::support::twice_as_many;

proptest! {
    #![proptest_config(twice_as_many())]

    #[test]
    fn the_invariants_hold_after_every_operation(stream in streams()) {
        let mut player = Player::new(&stream);
        for step in &stream.steps {
            let before = player.model.clone();
            let played = player.play(step);
            check(&before, &played, &player.model)?;
        }
    }

    /// Invariants 6 and 7, as far as a model without ids and batches has them.
    #[test]
    fn what_was_accepted_alone_gives_the_same_entries_and_can_be_sent_again(stream in streams()) {
        let mut player = Player::new(&stream);
        let mut alone = player.model.clone();
        for step in &stream.steps {
            let Played { now, command, result } = player.play(step);
            if let (Some(command), Ok(answer)) = (command, result) {
                prop_assert_eq!(alone.apply(now, &command), Ok(answer.clone()));
                if has_identity(&command) {
                    let sent_once = alone.clone();
                    prop_assert!(alone.apply(now, &command).is_ok_and(|again| again.replayed));
                    prop_assert_eq!(&alone, &sent_once);
                }
            }
        }
        alone.advance(player.model.now);
        prop_assert_eq!(alone, player.model);
    }
}

fn check(before: &Model, played: &Played, after: &Model) -> Result<(), TestCaseError> {
    invariants(after).map_err(TestCaseError::fail)?;
    if let (Some(command), Err(code)) = (&played.command, &played.result) {
        refused_left_nothing(before, played.now, command, code, after).map_err(TestCaseError::fail)?;
    }
    if played.result.as_ref().is_ok_and(|answer| answer.replayed) {
        let command = played.command.as_ref().unwrap();
        refused_left_nothing(before, played.now, command, "replayed", after).map_err(TestCaseError::fail)?;
    }
    // Time in one leap and in two is the same time.
    let (mut leap, mut steps) = (before.clone(), before.clone());
    leap.advance(played.now);
    steps.advance(before.now + (played.now - before.now) / 2);
    steps.advance(played.now);
    prop_assert_eq!(leap, steps);
    Ok(())
}

/// Commands that name what they are, so that sending them again is no second one.
fn has_identity(command: &Command) -> bool {
    match command {
        Command::Use(_) | Command::Void { .. } | Command::Commit(_) | Command::Topup { .. } => true,
        Command::VoidBlock { .. } => true,
        Command::Grant(_)
        | Command::Adjust { .. }
        | Command::Refund { .. }
        | Command::Reserve { .. }
        | Command::Release { .. }
        | Command::Extend { .. } => false,
    }
}

/// Streams that never came to a rule would show nothing of it.
#[test]
fn streams_come_to_every_kind_of_entry_and_refusal() {
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..256 {
        let stream: Stream = streams().new_tree(&mut runner).unwrap().current();
        let mut player = Player::new(&stream);
        for step in &stream.steps {
            let Played { command, result, .. } = player.play(step);
            match (command, result) {
                (Some(_), Err(code)) => *seen.entry(code.to_owned()).or_default() += 1,
                (Some(_), Ok(answer)) if answer.replayed => *seen.entry("replayed".to_owned()).or_default() += 1,
                (Some(_), Ok(answer)) if answer.trimmed > 0 => *seen.entry("trimmed".to_owned()).or_default() += 1,
                _ => {}
            }
        }
        for entry in &player.model.entries {
            *seen.entry(format!("{:?}", entry.kind)).or_default() += 1;
            if entry.kind == EntryKind::Expire && entry.amount > 0 {
                *seen.entry("revived".to_owned()).or_default() += 1;
            }
        }
        let blocks = &player.model.blocks;
        for (name, happened) in [
            ("claw-back undone", blocks.iter().any(|block| block.claw_back_undone > 0)),
            ("settlement undone", player.model.settled.iter().any(|settled| settled.undone > 0)),
            ("uncovered", player.model.holds.iter().any(|hold| hold.uncovered > 0)),
        ] {
            *seen.entry(name.to_owned()).or_default() += u32::from(happened);
        }
    }
    for name in [
        "Grant",
        "Start",
        "Usage",
        "Commit",
        "Debt",
        "Hold",
        "Extend",
        "Release",
        "HoldExpired",
        "Expire",
        "Refund",
        "Withdraw",
        "DebtSettled",
        "Void",
        "Adjust",
        "revived",
        "trimmed",
        "replayed",
        "claw-back undone",
        "settlement undone",
        "uncovered",
        "insufficient_credits",
        "overdraft_limit",
        "over_commit",
        "reservation_committed",
        "reservation_released",
        "reservation_expired",
        "idempotency_conflict",
        "validation_failed",
        "invalid_transition",
    ] {
        let times = seen.get(name).copied().unwrap_or_default();
        assert!(times >= 5, "{name}: {times} times: {seen:?}");
    }
}
