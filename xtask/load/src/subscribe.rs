//! Subscribes every end user of a crowd, over REST.

use serde_json::json;

use crate::each;
use crate::rate::Rate;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    each: each::Args,
    /// To which plan variant.
    #[arg(long)]
    plan_variant_id: String,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Rate> {
    let Args { each, plan_variant_id } = args;
    let order = move |end_user_id| json!({ "end_user_id": end_user_id, "plan_variant_id": plan_variant_id });
    each::create(each, "/v1/subscriptions", Box::new(order))
}
