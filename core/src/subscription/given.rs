//! [`Given`]: what an end user is given only once, and was. Source: docs/subscriptions.md, "Create".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{PlanId, VariantId};
use crate::time::Timestamp;

/// What an end user had of what is given only once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Given {
    /// The `once` templates: variant, and index in it.
    pub once: BTreeSet<(VariantId, u16)>,
    /// The plans whose trial they had.
    pub trials: BTreeSet<PlanId>,
    /// Their periods on the fallback.
    pub fallback: Option<FallbackPeriods>,
}

impl FallbackPeriods {
    /// The fallback was paused for so long.
    pub(super) fn move_by(&mut self, micros: i64) {
        self.anchor = self.anchor.saturating_add_micros(micros);
        for until in self.granted_until.values_mut() {
            *until = until.saturating_add_micros(micros);
        }
    }
}

/// The fallback's periods are anchored once: coming back inside one grants nothing again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackPeriods {
    /// Where the first one began.
    pub anchor: Timestamp,
    /// Per template, the end of the last interval that it was granted for.
    pub granted_until: BTreeMap<u16, Timestamp>,
}
