// The class that programs see: one method per operation over the WebAssembly core. The entry for the runtime
// (node.js, workerd.js, browser.js) says how the core is loaded.
import { Core } from "./quotastack_wasm.js"
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

  async #call(operation, args) {
    await ready()
    try {
      this.#core ??= new Core(this.#options)
      return decode(await this.#core.call(operation, encode(args)))
    } catch (thrown) {
      throw QuotaStackError.from(thrown)
    }
  }

  checkEntitlement(endUserId, featureKey, { units } = {}) {
    return this.#call("check_entitlement", { end_user_id: endUserId, feature_key: featureKey, units })
  }

  checkEntitlements(checks) {
    return this.#call("check_entitlements", { body: { checks } })
  }

  recordUsage(endUserId, usage) {
    return this.#call("record_usage", { body: { ...usage, end_user_id: endUserId } })
  }

  recordUsageBatch(events, { idempotencyKey } = {}) {
    return this.#call("record_usage_batch", { idempotency_key: idempotencyKey, body: { events } })
  }

  createGrant(endUserId, grant, { idempotencyKey } = {}) {
    return this.#call("create_grant", { idempotency_key: idempotencyKey, body: { ...grant, end_user_id: endUserId } })
  }

  getEndUserCredits(endUserId, { include } = {}) {
    return this.#call("get_end_user_credits", { end_user_id: endUserId, include })
  }

  listLedgerEntries(endUserId, { after_seq, limit } = {}) {
    return this.#call("list_ledger_entries", { end_user_id: endUserId, after_seq, limit })
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

  createPlan(plan, { idempotencyKey } = {}) {
    return this.#call("create_plan", { idempotency_key: idempotencyKey, body: plan })
  }

  listPlans({ limit, cursor } = {}) {
    return this.#call("list_plans", { limit, cursor })
  }

  getPlan(planId) {
    return this.#call("get_plan", { plan_id: planId })
  }

  createVariant(planId, variant, { idempotencyKey } = {}) {
    return this.#call("create_variant", { plan_id: planId, idempotency_key: idempotencyKey, body: variant })
  }

  listVariants(planId, { limit, cursor } = {}) {
    return this.#call("list_variants", { plan_id: planId, limit, cursor })
  }

  getVariant(variantId) {
    return this.#call("get_variant", { variant_id: variantId })
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

  getSandboxClock() {
    return this.#call("get_sandbox_clock", {})
  }

  setSandboxClock(to, { idempotencyKey } = {}) {
    return this.#call("set_sandbox_clock", { idempotency_key: idempotencyKey, body: to })
  }
}
