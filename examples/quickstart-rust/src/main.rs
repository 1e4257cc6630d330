//! The quick start: may this user do this, do it, record it. See README.md for what it needs.

use quotastack::{Client, Usage};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Reads QUOTASTACK_API_KEY and QUOTASTACK_URL.
    let quotastack = Client::from_env()?;
    let request_id = format!("quickstart-rust-{}", std::process::id());

    let check = quotastack.check_entitlement("user_123", "ai_request").await?;
    println!("before: balance {}", check.balance);
    if !check.allowed {
        anyhow::bail!("upgrade required: {}", check.reason);
    }

    let answer = generate_response("What is a quota?");
    println!("{answer}");

    let usage = Usage::new("ai_request", 1).idempotency_key(request_id);
    let receipt = quotastack.record_usage("user_123", usage).await?;
    println!("after: balance {} (the request cost {})", receipt.balance, receipt.cost);
    Ok(())
}

/// Your product does its work here.
fn generate_response(prompt: &str) -> String {
    format!("{prompt} A limit that somebody counts.")
}
