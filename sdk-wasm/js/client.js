// The class that programs see: one method per operation over the WebAssembly core. The entry for the runtime
// (node.js, workerd.js, browser.js) says how the core is loaded.
import { Core, evaluate as evaluate_bytes, verify_proof } from "./quotastack_wasm.js"
import { QuotaStackError } from "./error.js"
import { decode, encode } from "./json.js"

export { QuotaStackError }

let load
let loaded

export function loadWith(loader) {
  load = loader
}

async function ready() {
  try {
    await (loaded ??= load())
  } catch (error) {
    loaded = undefined
    throw error
  }
}

/** Answers a check from what is published of an end user, by the server's rules. Calls nobody. */
export async function evaluate({ state, catalogue, featureKey, units = 1, now = new Date() } = {}) {
  if (!Number.isSafeInteger(units)) throw QuotaStackError.invalid("`units` must be an integer")
  await ready()
  try {
    const instant = now instanceof Date ? now.toISOString() : now
    return decode(evaluate_bytes(state, catalogue, featureKey, BigInt(units), instant))
  } catch (thrown) {
    throw QuotaStackError.from(thrown)
  }
}

/** Verifies a proof by itself, and against what is remembered of an earlier one. Calls nobody. */
export async function verifyProof(proof, { remembered } = {}) {
  await ready()
  try {
    return decode(verify_proof(encode(proof), encode(remembered ?? null)))
  } catch (thrown) {
    throw QuotaStackError.from(thrown)
  }
}

export class QuotaStack {
  #options
  #core

  constructor({ apiKey, baseUrl, timeoutMs, checkTimeoutMs, maxRetries } = {}) {
    if (typeof apiKey !== "string" || apiKey === "") throw QuotaStackError.invalid("`apiKey` is missing")
    let url
    try {
      // Turns a host name into ASCII, which the core expects.
      url = baseUrl === undefined ? undefined : new URL(baseUrl).href
    } catch {
      throw QuotaStackError.invalid(`\`baseUrl\`: ${baseUrl} is not a URL`)
    }
    this.#options = encode({
      api_key: apiKey,
      base_url: url,
      timeout_ms: timeoutMs,
      check_timeout_ms: checkTimeoutMs,
      retries_max: maxRetries,
    })
  }

  #call(operation, args) {
    return this.#with((core) => core.call(operation, encode(args)))
  }

  async #with(use) {
    await ready()
    try {
      this.#core ??= new Core(this.#options)
      return decode(await use(this.#core))
    } catch (thrown) {
      throw QuotaStackError.from(thrown)
    }
  }

  checkEntitlement(endUserId, featureKey, { units, explain } = {}) {
    return this.#call("check_entitlement", { end_user_id: endUserId, feature_key: featureKey, units, explain })
  }

  checkEntitlements(checks) {
    return this.#call("check_entitlements", { body: { checks } })
  }

  listEntitlements(endUserId, { explain, limit, cursor } = {}) {
    return this.#call("list_entitlements", { end_user_id: endUserId, explain, limit, cursor })
  }

  recordUsage(endUserId, usage) {
    return this.#call("record_usage", { body: { ...usage, end_user_id: endUserId } })
  }

  recordUsageBatch(events, { idempotencyKey } = {}) {
    return this.#call("record_usage_batch", { idempotency_key: idempotencyKey, body: { events } })
  }

  consume(endUserId, usage) {
    return this.#call("consume", { body: { ...usage, end_user_id: endUserId } })
  }

  listUsage({ end_user_id, feature_key, reservation_id, from, to, limit, cursor } = {}) {
    return this.#call("list_usage", { end_user_id, feature_key, reservation_id, from, to, limit, cursor })
  }

  summarizeUsage({ from, to, bucket, group_by, property, end_user_id, feature_key, limit, cursor }) {
    const range = { from, to, bucket, limit, cursor }
    return this.#call("summarize_usage", { ...range, group_by, property, end_user_id, feature_key })
  }

  getUsage(usageId) {
    return this.#call("get_usage", { usage_id: usageId })
  }

  voidUsage(usageId, { reason, idempotencyKey } = {}) {
    return this.#call("void_usage", { usage_id: usageId, idempotency_key: idempotencyKey, body: { reason } })
  }

  createReservation(endUserId, reservation, { idempotencyKey } = {}) {
    const body = { ...reservation, end_user_id: endUserId }
    return this.#call("create_reservation", { idempotency_key: idempotencyKey, body })
  }

  listReservations(endUserId, { limit, cursor } = {}) {
    return this.#call("list_reservations", { end_user_id: endUserId, limit, cursor })
  }

  getReservation(reservationId) {
    return this.#call("get_reservation", { reservation_id: reservationId })
  }

  commitReservation(reservationId, commit, { idempotencyKey } = {}) {
    const args = { reservation_id: reservationId, idempotency_key: idempotencyKey, body: commit }
    return this.#call("commit_reservation", args)
  }

  releaseReservation(reservationId, { idempotencyKey } = {}) {
    const args = { reservation_id: reservationId, idempotency_key: idempotencyKey, body: {} }
    return this.#call("release_reservation", args)
  }

  extendReservation(reservationId, extension, { idempotencyKey } = {}) {
    const args = { reservation_id: reservationId, idempotency_key: idempotencyKey, body: extension }
    return this.#call("extend_reservation", args)
  }

  createGrant(endUserId, grant, { idempotencyKey } = {}) {
    return this.#call("create_grant", { idempotency_key: idempotencyKey, body: { ...grant, end_user_id: endUserId } })
  }

  adjustCredits(endUserId, adjustment, { idempotencyKey } = {}) {
    const body = { ...adjustment, end_user_id: endUserId }
    return this.#call("adjust_credits", { idempotency_key: idempotencyKey, body })
  }

  voidBlock(blockId, { reason, idempotencyKey } = {}) {
    return this.#call("void_block", { block_id: blockId, idempotency_key: idempotencyKey, body: { reason } })
  }

  createTopup(endUserId, topup, { idempotencyKey } = {}) {
    return this.#call("create_topup", { idempotency_key: idempotencyKey, body: { ...topup, end_user_id: endUserId } })
  }

  listTopups(endUserId, { limit, cursor } = {}) {
    return this.#call("list_topups", { end_user_id: endUserId, limit, cursor })
  }

  getTopup(topupId) {
    return this.#call("get_topup", { topup_id: topupId })
  }

  refundTopup(topupId, refund, { idempotencyKey } = {}) {
    return this.#call("refund_topup", { topup_id: topupId, idempotency_key: idempotencyKey, body: refund ?? {} })
  }

  getEndUserCredits(endUserId, { include, as_of, as_of_seq } = {}) {
    return this.#call("get_end_user_credits", { end_user_id: endUserId, include, as_of, as_of_seq })
  }

  listLedgerEntries(endUserId, { after_seq, limit, kind, feature_key, from, to, ...about } = {}) {
    const { usage_id, reservation_id, topup_id, subscription_id } = about
    const ids = { usage_id, reservation_id, topup_id, subscription_id }
    return this.#call("list_ledger_entries", {
      end_user_id: endUserId, after_seq, limit, kind, feature_key, from, to, ...ids,
    })
  }

  getLedgerProof(endUserId, { from_seq, to_seq } = {}) {
    return this.#call("get_ledger_proof", { end_user_id: endUserId, from_seq, to_seq })
  }

  verifyLedger(endUserId, { remembered } = {}) {
    return this.#with((core) => core.verify_ledger(endUserId, encode(remembered ?? null)))
  }

  createFeature(feature, { idempotencyKey } = {}) {
    return this.#call("create_feature", { idempotency_key: idempotencyKey, body: feature })
  }

  listFeatures({ limit, cursor } = {}) {
    return this.#call("list_features", { limit, cursor })
  }

  getFeature(featureKey) {
    return this.#call("get_feature", { feature_key: featureKey })
  }

  replaceFeature(featureKey, rules, { idempotencyKey } = {}) {
    return this.#call("replace_feature", { feature_key: featureKey, idempotency_key: idempotencyKey, body: rules })
  }

  createPrice(featureKey, version, { idempotencyKey } = {}) {
    return this.#call("create_price", { feature_key: featureKey, idempotency_key: idempotencyKey, body: version })
  }

  listPrices(featureKey) {
    return this.#call("list_prices", { feature_key: featureKey })
  }

  createTopupPackage(topupPackage, { idempotencyKey } = {}) {
    return this.#call("create_topup_package", { idempotency_key: idempotencyKey, body: topupPackage })
  }

  listTopupPackages({ limit, cursor } = {}) {
    return this.#call("list_topup_packages", { limit, cursor })
  }

  getTopupPackage(packageId) {
    return this.#call("get_topup_package", { package_id: packageId })
  }

  replaceTopupPackage(packageId, topupPackage, { idempotencyKey } = {}) {
    const args = { package_id: packageId, idempotency_key: idempotencyKey, body: topupPackage }
    return this.#call("replace_topup_package", args)
  }

  archiveTopupPackage(packageId, { idempotencyKey } = {}) {
    return this.#call("archive_topup_package", { package_id: packageId, idempotency_key: idempotencyKey })
  }

  createPlan(plan, { idempotencyKey } = {}) {
    return this.#call("create_plan", { idempotency_key: idempotencyKey, body: plan })
  }

  listPlans({ limit, cursor } = {}) {
    return this.#call("list_plans", { limit, cursor })
  }

  getPlan(planId) {
    return this.#call("get_plan", { plan_id: planId })
  }

  renamePlan(planId, name, { idempotencyKey } = {}) {
    return this.#call("rename_plan", { plan_id: planId, idempotency_key: idempotencyKey, body: { name } })
  }

  createVariant(planId, variant, { idempotencyKey } = {}) {
    return this.#call("create_variant", { plan_id: planId, idempotency_key: idempotencyKey, body: variant })
  }

  listVariants(planId, { limit, cursor } = {}) {
    return this.#call("list_variants", { plan_id: planId, limit, cursor })
  }

  getVariant(variantId, { version } = {}) {
    return this.#call("get_variant", { variant_id: variantId, version })
  }

  replaceVariant(variantId, variant, { idempotencyKey } = {}) {
    return this.#call("replace_variant", { variant_id: variantId, idempotency_key: idempotencyKey, body: variant })
  }

  archiveVariant(variantId, { idempotencyKey } = {}) {
    return this.#call("archive_variant", { variant_id: variantId, idempotency_key: idempotencyKey })
  }

  migrateVariant(variantId, migration = {}, { idempotencyKey } = {}) {
    return this.#call("migrate_variant", { variant_id: variantId, idempotency_key: idempotencyKey, body: migration })
  }

  createSubscription(endUserId, subscription, { idempotencyKey } = {}) {
    const body = { ...subscription, end_user_id: endUserId }
    return this.#call("create_subscription", { idempotency_key: idempotencyKey, body })
  }

  getSubscription(subscriptionId) {
    return this.#call("get_subscription", { subscription_id: subscriptionId })
  }

  listSubscriptions(endUserId, { limit, cursor } = {}) {
    return this.#call("list_subscriptions", { end_user_id: endUserId, limit, cursor })
  }

  renewSubscription(subscriptionId, { idempotencyKey } = {}) {
    return this.#call("renew_subscription", onSubscription(subscriptionId, {}, idempotencyKey))
  }

  markSubscriptionPaid(subscriptionId, { idempotencyKey } = {}) {
    return this.#call("mark_subscription_paid", onSubscription(subscriptionId, {}, idempotencyKey))
  }

  markSubscriptionOverdue(subscriptionId, { idempotencyKey } = {}) {
    return this.#call("mark_subscription_overdue", onSubscription(subscriptionId, {}, idempotencyKey))
  }

  convertSubscription(subscriptionId, conversion = {}, { idempotencyKey } = {}) {
    return this.#call("convert_subscription", onSubscription(subscriptionId, conversion, idempotencyKey))
  }

  changeSubscription(subscriptionId, change, { idempotencyKey } = {}) {
    return this.#call("change_subscription", onSubscription(subscriptionId, change, idempotencyKey))
  }

  pauseSubscription(subscriptionId, pause = {}, { idempotencyKey } = {}) {
    return this.#call("pause_subscription", onSubscription(subscriptionId, pause, idempotencyKey))
  }

  resumeSubscription(subscriptionId, { idempotencyKey } = {}) {
    return this.#call("resume_subscription", onSubscription(subscriptionId, {}, idempotencyKey))
  }

  cancelSubscription(subscriptionId, cancellation, { idempotencyKey } = {}) {
    return this.#call("cancel_subscription", onSubscription(subscriptionId, cancellation, idempotencyKey))
  }

  uncancelSubscription(subscriptionId, taken = {}, { idempotencyKey } = {}) {
    return this.#call("uncancel_subscription", onSubscription(subscriptionId, taken, idempotencyKey))
  }

  listOverrides(endUserId) {
    return this.#call("list_overrides", { end_user_id: endUserId })
  }

  getOverride(endUserId, featureKey) {
    return this.#call("get_override", { end_user_id: endUserId, feature_key: featureKey })
  }

  setOverride(endUserId, featureKey, terms, { idempotencyKey } = {}) {
    const args = { end_user_id: endUserId, feature_key: featureKey, idempotency_key: idempotencyKey, body: terms }
    return this.#call("set_override", args)
  }

  removeOverride(endUserId, featureKey, { idempotencyKey } = {}) {
    const args = { end_user_id: endUserId, feature_key: featureKey, idempotency_key: idempotencyKey }
    return this.#call("remove_override", args)
  }

  listSidecars({ limit, cursor } = {}) {
    return this.#call("list_sidecars", { limit, cursor })
  }

  getSandboxClock() {
    return this.#call("get_sandbox_clock", {})
  }

  setSandboxClock(to, { idempotencyKey } = {}) {
    return this.#call("set_sandbox_clock", { idempotency_key: idempotencyKey, body: to })
  }
}

/** What an operation on a subscription is given. */
function onSubscription(subscriptionId, body, idempotencyKey) {
  return { subscription_id: subscriptionId, idempotency_key: idempotencyKey, body }
}
