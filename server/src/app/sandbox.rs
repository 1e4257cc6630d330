//! The sandbox's clock. It follows real time until it is first set; then it stands until it is set again, or runs on.
//!
//! Setting it is a change of the catalogue. What became due is then written by the writers of the lanes, before the call
//! returns; a call that is cut off leaves the rest to its repeat, or to the worker. Source: docs/subscriptions.md, "The
//! sandbox clock".

use std::time::Duration;

use quotastack_core::catalogue::Clock;
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};

use crate::app::auth::Principal;
use crate::app::catalogue::{CatalogueChange, CatalogueDone, Changed, Failure};
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::idempotency::RequestIdentity;
use crate::app::root::App;
use crate::store::tx::Tx;
use crate::store::types::EnvironmentId;

/// The last instant that a clock can be set to: one before the end of time, where every period would be empty.
const CLOCK_MAX: Timestamp = Timestamp::MAX.saturating_add_micros(-1);
/// The last instant from which a clock can run on: a hundred years before the end.
const RUN_FROM_MAX: Timestamp = Timestamp::MAX.saturating_add_micros(-3_155_760_000 * MICROS_PER_SECOND);
/// How long a call goes on with what became due, before the last page; the SDKs wait for 10 s.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(4);

/// How the sandbox clock is to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSetting {
    /// This many seconds ahead of where it stands.
    Advance(i64),
    /// To this instant, not before its own present.
    To(Timestamp),
    /// On from where it stands, with real time.
    Follow,
}

impl App {
    /// The environment's present, and whether its clock runs.
    pub async fn clock(&self, id: EnvironmentId) -> Result<(Timestamp, bool), AppError> {
        let (_, clock) = self.store.begin(id).await?.catalogue_head(id).await?;
        Ok((clock.at(clock::now()), !matches!(clock, Clock::Standing(_))))
    }

    /// Sets the clock, and writes down all that became due with it. Where that takes too long, `CatchingUp`: the clock
    /// is set, and the same request with the same key goes on.
    pub async fn set_clock(
        &self,
        principal: &Principal,
        setting: ClockSetting,
        identity: Option<RequestIdentity>,
    ) -> Result<CatalogueDone, AppError> {
        let done = self.change_catalogue(principal, &CatalogueChange::SetClock(setting), identity).await?;
        let Changed::Clock { now, .. } = done.changed else { unreachable!("the change sets the clock") };
        self.write_all_due(principal.environment_id, now, CATCH_UP_PATIENCE).await?;
        Ok(done)
    }
}

/// Sets the clock of an environment whose catalogue this transaction has locked.
pub(super) async fn set_clock(
    tx: &mut Tx,
    id: EnvironmentId,
    setting: ClockSetting,
    real: Timestamp,
) -> Result<Changed, Failure> {
    let (_, before) = tx.catalogue_head(id).await?;
    let present = before.at(real);
    let invalid = |pointer, detail| Err(Failure::Refused(AppError::invalid(pointer, detail)));
    let (at, pointer) = match setting {
        ClockSetting::Advance(seconds) => {
            let micros = seconds.saturating_mul(MICROS_PER_SECOND);
            (present.saturating_add_micros(micros), "/advance_seconds")
        }
        ClockSetting::To(at) => (at, "/now"),
        ClockSetting::Follow if present > RUN_FROM_MAX => {
            return invalid("/follow", format!("the clock cannot run on from later than {RUN_FROM_MAX}"));
        }
        ClockSetting::Follow => {
            if let Clock::Standing(at) = before {
                let ahead = at.micros_since(real);
                tx.set_clock(id, if ahead == 0 { Clock::Real } else { Clock::Ahead(ahead) }).await?;
            }
            return Ok(Changed::Clock { now: present, running: true });
        }
    };
    if at < present {
        let detail = format!("the sandbox clock only goes forward; its present is {present}, give that or a later one");
        return invalid(pointer, detail);
    }
    if at > CLOCK_MAX {
        return invalid(pointer, format!("the sandbox clock goes no further than {CLOCK_MAX}"));
    }
    tx.set_clock(id, Clock::Standing(at)).await?;
    Ok(Changed::Clock { now: at, running: false })
}
