// Compiled, not run: the types hold for a program in strict mode, and refuse what the server would.
import { QuotaStack, QuotaStackError, evaluate, type Check, type NewVariant, type UsageReceipt } from "quotastack"

export async function answer(quotastack: QuotaStack, prompt: string, requestId: string): Promise<string | { error: string }> {
  const { allowed, balance } = await quotastack.checkEntitlement("user_123", "ai_request")
  if (!allowed) return { error: "upgrade_required" }
  const receipt: UsageReceipt = await quotastack.recordUsage("user_123", {
    feature_key: "ai_request",
    units: 1,
    idempotency_key: requestId,
  })
  return `${prompt} ${balance - receipt.cost}`
}

export function reason(check: Check): string {
  return check.reason === "insufficient_credits" ? `${check.units_affordable ?? 0} left` : check.reason
}

export async function atTheEdge(state: Uint8Array, catalogue: Uint8Array): Promise<boolean> {
  const { allowed, balance } = await evaluate({ state, catalogue, featureKey: "ai_request" })
  return allowed && balance > 0
}

export function retry(error: unknown): boolean {
  return error instanceof QuotaStackError && error.retryable && error.status !== 402
}

export const variant: NewVariant = {
  name: "monthly",
  billing_period: { count: 1, unit: "month" },
  trial_days: 0,
  fallback: false,
  grants: [{ amount: 1, interval: "billing_period", rollover_percent: 0, accumulation_cap: null }],
  entitlements: [{ feature_key: "api_calls" }],
}

// @ts-expect-error a key is required
new QuotaStack({})
// @ts-expect-error units are required
export const incomplete = (quotastack: QuotaStack) => quotastack.recordUsage("u", { feature_key: "f" })
// @ts-expect-error a field nobody knows
export const typo = (quotastack: QuotaStack) => quotastack.recordUsage("u", { feature_key: "f", unitz: 1, units: 1 })
