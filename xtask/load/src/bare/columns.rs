//! The columns of a batch: what the server's writer would find out, made up beforehand.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::crowd::Keys;

/// A lane, and how far it and its accounts are.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) environment_id: i64,
    pub(super) lane_id: i64,
    feed_seq: i64,
    /// `seq` and balance by account.
    accounts: HashMap<Uuid, (i64, i64)>,
}

impl Lane {
    /// The lanes of the first environment, in order.
    pub(super) async fn read_all(connection: &mut PgConnection) -> sqlx::Result<Vec<Self>> {
        let found: Vec<(i64, i64, i64)> = sqlx::query_as(
            "select environment_id, lane_id, greatest(feed_seq, (select max(feed_seq) from feed)) from lanes
             where environment_id = (select min(environment_id) from lanes) order by number",
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut lanes = Vec::new();
        for (environment_id, lane_id, feed_seq) in found {
            let accounts: Vec<(Uuid, i64, i64)> =
                sqlx::query_as("select account_id, seq, balance from accounts where lane_id = $1")
                    .bind(lane_id)
                    .fetch_all(&mut *connection)
                    .await?;
            let accounts = accounts.into_iter().map(|(id, seq, balance)| (id, (seq, balance))).collect();
            lanes.push(Self { environment_id, lane_id, feed_seq, accounts });
        }
        Ok(lanes)
    }
}

/// The columns of one batch: a row per event.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) accounts: Vec<Uuid>,
    pub(super) key_hashes: Vec<Vec<u8>>,
    pub(super) usage_ids: Vec<Uuid>,
    pub(super) keys: Vec<String>,
    pub(super) fingerprints: Vec<Vec<u8>>,
    pub(super) feature_keys: Vec<String>,
    pub(super) units: Vec<i64>,
    pub(super) seqs: Vec<i64>,
    pub(super) balances: Vec<i64>,
    pub(super) allocations: Vec<String>,
    pub(super) hashes: Vec<Vec<u8>>,
    /// The place in the feed of each event's account.
    pub(super) places: Vec<i64>,
    pub(super) changed: Changed,
    pub(super) feed_seq: i64,
}

/// A row per account, in the order of their ids.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) accounts: Vec<Uuid>,
    pub(super) blocks: Vec<Uuid>,
    pub(super) seqs: Vec<i64>,
    pub(super) balances: Vec<i64>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) places: Vec<i64>,
}

impl Columns {
    /// One unit of `feature_key` for each event (its number, and its account's), and the lane with them.
    pub(super) fn new(lane: &mut Lane, events: &[(u64, u64)], keys: Keys, feature_key: &str) -> Self {
        let mut columns = Self::default();
        let mut last = BTreeMap::new();
        for (row, (event, number)) in events.iter().enumerate() {
            let (account, block) = (id_of("8000", *number), id_of("9000", *number));
            let (seq, balance) = lane.accounts.get_mut(&account).expect("the account was filled in");
            (*seq, *balance) = (*seq + 1, *balance - 1);
            columns.accounts.push(account);
            columns.key_hashes.push(keys.bytes::<16>(*event));
            columns.usage_ids.push(keys.uuid_v7(*event));
            columns.keys.push(keys.of_event(*event));
            columns.fingerprints.push(keys.bytes::<16>(!event));
            columns.feature_keys.push(feature_key.to_owned());
            columns.units.push(1);
            columns.seqs.push(*seq);
            columns.balances.push(*balance);
            columns.allocations.push(format!("[[\"blk_{:026}\", -1]]", block.as_u128() % 10_u128.pow(20)));
            columns.hashes.push(keys.bytes::<32>(*event));
            last.insert(account, (row, block));
        }
        let mut places = HashMap::new();
        for (account, (row, block)) in last {
            lane.feed_seq += 1;
            places.insert(account, lane.feed_seq);
            columns.changed.accounts.push(account);
            columns.changed.blocks.push(block);
            columns.changed.seqs.push(columns.seqs[row]);
            columns.changed.balances.push(columns.balances[row]);
            columns.changed.hashes.push(columns.hashes[row].clone());
            columns.changed.places.push(lane.feed_seq);
        }
        columns.places = columns.accounts.iter().map(|account| places[account]).collect();
        columns.feed_seq = lane.feed_seq;
        columns
    }
}

/// The id that the database was filled with.
fn id_of(family: &str, number: u64) -> Uuid {
    format!("00000000-0000-7000-{family}-{number:012}").parse().expect("twelve digits end a UUID")
}
