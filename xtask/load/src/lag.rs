//! How long a committed grant takes to change a sidecar's answer: the clock runs from the moment the server's answer
//! is read until a check through the sidecar shows the new balance. The sidecar is asked without a pause.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::connection::{Connection, Target};
use crate::latencies::{Summary, nanos, summarise};

/// A grant that the sidecar does not show by then is lost, which is worth an error and no number.
const LAG_MAX: Duration = Duration::from_secs(10);

/// Each grant is a block, and a sidecar answers for accounts of up to 64 of them.
const GRANTS_PER_END_USER: usize = 50;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's URL.
    #[arg(long)]
    server: Target,
    /// The sidecar's URL or socket.
    #[arg(long)]
    sidecar: Target,
    /// A key that may grant.
    #[arg(long, env = "QUOTASTACK_API_KEY", hide_env_values = true)]
    key: String,
    /// How the ids of those who get the credits begin; nobody may have such an id yet.
    #[arg(long)]
    end_user_prefix: String,
    /// The feature to check.
    #[arg(long)]
    feature_key: String,
    /// How many grants, one after the other.
    #[arg(long, default_value_t = 200)]
    grants: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Summary> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(args))
}

async fn measure(args: &Args) -> anyhow::Result<Summary> {
    let mut server = Connection::open(&args.server).await?;
    let mut sidecar = Connection::open(&args.sidecar).await?;
    let mut times = Vec::with_capacity(args.grants);
    for end_user in 0.. {
        let grants = args.grants.saturating_sub(times.len()).min(GRANTS_PER_END_USER);
        if grants == 0 {
            break;
        }
        let end_user_id = format!("{}_{end_user}", args.end_user_prefix);
        let check = format!("/v1/entitlements/check?end_user_id={end_user_id}&feature_key={}", args.feature_key);
        let grant = json!({ "end_user_id": end_user_id, "amount": 1 }).to_string();
        // The first check makes the sidecar follow the end user.
        sidecar.get(&check).await?;
        for _ in 0..grants {
            let answer = server.create("/v1/credits/grants", &args.key, grant.clone()).await?;
            let committed = Instant::now();
            let wanted = integer(&answer, "/account/balance")?;
            while integer(&sidecar.get(&check).await?, "/balance")? < wanted {
                if committed.elapsed() > LAG_MAX {
                    bail!("the sidecar does not show a balance of {wanted} after {LAG_MAX:?}");
                }
            }
            times.push(nanos(committed.elapsed()));
        }
    }
    summarise(times).context("--grants must be at least 1")
}

fn integer(json: &[u8], pointer: &str) -> anyhow::Result<i64> {
    let value: Value = serde_json::from_slice(json)?;
    value.pointer(pointer).and_then(Value::as_i64).with_context(|| format!("no integer at {pointer} in {value}"))
}
