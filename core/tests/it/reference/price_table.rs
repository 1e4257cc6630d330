//! Prices, worked out by hand from docs/ledger.md, "Price of a feature".

use super::story::{HOUR, Story, commit, days, grant, priced, reserve, usage, usage_at};
use super::{Command, Commit, Feature, Policy, Price, Properties, Rule, SECOND, Tier, Use, Window};

/// 10 units at 5, 10 more at 3, all others at 1.
fn tiers() -> Vec<Tier> {
    vec![Tier { up_to: Some(10), cost: 5 }, Tier { up_to: Some(20), cost: 3 }, Tier { up_to: None, cost: 1 }]
}

fn graduated(per_units: i64, window: Window) -> Price {
    Price::Graduated { tiers: tiers(), per_units, window }
}

fn volume(window: Window) -> Price {
    Price::Volume { tiers: tiers(), per_units: 1, window }
}

fn rich(price: Price) -> Story {
    let mut story = Story::new([("f", priced(Policy::Block, price))]);
    story.at(0, grant(1_000_000)).unwrap();
    story
}

#[test]
fn each_kind_of_price() {
    let per_unit = Price::PerUnit { cost: 15, per_units: 1000 };
    let package = Price::Package { size: 100, cost: 7 };
    for (price, place, units, cost) in [
        (&per_unit, 0, 0, 0),
        (&per_unit, 0, 1, 1),
        (&per_unit, 0, 1000, 15),
        (&per_unit, 0, 1001, 16),
        (&Price::Flat { cost: 4 }, 9, 0, 4),
        (&Price::Flat { cost: 4 }, 9, 7, 4),
        (&package, 0, 0, 0),
        (&package, 0, 100, 7),
        (&package, 0, 101, 14),
        (&graduated(1, Window::Event), 0, 10, 50),
        (&graduated(1, Window::Event), 0, 11, 53),
        (&graduated(1, Window::Event), 8, 15, 10 + 30 + 3),
        (&graduated(1, Window::Event), 20, 5, 5),
        // 5 + 3 = 8 thirds of a credit: rounded once, not once in each tier.
        (&graduated(3, Window::Event), 9, 2, 3),
        (&volume(Window::Event), 0, 10, 50),
        (&volume(Window::Event), 0, 11, 33),
        (&volume(Window::Event), 15, 5, 15),
        (&volume(Window::Event), 15, 6, 6),
    ] {
        assert_eq!(price.cost(place, units), Ok(cost), "{price:?}: {units} after {place}");
    }
    assert_eq!(Price::PerUnit { cost: 1 << 40, per_units: 1 }.cost(0, 1 << 40), Err("amount_out_of_range"));
}

#[test]
fn a_reservation_takes_its_place_and_gives_back_what_it_did_not_use() {
    let mut story = rich(graduated(1, Window::Lifetime));
    // Units 1 to 15: 50 + 15. The next event stands behind them: 16 to 20 at 3, 21 at 1.
    assert_eq!(story.at(1, reserve(15)).unwrap().held, 65);
    assert_eq!(story.at(2, usage("a", 6)).unwrap().cost(), 16);
    assert_eq!(story.figures().counters[0].units, 21);
    // 12 used at the place it took; 3 go back, so the next is unit 19.
    assert_eq!(story.at(3, commit(0, 12)).unwrap().cost(), 56);
    assert_eq!(story.figures().counters[0].units, 18);
    assert_eq!(story.at(4, usage("b", 3)).unwrap().cost(), 3 + 3 + 1);
    // All of an unused one goes back.
    story.at(5, reserve(100)).unwrap();
    story.at(6, Command::Release { hold: 1 }).unwrap();
    assert_eq!(story.figures().counters[0].units, 21);
    // What is voided leaves its counter.
    story.at(7, Command::Void { event: 0 }).unwrap();
    story.at(8, Command::Void { event: 1 }).unwrap();
    assert_eq!(story.figures().counters[0].units, 3);
}

#[test]
fn partial_commits_of_a_reservation_are_priced_as_one_event() {
    let mut story = rich(graduated(1, Window::Lifetime));
    story.at(1, reserve(15)).unwrap();
    let part = |units| Commit { is_final: false, ..commit(0, units) };
    assert_eq!(story.at(2, part(8)).unwrap().cost(), 40);
    assert_eq!(story.at(3, part(4)).unwrap().cost(), 10 + 6);
    // More than the estimate: the counter grows with it.
    assert_eq!(story.at(4, commit(0, 9)).unwrap().cost(), 8 * 3 + 1);
    assert_eq!(story.figures().counters[0].units, 21);
}

#[test]
fn a_month_begins_anew_and_late_usage_counts_in_its_own() {
    let mut story = rich(volume(Window::CalendarMonth));
    assert_eq!(story.at(days(31) - 1, usage("january", 11)).unwrap().cost(), 33);
    assert_eq!(story.at(days(31), usage("february", 1)).unwrap().cost(), 5);
    assert_eq!(story.at(days(31) + HOUR, usage_at("late", 1, days(30))).unwrap().cost(), 3);
    let units: Vec<i64> = story.figures().counters.iter().map(|counter| counter.units).collect();
    assert_eq!(units, [12, 1]);
}

#[test]
fn the_rule_with_most_properties_prices_the_event_and_counts_by_itself() {
    let with = |pairs: &[(&str, &str)]| -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let rule = |pairs: &[(&str, &str)], price| Rule { matches: with(pairs), price };
    let feature = Feature {
        rules: vec![
            rule(&[("model", "large")], Price::Flat { cost: 9 }),
            rule(&[("model", "large"), ("region", "eu")], volume(Window::Lifetime)),
            rule(&[("region", "eu")], Price::Flat { cost: 2 }),
        ],
        ..priced(Policy::Block, graduated(1, Window::Lifetime))
    };
    let mut story = Story::new([("f", feature)]);
    story.at(0, grant(1000)).unwrap();
    for (key, pairs, rule, cost) in [
        ("1", with(&[]), None, 5),
        ("2", with(&[("model", "small")]), None, 5),
        ("3", with(&[("model", "large")]), Some(0), 9),
        ("4", with(&[("region", "eu")]), Some(2), 2),
        ("5", with(&[("model", "large"), ("region", "eu")]), Some(1), 5),
        ("6", with(&[("model", "large"), ("region", "us")]), Some(0), 9),
    ] {
        let answer = story.at(1, Use { properties: pairs, ..usage(key, 1) }).unwrap();
        assert_eq!((answer.rule, answer.cost()), (rule, cost), "{key}");
    }
    let counted: Vec<_> = story.figures().counters.iter().map(|counter| (counter.rule, counter.units)).collect();
    assert_eq!(counted, [(None, 2), (Some(1), 1)]);
}

#[test]
fn a_feature_without_a_price_can_be_charged_only_where_a_rule_has_one() {
    let price = Price::Flat { cost: 1 };
    let matches = Properties::from([("model".to_owned(), "large".to_owned())]);
    let rules = vec![Rule { matches: matches.clone(), price }];
    let feature = Feature { price: None, rules, ..priced(Policy::Overdraft, Price::Flat { cost: 0 }) };
    let mut story = Story::new([("f", feature)]);
    assert_eq!(story.at(0, usage("a", 1)), Err("feature_unpriced"));
    story.at(SECOND, Use { properties: matches, ..usage("a", 1) }).unwrap();
    assert_eq!(story.at(SECOND, Use { feature: "g".to_owned(), ..usage("b", 1) }), Err("feature_unknown"));
}
