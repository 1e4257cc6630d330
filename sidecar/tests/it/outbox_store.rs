//! The outbox's file under power cuts and failing disks, over a backend that keeps what a disk would hold.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{IdempotencyKey, UsageId, uuid_v7};
use quotastack_core::ledger::command::Usage;
use quotastack_core::ledger::wallet::Totals;
use quotastack_core::sync::record::{Admission, OutboxWrite, Record, Status, UsageAnswer};
use quotastack_core::time::Timestamp;
use quotastack_sidecar::outbox::OutboxStore;
use redb::StorageBackend;

use crate::support::{end_user, feature_key, units};

fn record(seq: u64) -> Record {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&seq.to_be_bytes());
    let usage = Usage {
        id: UsageId::from_uuid(uuid_v7(Timestamp::default(), random, None)),
        key: IdempotencyKey::new(&format!("key-{seq}")).unwrap(),
        feature_key: feature_key("api_calls"),
        units: units(1),
        properties: [("model".to_owned(), "x".repeat(seq as usize % 400))].into(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: Some(Timestamp::default()),
        leased: None,
    };
    let answer = UsageAnswer { cost: Credits::ZERO, charged: Credits::ZERO, totals: Totals::default() };
    let admission = Arc::new(Admission { end_user_id: end_user("user_123"), usage, answer });
    Record { seq, admission, status: Status::Waiting }
}

#[derive(Debug, Default)]
struct Disk {
    /// What readers see.
    cached: Vec<u8>,
    /// What survives a power cut for certain.
    synced: Vec<u8>,
    /// Writes since the last sync: any of them may survive, or not.
    unsynced: Vec<(u64, Vec<u8>)>,
    fails: bool,
}

impl Disk {
    /// What a power cut leaves: everything synced, and of the rest the writes that `survives` picks.
    fn after_power_cut(&self, mut survives: impl FnMut(usize) -> bool) -> Vec<u8> {
        let mut left = self.synced.clone();
        for (index, (offset, data)) in self.unsynced.iter().enumerate() {
            let end = *offset as usize + data.len();
            if survives(index) {
                left.resize(left.len().max(end), 0);
                left[*offset as usize..end].copy_from_slice(data);
            }
        }
        left
    }
}

#[derive(Debug, Clone, Default)]
struct SharedDisk(Arc<Mutex<Disk>>);

impl SharedDisk {
    fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Disk { cached: bytes.clone(), synced: bytes, ..Disk::default() })))
    }
}

impl StorageBackend for SharedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock();
        let range = offset as usize..offset as usize + out.len();
        out.copy_from_slice(disk.cached.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.cached.resize(len as usize, 0);
        disk.synced.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.fails {
            return Err(io::Error::other("the disk is gone"));
        }
        disk.synced = disk.cached.clone();
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        let range = offset as usize..offset as usize + data.len();
        disk.cached.get_mut(range).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        disk.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

fn seqs(disk: Vec<u8>) -> Vec<u64> {
    let (_, image) = OutboxStore::with_backend(SharedDisk::holding(disk)).unwrap();
    image.records.iter().map(|record| record.seq).collect()
}

#[test]
fn what_was_committed_survives_a_power_cut_whatever_the_disk_had_cached() {
    let disk = SharedDisk::default();
    let (store, _) = OutboxStore::with_backend(disk.clone()).unwrap();
    let mut expected = Vec::new();
    let mut seed = 1_u64;
    for seq in 1..=120 {
        let mut writes = vec![OutboxWrite::Put(record(seq))];
        expected.push(seq);
        if seq % 7 == 0 {
            writes.push(OutboxWrite::Remove(seq - 3));
            expected.retain(|kept| *kept != seq - 3);
        }
        store.commit(&writes).unwrap();
        let nothing = disk.0.lock().after_power_cut(|_| false);
        assert_eq!(seqs(nothing), expected);
        let some = disk.0.lock().after_power_cut(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 63 == 1
        });
        assert_eq!(seqs(some), expected);
    }
}

#[test]
fn a_commit_that_could_not_be_synced_is_an_error() {
    let disk = SharedDisk::default();
    let (store, _) = OutboxStore::with_backend(disk.clone()).unwrap();
    store.commit(&[OutboxWrite::Put(record(1))]).unwrap();
    disk.0.lock().fails = true;
    assert!(store.commit(&[OutboxWrite::Put(record(2))]).is_err());
    let left = disk.0.lock().after_power_cut(|_| false);
    assert_eq!(seqs(left), [1]);
}

#[test]
fn an_outbox_that_cannot_be_read_is_set_aside_whole() {
    let data_dir = tempfile::tempdir().unwrap();
    let path = data_dir.path().join("outbox.redb");
    let (store, _) = OutboxStore::open(&path, Timestamp::default()).unwrap();
    store.commit(&[OutboxWrite::Put(record(1))]).unwrap();
    drop(store);
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[..32].fill(0xff);
    std::fs::write(&path, &damaged).unwrap();
    let (store, image) = OutboxStore::open(&path, Timestamp::default()).unwrap();
    assert!(image.records.is_empty());
    store.commit(&[OutboxWrite::Put(record(2))]).unwrap();
    let aside = data_dir.path().join("outbox.redb.unreadable-0");
    assert_eq!(std::fs::read(aside).unwrap(), damaged);
}

#[test]
fn a_record_of_another_release_sets_the_file_aside() {
    let data_dir = tempfile::tempdir().unwrap();
    let path = data_dir.path().join("outbox.redb");
    drop(OutboxStore::open(&path, Timestamp::default()).unwrap());
    let table: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("records");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, &[99_u8, 1, 2][..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (_, image) = OutboxStore::open(&path, Timestamp::default()).unwrap();
    assert!(image.records.is_empty());
    assert!(data_dir.path().join("outbox.redb.unreadable-0").exists());
}
