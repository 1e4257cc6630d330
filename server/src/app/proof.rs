//! Proofs: segments of an account's hash chain, as whoever does not trust this server checks them.

use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::proof::{Point, Proof, ProvenEntry};
use quotastack_core::limits::PROOF_ENTRIES_MAX;

use crate::app::error::AppError;
use crate::app::past::no_such_entry;
use crate::app::root::App;
use crate::store::types::EnvironmentId;

/// Entries of a proof where a caller does not say.
const ENTRIES_DEFAULT: u64 = 100;
/// Entries read at once.
const PAGE: i64 = 100;
/// Bytes of the entries of one proof; the entry that goes beyond is the last.
const BYTES_MAX: usize = 2 << 20;

/// Which segment.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProofRange {
    /// The first entry.
    pub from: Option<u64>,
    /// The last entry.
    pub to: Option<u64>,
}

impl ProofRange {
    /// The first and the last entry in a chain that ends at `head`. The one after the head may be the first of none.
    fn within(self, head: u64) -> Result<(u64, u64), AppError> {
        let (from, to) = match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => {
                return Err(AppError::invalid("query:to_seq", "must not be before from_seq"));
            }
            (Some(from), Some(to)) if to - from >= PROOF_ENTRIES_MAX => {
                return Err(AppError::invalid("query:to_seq", "a proof has at most 1,000 entries; ask for several"));
            }
            (Some(from), Some(to)) => (from, to),
            (Some(from), None) => (from, head.min(from.saturating_add(PROOF_ENTRIES_MAX - 1))),
            (None, to) => {
                let to = to.unwrap_or(head);
                (to.saturating_sub(ENTRIES_DEFAULT - 1).max(1), to)
            }
        };
        match (from > head + 1, to > head) {
            (true, _) => Err(no_such_entry(from, head)),
            (_, true) => Err(no_such_entry(to, head)),
            _ => Ok((from, to)),
        }
    }
}

impl App {
    /// A segment of an end user's chain. It ends before `to` where it would be too big.
    pub async fn proof(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        range: ProofRange,
    ) -> Result<Proof, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let found = tx.find_head(lane_id, end_user_id).await?;
        let nothing = || AppError::NotFound("nothing was ever written for this end user, so there is no chain".into());
        let (account, head) = found.ok_or_else(nothing)?;
        let (from, to) = range.within(head.seq)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let (mut before, mut after) = (None, None);
        let mut last = from - 1;
        while last < to && bytes < BYTES_MAX {
            let page = tx.list_entries(lane_id, account, last, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for entry in page.iter().take_while(|entry| entry.seq <= to) {
                if bytes >= BYTES_MAX {
                    break;
                }
                before.get_or_insert_with(|| Point::before(entry));
                (last, after) = (entry.seq, Some(Point::after(entry)));
                // The bytes as the stored columns make them: a change of one shows, for the stored hash is another's.
                let canonical = entry.canonical_bytes(account);
                bytes += canonical.len();
                entries.push(ProvenEntry { seq: entry.seq, canonical, hash: entry.hash });
            }
        }
        tx.commit().await?;
        Ok(Proof { account, before: before.unwrap_or(head), entries, after: after.unwrap_or(head), head })
    }
}
