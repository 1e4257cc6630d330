//! Tranches: what is published of an account's blocks, and when it is too much.

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::Grant;
use quotastack_core::limits::TRANCHES_MAX;
use quotastack_core::state::AccountState;

use crate::support::{Story, at, catalogue, feature_key, grant, metered, usage};

fn story() -> Story {
    Story::new(catalogue([("f", metered(OveragePolicy::Block, None))]))
}

fn publish(story: &Story) -> AccountState {
    AccountState::publish(&story.account, 7, &story.catalogue)
}

#[test]
fn neighbours_that_no_rule_tells_apart_are_one_tranche() {
    let mut story = story();
    let like = || Grant { expires_at: Some(at(100)), ..grant(10) };
    let variations = [
        like(),
        like(),
        Grant { kind: BlockKind::Topup, ..like() },
        Grant { settles_debt: false, ..like() },
        Grant { paid: true, ..like() },
        Grant { priority: 101, ..like() },
        Grant { expires_at: Some(at(101)), ..like() },
        Grant { effective_at: Some(at(1)), ..like() },
        Grant { feature_keys: vec![feature_key("f")], ..like() },
    ];
    for variation in variations {
        story.apply(at(0), variation).unwrap();
    }
    let mut amounts: Vec<i64> = publish(&story).wallet.lots.iter().map(|tranche| tranche.lot.remaining.get()).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [10, 10, 10, 10, 10, 10, 10, 20]);
    story.apply(at(0), usage("u", "f", 80)).unwrap();
    assert_eq!(publish(&story).wallet.lots.len(), 1, "used-up blocks are not published");
}

#[test]
fn an_account_with_too_many_tranches_is_partial() {
    let mut story = story();
    for second in 0..TRANCHES_MAX {
        let expires_at = Some(at(100 + i64::try_from(second).unwrap()));
        story.apply(at(0), Grant { expires_at, ..grant(1) }).unwrap();
    }
    assert!(!publish(&story).partial);
    assert_eq!(publish(&story).wallet.lots.len(), TRANCHES_MAX);
    story.apply(at(0), grant(1)).unwrap();
    assert!(publish(&story).partial);
    assert!(publish(&story).wallet.lots.is_empty());
}
