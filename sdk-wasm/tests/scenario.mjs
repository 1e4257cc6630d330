// What every runtime must be able to do with the packed package, against a real server. Throws where it does not.
import { QuotaStack, QuotaStackError, verifyProof } from "quotastack"

/** JSON with the fields of objects in order. */
function text(value) {
  const sorted = (_, item) =>
    item && typeof item === "object" && !Array.isArray(item) ? Object.fromEntries(Object.entries(item).sort()) : item
  return JSON.stringify(value, sorted)
}

function same(actual, expected, what) {
  if (text(actual) !== text(expected)) throw new Error(`${what}: ${text(actual)} instead of ${text(expected)}`)
}

async function fails(promise, code, what) {
  try {
    await promise
  } catch (error) {
    if (!(error instanceof QuotaStackError)) throw error
    same(error.code, code, what)
    return error
  }
  throw new Error(`${what}: succeeded instead of ${code}`)
}

/** The quick start, to the letter. */
async function answer(quotastack, generateResponse, prompt, requestId) {
  const { allowed, balance } = await quotastack.checkEntitlement("user_123", "ai_request")
  if (!allowed) return { error: "upgrade_required" }
  const result = await generateResponse(prompt)
  await quotastack.recordUsage("user_123", { feature_key: "ai_request", units: 1, idempotency_key: requestId })
  return { result, balance }
}

async function catalogue(quotastack, id) {
  const price = { type: "per_unit", cost: 3, per_units: 1 }
  const feature = await quotastack.createFeature({ feature_key: `calls.${id}`, name: "Calls", kind: "metered", price })
  same(feature.price, price, "the feature's price")
  same(feature.overdraft_limit, null, "null stays null")
  same(await quotastack.getFeature(feature.feature_key), feature, "the feature read back")
  const { data: features } = await quotastack.listFeatures({ limit: 100 })
  if (features.length === 0) throw new Error("the list of features is empty")

  const plan = await quotastack.createPlan({ name: "Pro", kind: "base" })
  same(await quotastack.getPlan(plan.id), plan, "the plan read back")
  same((await quotastack.listPlans({ limit: 1 })).data.length, 1, "a page of plans")
  const variant = await quotastack.createVariant(plan.id, {
    name: "monthly",
    billing_period: { count: 1, unit: "month" },
    grants: [{ amount: 100, interval: "billing_period", priority: 100, feature_keys: [] }],
    entitlements: [{ feature_key: feature.feature_key }],
  })
  same(variant.version, 1, "the variant's version")
  same(await quotastack.getVariant(variant.id), variant, "the variant read back")
  same((await quotastack.listVariants(plan.id)).data, [variant], "the plan's variants")
  return { feature_key: feature.feature_key, plan_variant_id: variant.id }
}

async function credits(quotastack, user, { feature_key, plan_variant_id }) {
  const subscription = await quotastack.createSubscription(user, { plan_variant_id })
  same(subscription.status, "active", "the subscription's status")
  same((await quotastack.getSubscription(subscription.id)).id, subscription.id, "the subscription read back")
  same((await quotastack.listSubscriptions(user)).data.length, 1, "the end user's subscriptions")

  const check = await quotastack.checkEntitlement(user, feature_key, { units: 2 })
  same([check.allowed, check.reason, check.balance, check.estimated_cost], [true, "ok", 100, 6], "the check")
  const { results: checks } = await quotastack.checkEntitlements([
    { end_user_id: user, feature_key },
    { end_user_id: user, feature_key, units: 1000 },
  ])
  same(checks.map(({ allowed }) => allowed), [true, false], "the batch of checks")
  const { data: entitlements } = await quotastack.listEntitlements(user, { limit: 100, explain: true })
  const listed = entitlements.find((answer) => answer.feature_key === feature_key)
  const { explain } = await quotastack.checkEntitlement(user, feature_key, { explain: true })
  same(explain, listed.explain, "why, for one and for all")
  const decides = explain.chain.filter((step) => step.decides_access).map((step) => step.subscription_id)
  same(decides, [subscription.id], "who decides")
  same(explain.blocks.map(({ available }) => available), [100], "the blocks that pay")

  const usage = { feature_key, units: 2, idempotency_key: "first" }
  const receipt = await quotastack.recordUsage(user, usage)
  same([receipt.cost, receipt.balance, receipt.replayed], [6, 94, false], "the usage")
  const again = await quotastack.recordUsage(user, usage)
  same([again.id, again.replayed], [receipt.id, true], "the same usage again")
  const { results } = await quotastack.recordUsageBatch([
    { end_user_id: user, feature_key, units: 1, idempotency_key: "second" },
    { end_user_id: user, feature_key, units: 1000, idempotency_key: "third" },
  ])
  same(results.map(({ status, code }) => [status, code]), [["recorded", null], ["refused", "insufficient_credits"]], "the batch")

  const gift = { amount: 50, priority: 1, feature_keys: [feature_key] }
  const named = { idempotencyKey: `gift of ${feature_key}` }
  const grant = await quotastack.createGrant(user, gift, named)
  same([grant.block.remaining, grant.account.balance], [50, 141], "the grant")
  same((await quotastack.createGrant(user, gift, named)).block.id, grant.block.id, "the grant again")
  const account = await quotastack.getEndUserCredits(user, { include: "blocks" })
  same([account.balance, account.blocks.map(({ remaining }) => remaining)], [141, [50, 91]], "the credits")
  const { data: events } = await quotastack.listUsage({ end_user_id: user, feature_key })
  same(events.map(({ units, cost }) => [units, cost]), [[1, 3], [2, 6]], "the usage, latest first")
  const range = { from: "2000-01-01T00:00:00Z", to: "2050-01-01T00:00:00Z", bucket: "month" }
  const { data: sums } = await quotastack.summarizeUsage({ ...range, end_user_id: user, group_by: "feature" })
  const total = ["events", "units", "cost"].map((name) => sums.reduce((sum, line) => sum + line[name], 0))
  same(total, [2, 3, 9], "the sums of usage")
  const ledger = await quotastack.listLedgerEntries(user, { after_seq: 1, limit: 2 })
  same(ledger.data.map(({ seq, kind }) => [seq, kind]), [[2, "usage"], [3, "usage"]], "a page of the ledger")
}

async function proofs(quotastack, user, { feature_key }) {
  const first = await quotastack.verifyLedger(user)
  same([first.before.seq, first.after.seq, first.after.balance], [0, 4, 141], "what was verified")
  const then = await quotastack.getEndUserCredits(user, { as_of_seq: 2 })
  same([then.balance, then.seq, then.version], [94, 2, null], "the credits after the second entry")
  await fails(quotastack.getEndUserCredits(user, { as_of: "2999-01-01T00:00:00Z" }), "validation_failed", "the future")

  await quotastack.recordUsage(user, { feature_key, units: 1 })
  const second = await quotastack.verifyLedger(user, { remembered: first.remember })
  same([second.before, second.after.seq, second.after.balance], [first.after, 5, 138], "what was added")
  same((await quotastack.verifyLedger(user, { remembered: second.remember })).after, second.after, "nothing was added")
  const rewritten = { ...first.remember, hash: first.remember.hash.replace(/^./, (digit) => (digit === "0" ? "1" : "0")) }
  const found = await fails(quotastack.verifyLedger(user, { remembered: rewritten }), "ledger_broken", "another history")
  same(found.seq, 4, "where it differs")
  const longer = { ...second.remember, seq: 9 }
  same((await fails(quotastack.verifyLedger(user, { remembered: longer }), "ledger_broken", "less history")).seq, 9, "the end")

  const proof = await quotastack.getLedgerProof(user, { from_seq: 2, to_seq: 4 })
  const verified = await verifyProof(proof)
  const { data: listed } = await quotastack.listLedgerEntries(user, { after_seq: 1, limit: 3 })
  same(verified.entries, listed, "the proven entries and the listed ones")
  same([verified.is_head, verified.remember], [false, first.remember], "its end")
  const changed = structuredClone(proof)
  changed.entries[1].canonical = changed.entries[0].canonical
  same((await fails(verifyProof(changed), "ledger_broken", "another entry's bytes")).seq, 3, "the broken entry")
  const shorter = { ...proof, entries: proof.entries.slice(0, 2) }
  same((await fails(verifyProof(shorter), "ledger_broken", "an entry less")).seq, 4, "the missing entry")
}

async function errors(quotastack, user, { feature_key }, { url }) {
  const refused = await fails(quotastack.recordUsage(user, { feature_key, units: 1000 }), "insufficient_credits", "too much usage")
  same([refused.status, refused.retryable, typeof refused.requestId], [402, false, "string"], "the refusal")
  const negative = await fails(quotastack.recordUsage(user, { feature_key, units: -1 }), "validation_failed", "negative units")
  same([negative.status, negative.errors.map(({ pointer }) => pointer)], [422, ["/units"]], "the place of the mistake")
  await fails(quotastack.recordUsage(user, { feature_key, unitz: 1 }), "invalid_request", "a field nobody knows")
  await fails(quotastack.recordUsage(user, { feature_key, units: 2 ** 53 }), "invalid_request", "an inexact number")
  await fails(quotastack.recordUsage(user, { feature_key, units: 0.5 }), "invalid_request", "half a unit")
  await fails(quotastack.getPlan("plan_01hzy3v7d2f8rs9k4m5n6p7q8r"), "not_found", "a plan that is not there")
  const stranger = new QuotaStack({ apiKey: "qs_sandbox_nobody", baseUrl: url })
  same((await fails(stranger.checkEntitlement(user, feature_key), "unauthenticated", "a strange key")).status, 401, "its status")
  const nowhere = new QuotaStack({ apiKey: "k", baseUrl: "http://127.0.0.1:9", maxRetries: 1 })
  same((await fails(nowhere.checkEntitlement("u", "f"), "connection_failed", "no server")).retryable, true, "worth a retry")
  await fails((async () => new QuotaStack({}))(), "invalid_request", "no key")
}

async function clock(quotastack, key) {
  if (key.startsWith("qs_live_")) {
    await fails(quotastack.setSandboxClock({ advance_seconds: 0 }), "sandbox_only", "the clock in live")
    return
  }
  const { now } = await quotastack.setSandboxClock({ advance_seconds: 1 })
  same(await quotastack.getSandboxClock(), { now, running: false }, "the sandbox's clock")
  same(await quotastack.setSandboxClock({ follow: true }), { now, running: true }, "a clock that runs on")
}

/** Runs everything; gives what the quick start answered. */
export async function scenario({ url, key, name }) {
  const quotastack = new QuotaStack({ apiKey: key, baseUrl: url })
  const id = `${name}.${crypto.randomUUID().slice(0, 8)}`
  const made = await catalogue(quotastack, id)
  await credits(quotastack, `user/${id} ü`, made)
  await proofs(quotastack, `user/${id} ü`, made)
  await errors(quotastack, `user/${id} ü`, made, { url })
  await clock(quotastack, key)

  await quotastack.createFeature({ feature_key: "ai_request", name: "AI request", kind: "metered", price: { type: "per_unit", cost: 1 } })
    .catch((error) => { if (error.code !== "already_exists") throw error })
  await quotastack.createGrant("user_123", { amount: 10 })
  const before = (await quotastack.getEndUserCredits("user_123")).balance
  const { result, balance } = await answer(quotastack, async (prompt) => `re: ${prompt}`, "hello", id)
  same([result, balance], ["re: hello", before], "the quick start")
  same((await quotastack.getEndUserCredits("user_123")).balance, before - 1, "the balance after the quick start")
  return { before, after: before - 1 }
}
