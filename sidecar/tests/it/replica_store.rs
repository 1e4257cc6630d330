//! The replica's file: disposable, and whole after each durable commit.

use quotastack_core::sync::record::Meta;
use quotastack_core::wire::Mode;
use quotastack_sidecar::replica::{ReplicaStore, ReplicaWrite};

use crate::support::{Options, Seed, end_user};

#[test]
fn what_is_stored_is_read_again_and_can_be_cleared() {
    let data_dir = tempfile::tempdir().unwrap();
    let path = data_dir.path().join("replica.redb");
    let seed = Seed::new().with_credit("a", 1).with_credit("b", 2);
    seed.write(data_dir.path());
    let (store, image) = ReplicaStore::open(&path).unwrap();
    assert_eq!(image.catalogue.as_ref(), Some(&seed.catalogue));
    assert_eq!(image.meta.as_ref().unwrap().as_of, Some(seed.as_of));
    assert_eq!(store.state(&end_user("b")).unwrap().as_ref(), Some(&seed.states[1]));
    store.commit(&[ReplicaWrite::Remove(&end_user("a"))], false).unwrap();
    assert_eq!(store.state(&end_user("a")).unwrap(), None);
    assert_eq!(store.accounts().unwrap(), [end_user("b")].into());

    let meta = Meta { epoch: [8; 16], lanes: vec![0], as_of: None, mode: Mode::All };
    store.commit(&[ReplicaWrite::Clear, ReplicaWrite::Meta(&meta)], true).unwrap();
    drop(store);
    let (store, image) = ReplicaStore::open(&path).unwrap();
    assert_eq!((image.meta, image.catalogue), (Some(meta), None));
    assert!(store.accounts().unwrap().is_empty());
}

#[test]
fn a_damaged_replica_is_begun_anew() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let path = data_dir.path().join("replica.redb");
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[..64].fill(0xff);
    std::fs::write(&path, damaged).unwrap();
    let (_, image) = ReplicaStore::open(&path).unwrap();
    assert!(image.meta.is_none() && image.catalogue.is_none());

    std::fs::write(&path, b"not a database at all").unwrap();
    let sidecar = Options::unreachable(data_dir.path()).start();
    assert_eq!(sidecar.client().get("/readyz").status, 503);
    let (status, log) = sidecar.terminate();
    assert!(status.success());
    assert!(log.contains("the replica cannot be read and is fetched again"), "{log}");
}

#[test]
fn an_empty_durable_commit_makes_the_ones_before_it_durable() {
    let data_dir = tempfile::tempdir().unwrap();
    let (path, copy) = (data_dir.path().join("replica.redb"), data_dir.path().join("copy.redb"));
    let seed = Seed::new().with_credit("a", 1);
    let (store, _) = ReplicaStore::open(&path).unwrap();
    store.commit(&[ReplicaWrite::State(&seed.states[0]), ReplicaWrite::Catalogue(&seed.catalogue)], false).unwrap();
    store.commit(&[], true).unwrap();
    // What a kill would leave: the file while it is open.
    std::fs::copy(&path, &copy).unwrap();
    let (copied, image) = ReplicaStore::open(&copy).unwrap();
    assert_eq!(image.catalogue, Some(seed.catalogue));
    assert_eq!(copied.state(&end_user("a")).unwrap().as_ref(), Some(&seed.states[0]));
}
