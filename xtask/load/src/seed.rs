//! Gives every end user of a crowd credit, over REST: an account with one block for each.

use serde_json::json;

use crate::each;
use crate::rate::Rate;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    each: each::Args,
    /// What each gets.
    #[arg(long, default_value_t = 1_000_000_000)]
    amount: u64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Rate> {
    let Args { each, amount } = args;
    let grant = move |end_user_id| json!({ "end_user_id": end_user_id, "amount": amount });
    each::create(each, "/v1/credits/grants", Box::new(grant))
}
