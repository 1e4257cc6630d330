//! `outbox.redb`: usage that was acknowledged and may not be lost. Every commit is durable.
//!
//! A file that cannot be read is set aside under another name and never deleted: its events may exist nowhere else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use quotastack_core::sync::record::{OutboxWrite, Record};
use quotastack_core::time::Timestamp;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition};

use crate::damage::guarded;

/// Records by `seq`.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// Texts by name.
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");
const ENVIRONMENT: &str = "environment";
/// Bytes that redb may cache: the file is small, and read once.
const CACHE_BYTES: usize = 8 << 20;

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The file system or the disk refused.
    #[error("cannot use the outbox {path}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// An unreadable file could not be set aside.
    #[error("the outbox {path} cannot be read and cannot be set aside either: {source}")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What an outbox holds when it is opened.
#[derive(Debug, Default)]
pub struct OutboxImage {
    /// In order of `seq`.
    pub records: Vec<Record>,
    /// The environment they belong to, once the server has named it.
    pub environment: Option<String>,
}

/// The open file.
#[derive(Debug)]
pub struct OutboxStore {
    database: Database,
}

/// Why reading failed: the bytes are wrong, or they could not be had.
enum Unread {
    Damaged(String),
    Failed(redb::Error),
}

impl OutboxStore {
    /// Opens the file and reads all of it; creates it if it is missing. A damaged one is set aside.
    pub fn open(path: &Path, now: Timestamp) -> Result<(Self, OutboxImage), OutboxError> {
        let storage = |source| OutboxError::Storage { path: path.to_owned(), source: Box::new(source) };
        let detail = match opened(path) {
            Ok(opened) => return Ok(opened),
            Err(Unread::Failed(error)) => return Err(storage(error)),
            Err(Unread::Damaged(detail)) => detail,
        };
        let aside = set_aside(path, now).map_err(|source| OutboxError::SetAside { path: path.to_owned(), source })?;
        tracing::error!(
            %detail,
            set_aside = %aside.display(),
            "THE OUTBOX CANNOT BE READ: acknowledged usage may be in the file that was set aside; keep it and ask for help"
        );
        opened(path).map_err(|unread| match unread {
            Unread::Failed(error) => storage(error),
            Unread::Damaged(detail) => storage(redb::Error::Corrupted(detail)),
        })
    }

    /// An outbox over any storage, for embedding it elsewhere than in a file.
    pub fn with_backend(backend: impl StorageBackend) -> Result<(Self, OutboxImage), redb::Error> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        read(database).map_err(|unread| match unread {
            Unread::Failed(error) => error,
            Unread::Damaged(detail) => redb::Error::Corrupted(detail),
        })
    }

    /// Carries out `writes`, in order, as one durable commit: after `Ok` they survive a power cut.
    pub fn commit(&self, writes: &[OutboxWrite]) -> Result<(), redb::Error> {
        guarded(|| self.write(writes))
    }

    fn write(&self, writes: &[OutboxWrite]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut texts = transaction.open_table(TEXTS)?;
            for write in writes {
                match write {
                    OutboxWrite::Put(record) => {
                        records.insert(record.seq, record.encode().as_slice())?;
                    }
                    OutboxWrite::Remove(seq) => {
                        records.remove(seq)?;
                    }
                    OutboxWrite::Environment(name) => {
                        texts.insert(ENVIRONMENT, name.as_str())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Opens the file and reads it; damage of any kind is told as such.
fn opened(path: &Path) -> Result<(OutboxStore, OutboxImage), Unread> {
    guarded(|| Ok(open_and_read(path))).map_err(classify)?
}

fn open_and_read(path: &Path) -> Result<(OutboxStore, OutboxImage), Unread> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
    read(database.map_err(|error| classify(database_error(error)))?)
}

fn read(database: Database) -> Result<(OutboxStore, OutboxImage), Unread> {
    let store = OutboxStore { database };
    // The first commit makes the tables, so that reading finds them.
    store.commit(&[]).map_err(classify)?;
    let image = store.image()?;
    Ok((store, image))
}

impl OutboxStore {
    fn image(&self) -> Result<OutboxImage, Unread> {
        let failed = |error: redb::Error| classify(error);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let texts = transaction.open_table(TEXTS).map_err(|error| failed(error.into()))?;
        let environment = texts.get(ENVIRONMENT).map_err(|error| failed(error.into()))?;
        let environment = environment.map(|name| name.value().to_owned());
        let table = transaction.open_table(RECORDS).map_err(|error| failed(error.into()))?;
        let mut records = Vec::new();
        for row in table.iter().map_err(|error| failed(error.into()))? {
            let (seq, bytes) = row.map_err(|error| failed(error.into()))?;
            let record = Record::decode(bytes.value())
                .map_err(|error| Unread::Damaged(format!("record {}: {error}", seq.value())))?;
            records.push(record);
        }
        Ok(OutboxImage { records, environment })
    }
}

fn database_error(error: DatabaseError) -> redb::Error {
    match error {
        DatabaseError::UpgradeRequired(version) => {
            redb::Error::Corrupted(format!("the file has format {version} of another release"))
        }
        other => other.into(),
    }
}

/// Wrong bytes are damage; a disk that is full or a file that may not be read is for an operator to mend.
fn classify(error: redb::Error) -> Unread {
    match error {
        redb::Error::Corrupted(detail) => Unread::Damaged(detail),
        redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            Unread::Damaged(error.to_string())
        }
        redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => {
            Unread::Damaged(error.to_string())
        }
        other => Unread::Failed(other),
    }
}

fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".unreadable-{}", now.as_micros()));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)?;
    Ok(aside)
}

impl From<StorageError> for Unread {
    fn from(error: StorageError) -> Self {
        classify(error.into())
    }
}
