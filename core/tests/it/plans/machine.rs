//! The table of states and happenings is the one that docs/subscriptions.md shows.

use quotastack_core::subscription::SubscriptionStatus;
use quotastack_core::subscription::machine::{Happening, next};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/subscriptions.md");
const BEGIN: &str = "<!-- the table of states: written by `UPDATE_GOLDEN=1 cargo nextest run -p quotastack-core` -->\n";
const END: &str = "<!-- end of the table -->\n";

/// A row per happening, a column per state, the state it leads to in each cell.
fn table() -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let states = SubscriptionStatus::ALL.iter().filter(|state| !state.is_over());
    let head = std::iter::once("what happens".to_owned()).chain(states.clone().map(|state| state.name().to_owned()));
    let mut table = row(head.collect());
    table += &row(std::iter::repeat_n("---".to_owned(), states.clone().count() + 1).collect());
    for happening in Happening::ALL {
        let name = serde_json::to_value(happening).unwrap().as_str().unwrap().replace('_', " ");
        let cells = states.clone().map(|state| next(*state, happening).map_or("", SubscriptionStatus::name).to_owned());
        table += &row(std::iter::once(name).chain(cells).collect());
    }
    table
}

#[test]
fn the_page_shows_the_table() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (shown, after) = rest.split_once(END).expect("the place has an end");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(PAGE, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        return;
    }
    assert_eq!(shown, table(), "run with UPDATE_GOLDEN=1");
}

#[test]
fn nothing_happens_to_what_is_over_and_every_state_is_reached_and_left() {
    for state in SubscriptionStatus::ALL {
        let leaves = Happening::ALL.iter().filter_map(|happening| next(state, *happening)).any(|to| to != state);
        assert_eq!(leaves, !state.is_over(), "{state:?}");
        let reaches = |from| Happening::ALL.iter().any(|happening| next(from, *happening) == Some(state));
        let from = SubscriptionStatus::ALL.into_iter().filter(|from| *from != state).any(reaches);
        assert_eq!(from, state != SubscriptionStatus::Scheduled, "{state:?} is reached");
    }
}

/// Whether it says what will be, and changes no state yet.
const fn is_about_later(happening: Happening) -> bool {
    matches!(happening, Happening::ConvertAtTrialEnd | Happening::CancelAtPeriodEnd | Happening::PauseAtPeriodEnd)
}

#[test]
fn each_happening_leads_from_somewhere_to_what_it_aims_at() {
    for happening in Happening::ALL {
        let led = SubscriptionStatus::ALL.into_iter().filter_map(|state| next(state, happening));
        let led: Vec<_> = led.collect();
        assert!(led.contains(&happening.aim()) || is_about_later(happening), "{happening:?}");
    }
}
