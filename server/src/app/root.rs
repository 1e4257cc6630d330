//! [`App`]: everything the server does, in one value that HTTP and the link share.

use std::sync::Arc;
use std::time::Duration;

use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::command::{Command, Request};
use quotastack_core::ledger::entry::Actor;
use quotastack_core::ledger::outcome::Outcome;
use secrecy::SecretString;

use crate::app::auth::{Authenticator, Principal};
use crate::app::clock;
use crate::app::decide::{Decided, Submission};
use crate::app::environment::EnvironmentHandle;
use crate::app::environments::{Environments, OpenEnvironment};
use crate::app::error::AppError;
use crate::app::follow::{self, FeedPage};
use crate::app::idempotency::RequestIdentity;
use crate::app::usage_rollups::PageSize;
use crate::app::writer::Written;
use crate::store::accounts::BlockNotes;
use crate::store::migrate::SCHEMA_VERSION;
use crate::store::tx::{Store, is_unmigrated};
use crate::store::types::EnvironmentId;

/// How long a write may wait for its turn.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the database may take to show that it is there.
const READINESS_PATIENCE: Duration = Duration::from_secs(2);

/// How an [`App`] is set up.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Where Postgres is; its login must be a member of `quotastack_app`.
    pub database_url: String,
    /// Connections at most.
    pub connections_max: u32,
}

/// The server without HTTP and without SQL.
#[derive(Debug)]
pub struct App {
    pub(super) store: Store,
    authenticator: Authenticator,
    environments: Arc<Environments>,
    pub(super) rollup_page: PageSize,
    poller: tokio::task::JoinHandle<()>,
}

/// Whether requests can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// The database does not answer.
    NoAnswer,
    /// The database was not migrated to this version's schema.
    OtherSchema,
}

/// What came of a write over REST.
#[derive(Debug, Clone)]
pub struct Carried {
    /// What came of it.
    pub outcome: Outcome,
    /// Whether an earlier request with the same key did it.
    pub replayed: bool,
    /// The lane it was written in.
    pub lane: u16,
    /// The account's place in the lane's feed with it.
    pub stamp: u64,
}

impl App {
    /// Connects, and starts to follow the feed. Does not fail while the database is away.
    pub fn start(config: &AppConfig) -> sqlx::Result<Arc<Self>> {
        let store = Store::connect(&config.database_url, config.connections_max)?;
        let environments = Arc::new(Environments::default());
        let poller = tokio::spawn(follow::poll(store.clone(), Arc::clone(&environments)));
        let rollup_page = PageSize::default();
        Ok(Arc::new(Self { store, authenticator: Authenticator::default(), environments, rollup_page, poller }))
    }

    /// Whether requests can be served now.
    pub async fn readiness(&self) -> Readiness {
        let version = async {
            let mut tx = self.store.begin_without_environment().await?;
            let version = tx.schema_version().await?;
            tx.commit().await?;
            Ok::<_, sqlx::Error>(version)
        };
        match tokio::time::timeout(READINESS_PATIENCE, version).await {
            Ok(Ok(version)) if version == SCHEMA_VERSION => Readiness::Ready,
            Ok(Ok(_)) => Readiness::OtherSchema,
            Ok(Err(error)) if is_unmigrated(&error) => Readiness::OtherSchema,
            Ok(Err(_)) | Err(_) => Readiness::NoAnswer,
        }
    }

    /// Stops following the feed and closes the connections after their transactions.
    pub async fn stop(&self) {
        self.poller.abort();
        self.store.close().await;
    }

    /// The principal of a secret, if it is a valid key now.
    pub async fn authenticate(&self, presented: Option<&SecretString>) -> Result<Principal, AppError> {
        self.authenticator.authenticate(&self.store, presented).await
    }

    /// What is kept in memory of an environment.
    pub async fn environment(&self, id: EnvironmentId) -> Result<Arc<OpenEnvironment>, AppError> {
        Ok(self.environments.open(&self.store, id).await?)
    }

    /// The id of the database's history, and how far the lanes of an environment are.
    pub async fn feed_heads(&self, id: EnvironmentId) -> Result<([u8; 16], Vec<u64>), AppError> {
        let mut tx = self.store.begin_snapshot(id).await?;
        let epoch = tx.epoch().await?;
        let lanes = tx.list_lanes(id).await?;
        tx.commit().await?;
        Ok((epoch, lanes.into_iter().map(|(_, feed_seq)| feed_seq).collect()))
    }

    /// What follows `after` in a lane's feed, from the database.
    pub async fn feed_page(
        &self,
        environment: &EnvironmentHandle,
        lane: u16,
        after: u64,
    ) -> Result<FeedPage, AppError> {
        Ok(follow::read_page(&self.store, environment, lane, after).await?)
    }

    /// Has commands of one lane carried out in order, each answered on its own.
    pub async fn write_lane(
        &self,
        id: EnvironmentId,
        lane: u16,
        commands: Vec<Submission>,
    ) -> Result<Written, AppError> {
        let environment = self.environment(id).await?;
        environment.writers[usize::from(lane)].write(commands, WRITE_PATIENCE).await
    }

    /// Has one command carried out.
    pub async fn write(
        &self,
        principal: &Principal,
        end_user_id: EndUserId,
        command: Command,
        identity: Option<RequestIdentity>,
        notes: Option<BlockNotes>,
    ) -> Result<Carried, AppError> {
        let environment = self.environment(principal.environment_id).await?;
        let (lane, _) = environment.handle.lane_of(end_user_id.bucket());
        let submission = submission(principal, end_user_id.clone(), command, identity, notes);
        let written = environment.writers[usize::from(lane)].write(vec![submission], WRITE_PATIENCE).await?;
        let decided = written.results.into_iter().next().expect("a job has a result per command");
        let stamp = written.states.get(&end_user_id).map_or(0, |state| state.stamp);
        let (outcome, replayed) = decided.into_result()?;
        Ok(Carried { outcome, replayed, lane, stamp })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Decided {
    /// The outcome and whether it is a repeat, or the error that the caller is told.
    pub fn into_result(self) -> Result<(Outcome, bool), AppError> {
        match self {
            Self::Done { outcome, replayed } => Ok((*outcome, replayed)),
            Self::Refused(refusal) => Err(AppError::Refused(refusal)),
            Self::KeyReused => Err(AppError::KeyReused),
            Self::Failed => Err(AppError::Internal("a command fails alone".into())),
            Self::Postponed => Err(AppError::Overloaded),
        }
    }
}

/// A command of `principal`, with everything fixed that a repeated run must find unchanged.
pub fn submission(
    principal: &Principal,
    end_user_id: EndUserId,
    command: Command,
    identity: Option<RequestIdentity>,
    notes: Option<BlockNotes>,
) -> Submission {
    let seed = clock::random();
    let identity = match command {
        // Their own identity is in the body.
        Command::Usage(_) | Command::Consume(_) | Command::OpenLease(_) | Command::ReturnLease(_) => None,
        _ => Some(identity.unwrap_or(RequestIdentity::unique(seed))),
    };
    let request = Request { now: clock::now(), actor: Actor::Key(principal.key_id), seed, command };
    Submission { end_user_id, request, identity, notes }
}
