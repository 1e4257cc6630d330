//! Verifying an end user's ledger without trusting the server: the rules are `core`'s, the bytes are the server's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quotastack_core::api::ledger::EntryJson;
use quotastack_core::credits::Credits;
use quotastack_core::ids::AccountId;
use quotastack_core::ledger::entry::Hash;
use quotastack_core::ledger::proof::{BrokenProof, Point, Proof, ProvenEntry, Remembered, verify};
use serde::{Deserialize, Serialize};

use crate::api::types::{LedgerEntry, LedgerPoint, LedgerProof};
use crate::{Client, Error};

/// Where a verified ledger ended. Keep it: the next verification starts from it, and finds out if anything that was
/// there before is another now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// The account's internal id.
    pub account_id: String,
    /// The entry.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
    /// The balance with it.
    pub balance: i64,
    /// What was reserved with it.
    pub reserved: i64,
    /// The debt with it.
    pub debt: i64,
}

/// A ledger that is what it should be.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedLedger {
    /// The account before the first verified entry.
    pub before: LedgerPoint,
    /// The account after the last one.
    pub after: LedgerPoint,
    /// What to remember.
    pub remember: LedgerHead,
}

/// A proof that is what it should be.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedProof {
    /// The account before its first entry.
    pub before: LedgerPoint,
    /// The account after its last one.
    pub after: LedgerPoint,
    /// Whether the ledger ends there.
    pub is_head: bool,
    /// Its entries, read from their bytes: what the ledger lists, but for the `reason`, which is not in the chain.
    pub entries: Vec<LedgerEntry>,
    /// What to remember.
    pub remember: LedgerHead,
}

/// The first entry of a ledger that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {reason}")]
pub struct BrokenLedger {
    /// Which.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl BrokenLedger {
    fn new(seq: i64, reason: impl ToString) -> Self {
        Self { seq, reason: reason.to_string() }
    }
}

impl From<BrokenProof> for BrokenLedger {
    fn from(broken: BrokenProof) -> Self {
        Self::new(i64::try_from(broken.seq).unwrap_or(i64::MAX), broken.fault)
    }
}

/// Verifies a proof, by itself and against what is remembered from an earlier one. Calls nobody.
///
/// # Errors
/// The first entry that is not what it should be.
pub fn verify_proof(proof: &LedgerProof, remembered: Option<&LedgerHead>) -> Result<VerifiedProof, BrokenLedger> {
    let remembered = remembered.map(read_head).transpose()?;
    let verified = verify(&read_proof(proof)?, remembered.as_ref())?;
    let listed = verified.entries.iter().map(|entry| {
        let listed = serde_json::to_value(EntryJson::new(entry, None)).and_then(serde_json::from_value);
        listed.map_err(|error| BrokenLedger::new(i64::try_from(entry.seq).unwrap_or(i64::MAX), error))
    });
    let entries = listed.collect::<Result<_, _>>()?;
    let (before, after) = (proof.before.clone(), proof.after.clone());
    let LedgerPoint { seq, hash, balance, reserved, debt } = after.clone();
    let remember = LedgerHead { account_id: proof.account_id.clone(), seq, hash, balance, reserved, debt };
    Ok(VerifiedProof { before, after, is_head: verified.is_head, entries, remember })
}

fn read_proof(proof: &LedgerProof) -> Result<Proof, BrokenLedger> {
    let entry = |entry: &crate::api::types::ProvenEntry| {
        let broken = || BrokenLedger::new(entry.seq, "the proof cannot be read");
        Ok::<_, BrokenLedger>(ProvenEntry {
            seq: u64::try_from(entry.seq).map_err(|_| broken())?,
            canonical: STANDARD.decode(&entry.canonical).map_err(|_| broken())?,
            hash: entry.hash.parse().map_err(|_| broken())?,
        })
    };
    Ok(Proof {
        account: read_account(&proof.account_id, proof.before.seq)?,
        before: read_point(&proof.before)?,
        entries: proof.entries.iter().map(entry).collect::<Result<_, _>>()?,
        after: read_point(&proof.after)?,
        head: read_point(&proof.head)?,
    })
}

fn read_head(head: &LedgerHead) -> Result<Remembered, BrokenLedger> {
    let LedgerHead { account_id, seq, hash, balance, reserved, debt } = head;
    let point = LedgerPoint { seq: *seq, hash: hash.clone(), balance: *balance, reserved: *reserved, debt: *debt };
    Ok(Remembered { account: read_account(account_id, *seq)?, at: read_point(&point)? })
}

fn read_account(id: &str, seq: i64) -> Result<AccountId, BrokenLedger> {
    id.parse().map_err(|error| BrokenLedger::new(seq, error))
}

fn read_point(point: &LedgerPoint) -> Result<Point, BrokenLedger> {
    let amount = |amount| Credits::new(amount).map_err(|error| BrokenLedger::new(point.seq, error));
    Ok(Point {
        seq: u64::try_from(point.seq).map_err(|_| BrokenLedger::new(point.seq, "entries count from 1"))?,
        hash: point.hash.parse::<Hash>().map_err(|error| BrokenLedger::new(point.seq, error))?,
        balance: amount(point.balance)?,
        reserved: amount(point.reserved)?,
        debt: amount(point.debt)?,
    })
}

impl Client {
    /// Fetches an end user's ledger and verifies it: all of it, or what was added after `remembered`. What is written
    /// meanwhile is left for the next time.
    ///
    /// # Errors
    /// [`Error::BrokenLedger`] with the first entry that is not what it should be; `not_found` for an end user that
    /// nothing was ever written for.
    pub async fn verify_ledger(
        &self,
        end_user_id: &str,
        remembered: Option<&LedgerHead>,
    ) -> Result<VerifiedLedger, Error> {
        let mut known = remembered.cloned();
        let mut ends = None;
        let mut before = None;
        loop {
            let from = known.as_ref().map_or(1, |head| head.seq.saturating_add(1));
            let sent = self.api().get_ledger_proof().end_user_id(end_user_id).from_seq(from).send().await;
            let proof = match sent.map_err(Error::from) {
                Err(Error::Api(problem)) if problem.code == "not_found" && from > 1 => {
                    return Err(
                        BrokenLedger::new(from - 1, "it was there before, and the server has it no more").into()
                    );
                }
                other => other?.into_inner(),
            };
            if proof.before.seq != from - 1 {
                return Err(BrokenLedger::new(from, "the server does not show it").into());
            }
            let verified = verify_proof(&proof, known.as_ref())?;
            let until = *ends.get_or_insert(proof.head.seq);
            let before = before.get_or_insert(verified.before).clone();
            if verified.after.seq >= until {
                return Ok(VerifiedLedger { before, after: verified.after, remember: verified.remember });
            }
            if verified.entries.is_empty() {
                let missing = verified.after.seq.saturating_add(1);
                return Err(BrokenLedger::new(missing, "the server does not show it").into());
            }
            known = Some(verified.remember);
        }
    }
}
