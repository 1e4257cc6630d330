//! Amounts: [`Credits`] and [`Units`], integers that every JavaScript reader can hold exactly.
//!
//! Source: docs/ledger.md, "Amounts and time". Inputs are range-checked once, where they enter
//! ([`Credits::new`], [`Units::new`]); sums inside the ledger are checked against the same range where a
//! balance or a debt can grow, so plain operators are safe in between.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// The largest magnitude of an amount: 2^53 - 1.
pub const AMOUNT_MAX: i64 = (1 << 53) - 1;

/// An amount beyond +-(2^53 - 1); over HTTP `amount_out_of_range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount must stay within +-9007199254740991 (2^53 - 1)")]
pub struct AmountOutOfRange;

/// A signed amount in the tenant's smallest credit unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Credits(i64);

impl Credits {
    /// No credit.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(AMOUNT_MAX);

    /// An amount within +-(2^53 - 1).
    pub const fn new(amount: i64) -> Result<Self, AmountOutOfRange> {
        if amount > AMOUNT_MAX || amount < -AMOUNT_MAX {
            return Err(AmountOutOfRange);
        }
        Ok(Self(amount))
    }

    /// The number of smallest units.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whether this is more than nothing.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Whether this is exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, if it is still an amount.
    pub fn checked_add(self, other: Self) -> Result<Self, AmountOutOfRange> {
        Self::new(self.0.checked_add(other.0).ok_or(AmountOutOfRange)?)
    }
}

impl TryFrom<i64> for Credits {
    type Error = AmountOutOfRange;
    fn try_from(amount: i64) -> Result<Self, AmountOutOfRange> {
        Self::new(amount)
    }
}

impl From<Credits> for i64 {
    fn from(credits: Credits) -> Self {
        credits.0
    }
}

impl Add for Credits {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.checked_add(other.0).expect("sums of amounts stay far inside i64"))
    }
}

impl Sub for Credits {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.checked_sub(other.0).expect("sums of amounts stay far inside i64"))
    }
}

impl Neg for Credits {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl AddAssign for Credits {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Credits {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// A count of feature units in one event: 0 to 2^53 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Units(i64);

impl Units {
    /// One unit, the default of a check.
    pub const ONE: Self = Self(1);
    /// The largest count.
    pub const MAX: Self = Self(AMOUNT_MAX);

    /// A count from 0 to 2^53 - 1.
    pub const fn new(units: i64) -> Result<Self, AmountOutOfRange> {
        if units < 0 || units > AMOUNT_MAX {
            return Err(AmountOutOfRange);
        }
        Ok(Self(units))
    }

    /// The count.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Units {
    type Error = AmountOutOfRange;
    fn try_from(units: i64) -> Result<Self, AmountOutOfRange> {
        Self::new(units)
    }
}

impl From<Units> for i64 {
    fn from(units: Units) -> Self {
        units.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_what_javascript_holds_exactly() {
        assert!(Credits::new(AMOUNT_MAX).is_ok());
        assert!(Credits::new(-AMOUNT_MAX).is_ok());
        assert_eq!(Credits::new(AMOUNT_MAX + 1), Err(AmountOutOfRange));
        assert_eq!(Credits::new(i64::MIN), Err(AmountOutOfRange));
        assert_eq!(Credits::MAX.checked_add(Credits(1)), Err(AmountOutOfRange));
        assert_eq!(Units::new(-1), Err(AmountOutOfRange));
        assert_eq!(Units::new(i64::MAX), Err(AmountOutOfRange));
    }
}
