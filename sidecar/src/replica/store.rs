//! `replica.redb`: states of accounts and the catalogue, for a quick start. Disposable: what cannot be read is
//! fetched again.
//!
//! Most commits are not durable (a crash then loses the newest states, which come again); the cursor is always
//! written in the same transaction as the states it covers.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::EndUserId;
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue;
use quotastack_core::sync::record::Meta;
use quotastack_core::time::Timestamp;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::clock::ClockMark;
use crate::damage::guarded;

/// States by end user.
const ACCOUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("accounts");
/// The catalogue and the cursor.
const DOCUMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("documents");
const META: &str = "meta";
const CATALOGUE: &str = "catalogue";
const CLOCK: &str = "clock";
/// Bytes that redb may cache.
const CACHE_BYTES: usize = 64 << 20;

/// Why the replica cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The file system or the disk refused.
    #[error("cannot use the replica {path}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// An unreadable file could not be removed.
    #[error("the replica {path} cannot be read and cannot be removed either: {source}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a replica holds when it is opened; its states are read one by one.
#[derive(Debug, Default)]
pub struct ReplicaImage {
    /// Where to go on.
    pub meta: Option<Meta>,
    /// The last catalogue.
    pub catalogue: Option<Catalogue>,
    /// What was known of the server's clock.
    pub clock: Option<ClockMark>,
}

/// One change of the replica file.
#[derive(Debug)]
pub enum ReplicaWrite<'a> {
    /// Forget everything: another history, or another environment.
    Clear,
    /// Store a state.
    State(&'a AccountState),
    /// Forget an account.
    Remove(&'a EndUserId),
    /// Store the catalogue.
    Catalogue(&'a Catalogue),
    /// Store the cursor, which all states before it are covered by.
    Meta(&'a Meta),
    /// Store what is known of the server's clock.
    Clock(ClockMark),
}

/// The open file.
#[derive(Debug)]
pub struct ReplicaStore {
    database: Database,
    path: PathBuf,
}

impl ReplicaStore {
    /// Opens the file; one that is missing or cannot be read becomes an empty one.
    pub fn open(path: &Path) -> Result<(Self, ReplicaImage), ReplicaError> {
        let error = match guarded(|| Self::try_open(path)) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        tracing::warn!(%error, "the replica cannot be read and is fetched again");
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ReplicaError::Remove { path: path.to_owned(), source });
            }
            _ => {}
        }
        guarded(|| Self::try_open(path))
            .map_err(|source| ReplicaError::Storage { path: path.to_owned(), source: Box::new(source) })
    }

    fn try_open(path: &Path) -> Result<(Self, ReplicaImage), redb::Error> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let store = Self { database, path: path.to_owned() };
        // The first commit makes the tables, so that reading finds them.
        store.write(&[], true)?;
        let image = store.image()?;
        Ok((store, image))
    }

    fn image(&self) -> Result<ReplicaImage, redb::Error> {
        let transaction = self.database.begin_read()?;
        let documents = transaction.open_table(DOCUMENTS)?;
        let damaged =
            |what: &str| redb::Error::Corrupted(format!("{what} of the replica is of another release or damaged"));
        let meta = documents.get(META)?.map(|bytes| Meta::decode(bytes.value())).transpose();
        let catalogue = documents.get(CATALOGUE)?.map(|bytes| catalogue::decode(bytes.value())).transpose();
        let clock = documents.get(CLOCK)?.and_then(|bytes| clock_mark(bytes.value()));
        Ok(ReplicaImage {
            clock,
            meta: meta.map_err(|_| damaged("the cursor"))?,
            catalogue: catalogue.map_err(|_| damaged("the catalogue"))?,
        })
    }

    /// Whose states are stored.
    pub fn accounts(&self) -> Result<HashSet<EndUserId>, redb::Error> {
        self.begun_anew_if_damaged(|| self.read_accounts())
    }

    fn read_accounts(&self) -> Result<HashSet<EndUserId>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut accounts = HashSet::new();
        for row in transaction.open_table(ACCOUNTS)?.iter()? {
            let (id, _) = row?;
            accounts.insert(EndUserId::new(id.value()).map_err(|error| redb::Error::Corrupted(error.to_string()))?);
        }
        Ok(accounts)
    }

    /// One account's stored state.
    pub fn state(&self, end_user_id: &EndUserId) -> Result<Option<AccountState>, redb::Error> {
        self.begun_anew_if_damaged(|| self.read_state(end_user_id))
    }

    fn read_state(&self, end_user_id: &EndUserId) -> Result<Option<AccountState>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let accounts = transaction.open_table(ACCOUNTS)?;
        let Some(bytes) = accounts.get(end_user_id.as_str())? else { return Ok(None) };
        AccountState::decode(bytes.value()).map(Some).map_err(|error| redb::Error::Corrupted(error.to_string()))
    }

    /// Carries out `writes`, in order, in one transaction. Durable ones let the next start skip repairing the file.
    pub fn commit(&self, writes: &[ReplicaWrite<'_>], durable: bool) -> Result<(), redb::Error> {
        self.begun_anew_if_damaged(|| self.write(writes, durable))
    }

    /// The file of a damaged replica is removed, so that the next start begins anew; this run can only end.
    fn begun_anew_if_damaged<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let done = guarded(work);
        if matches!(done, Err(redb::Error::Corrupted(_))) {
            let _ = fs::remove_file(&self.path);
        }
        done
    }

    fn write(&self, writes: &[ReplicaWrite<'_>], durable: bool) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        if durable {
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut accounts = transaction.open_table(ACCOUNTS)?;
            let mut documents = transaction.open_table(DOCUMENTS)?;
            for write in writes {
                match write {
                    ReplicaWrite::Clear => {
                        accounts.retain(|_, _| false)?;
                        documents.retain(|_, _| false)?;
                    }
                    ReplicaWrite::State(state) => {
                        accounts.insert(state.end_user_id.as_str(), state.encode().as_slice())?;
                    }
                    ReplicaWrite::Remove(end_user_id) => {
                        accounts.remove(end_user_id.as_str())?;
                    }
                    ReplicaWrite::Catalogue(document) => {
                        documents.insert(CATALOGUE, catalogue::encode(document).as_slice())?;
                    }
                    ReplicaWrite::Meta(meta) => {
                        documents.insert(META, meta.encode().as_slice())?;
                    }
                    ReplicaWrite::Clock(mark) => {
                        let bytes = [mark.offset_micros.to_be_bytes(), mark.known.as_micros().to_be_bytes()];
                        documents.insert(CLOCK, bytes.as_flattened())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// A mark that cannot be read is one that is not there.
fn clock_mark(bytes: &[u8]) -> Option<ClockMark> {
    let (offset, known) = bytes.split_first_chunk::<8>()?;
    let known = i64::from_be_bytes(*known.first_chunk()?);
    Some(ClockMark { offset_micros: i64::from_be_bytes(*offset), known: Timestamp::from_micros(known).ok()? })
}
