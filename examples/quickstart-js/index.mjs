// The quick start: may this user do this, do it, record it. See README.md for what it needs.
import { QuotaStack } from "quotastack"

const quotastack = new QuotaStack({
  apiKey: process.env.QUOTASTACK_API_KEY,
  baseUrl: process.env.QUOTASTACK_URL,
})

// Your product does its work here.
async function generateResponse(prompt) {
  return `${prompt} A limit that somebody counts.`
}

async function handle(prompt, requestId) {
  const { allowed, balance } = await quotastack.checkEntitlement("user_123", "ai_request")
  console.log(`before: balance ${balance}`)
  if (!allowed) return { error: "upgrade_required" }
  const result = await generateResponse(prompt)
  const receipt = await quotastack.recordUsage("user_123", { feature_key: "ai_request", units: 1, idempotency_key: requestId })
  console.log(`after: balance ${receipt.balance} (the request cost ${receipt.cost})`)
  return { result }
}

const { result, error } = await handle("What is a quota?", `quickstart-js-${crypto.randomUUID()}`)
console.log(result ?? error)
if (error) process.exitCode = 1
