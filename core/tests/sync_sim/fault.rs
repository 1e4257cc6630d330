//! Rules that a world breaks on purpose: each must be found, or it is not known that the rule is needed.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Any run may give back what a lease holds.
    FencingOff,
    /// A new run goes on with the leases of the one before.
    LeasesKeptAcrossRestarts,
    /// The credit of a lease comes back at its end, not after the grace.
    LeasesFreedBeforeGrace,
    /// Clients are told before the outbox is on disk.
    AcknowledgedBeforeDurable,
    /// A state that comes while an answer is on its way is applied.
    StateOverAnswer,
    /// After a restore from a backup the server says that nothing happened.
    EpochIgnored,
}
