//! Usage over QUIC as sidecars hand it over: each has at most one batch per lane unanswered, follows the accounts it
//! charges, and reads their new states. The clock runs until the server has acknowledged everything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use quotastack_core::credits::Units;
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, LaneCount, UsageId, uuid_v7};
use quotastack_core::ledger::command::Usage;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{BatchReply, EventResult, UsageEvent};

use crate::crowd::{Crowd, Keys, mixed};
use crate::peer::Peer;
use crate::rate::Rate;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the server takes sidecars.
    #[arg(long)]
    server: SocketAddr,
    /// The authority of the server's certificate.
    #[arg(long)]
    ca_file: PathBuf,
    /// A key of a sidecar.
    #[arg(long, env = "QUOTASTACK_API_KEY", hide_env_values = true)]
    key: String,
    #[command(flatten)]
    crowd: Crowd,
    /// What is used, one unit an event.
    #[arg(long)]
    feature_key: FeatureKey,
    /// How many batches there would be with one lane; each lane gets its share in batches as large.
    #[arg(long)]
    batches: u64,
    /// Events of a batch.
    #[arg(long, default_value_t = 1_000)]
    batch_events: usize,
    /// How many sidecars hand over.
    #[arg(long, default_value_t = 4)]
    sidecars: u64,
}

/// Batches of one lane, in order.
type LaneBatches = (u16, Vec<Vec<UsageEvent>>);

pub(crate) fn run(args: &Args) -> anyhow::Result<Rate> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(args))
}

async fn measure(args: &Args) -> anyhow::Result<Rate> {
    let keys = Keys::new();
    let all = args.batches * args.batch_events as u64;
    let mut peers = Vec::new();
    for sidecar in 0..args.sidecars {
        let peer = Peer::link(args.server, &args.ca_file, &args.key, sidecar).await?;
        // The first event has the server read and prepare what it needs.
        let first = event(args, keys, all + sidecar)?;
        hand_over(&peer, &(peer.lanes().lane_of(first.end_user_id.bucket()), vec![vec![first]])).await?;
        let own = (0..all).filter(|event| event % args.sidecars == sidecar);
        let events = own.map(|number| event(args, keys, number)).collect::<anyhow::Result<Vec<_>>>()?;
        let lanes = in_batches(events, peer.lanes(), args.batch_events);
        peers.push((Arc::new(peer), lanes));
    }
    let started = Instant::now();
    let mut tasks = Vec::new();
    for (peer, lanes) in peers {
        for lane in lanes {
            let peer = Arc::clone(&peer);
            tasks.push(tokio::spawn(async move { hand_over(&peer, &lane).await }));
        }
    }
    for task in tasks {
        task.await.context("a lane's task panicked")??;
    }
    Ok(Rate::new(all, started.elapsed()))
}

fn in_batches(events: Vec<UsageEvent>, count: LaneCount, batch_events: usize) -> Vec<LaneBatches> {
    let mut lanes: Vec<Vec<UsageEvent>> = vec![Vec::new(); usize::from(count.get())];
    for event in events {
        lanes[usize::from(count.lane_of(event.end_user_id.bucket()))].push(event);
    }
    let batches = |events: Vec<UsageEvent>| events.chunks(batch_events).map(<[_]>::to_vec).collect();
    (0..).zip(lanes).map(|(lane, events)| (lane, batches(events))).collect()
}

async fn hand_over(peer: &Peer, (lane, batches): &LaneBatches) -> anyhow::Result<()> {
    for events in batches {
        loop {
            match peer.record(*lane, events.clone()).await? {
                BatchReply::Answer(answer) => {
                    let is_recorded = |result: &EventResult| matches!(result, EventResult::Recorded { .. });
                    if let Some(other) = answer.results.iter().find(|result| !is_recorded(result)) {
                        bail!("an event was not recorded: {other:?}");
                    }
                    break;
                }
                BatchReply::Busy { delay_ms } => tokio::time::sleep(Duration::from_millis(delay_ms.into())).await,
            }
        }
    }
    Ok(())
}

fn event(args: &Args, keys: Keys, number: u64) -> anyhow::Result<UsageEvent> {
    let end_user_id = EndUserId::new(&args.crowd.id(args.crowd.of_event(number)))?;
    let now = now()?;
    let mut random = [0; 10];
    random[..8].copy_from_slice(&mixed(number).to_be_bytes());
    let usage = Usage {
        id: UsageId::from_uuid(uuid_v7(now, random, Some(end_user_id.bucket()))),
        key: IdempotencyKey::new(&keys.of_event(number))?,
        feature_key: args.feature_key.clone(),
        units: Units::new(1)?,
        properties: Default::default(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: Some(now),
        leased: None,
    };
    Ok(UsageEvent { end_user_id, usage })
}

fn now() -> anyhow::Result<Timestamp> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_micros(i64::try_from(since_epoch.as_micros())?)?)
}
