//! An end user's own terms, given and taken away. They move no credit and write no entry.

use crate::catalogue::Catalogue;
use crate::entitlement::terms::Override;
use crate::ids::FeatureKey;
use crate::ledger::book::Book;
use crate::ledger::event::EventKind;
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::limits::OVERRIDES_MAX;

pub(super) fn set(book: &mut Book<'_>, catalogue: &Catalogue, terms: &Override) -> Result<Outcome, Refusal> {
    let feature_key = &terms.feature_key;
    if !catalogue.features.contains_key(feature_key) {
        return Err(Refusal::FeatureUnknown(feature_key.clone()));
    }
    let overrides = &mut book.account.wallet.overrides;
    match overrides.binary_search_by(|own| own.feature_key.cmp(feature_key)) {
        Ok(place) => overrides[place] = terms.clone(),
        Err(_) if overrides.len() >= OVERRIDES_MAX => return Err(Refusal::TooManyOverrides),
        Err(place) => overrides.insert(place, terms.clone()),
    }
    book.announce(book.now(), EventKind::OverrideChanged { feature_key: feature_key.clone(), is_set: true });
    Ok(Outcome::OverrideSet { terms: terms.clone() })
}

pub(super) fn remove(book: &mut Book<'_>, feature_key: &FeatureKey) -> Result<Outcome, Refusal> {
    let overrides = &mut book.account.wallet.overrides;
    let place = overrides.binary_search_by(|own| own.feature_key.cmp(feature_key));
    let place = place.map_err(|_| Refusal::OverrideUnknown(feature_key.clone()))?;
    overrides.remove(place);
    book.announce(book.now(), EventKind::OverrideChanged { feature_key: feature_key.clone(), is_set: false });
    Ok(Outcome::OverrideRemoved {})
}
