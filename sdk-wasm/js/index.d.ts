/** Settings of a client. */
export interface QuotaStackOptions {
  /** `qs_live_...` or `qs_sandbox_...`; the prefix picks the environment. */
  apiKey: string
  /** A sidecar or the server; default `http://127.0.0.1:7070`, where a sidecar listens. */
  baseUrl?: string
  /** How long a call may take with all its retries; default 10,000. */
  timeoutMs?: number
  /** The same for entitlement checks; default 2,000. */
  checkTimeoutMs?: number
  /** How often a call is tried again at most; default 2. */
  maxRetries?: number
}

/** Names a change, so that making it again changes nothing. Without one, a fresh key covers the call's retries. */
export interface MutationOptions {
  idempotencyKey?: string
}

export interface PageOptions {
  /** 1 to 100, default 20. */
  limit?: number
  /** The `next_cursor` of the page before. */
  cursor?: string
}

export interface Page<T> {
  data: T[]
  /** Null at the end. */
  next_cursor: string | null
}

/** A value that a later version may add to. */
type Open<T extends string> = T | (string & {})
type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
/** An instant as RFC 3339, for example `2026-01-15T09:30:00Z`. */
type Timestamp = string

export type OveragePolicy = "block" | "cap" | "overdraft" | "notify"

export interface Check {
  allowed: boolean
  reason: Open<
    | "ok" | "within_overdraft" | "insufficient_credits" | "feature_not_in_plan" | "no_subscription"
    | "subscription_paused" | "subscription_past_due" | "feature_unpriced" | "feature_unknown" | "overdraft_limit"
    | "stale_replica"
  >
  feature_key: string
  units: number
  /** Credit less debt, of the blocks that may pay for this feature. */
  balance: number
  reserved: number
  available: number
  /** Null without a price. */
  estimated_cost: number | null
  balance_after: number | null
  /** Null = no limit. */
  units_affordable: number | null
  /** The value of a `config` feature. */
  value: Json
  overage_policy: Open<OveragePolicy> | null
  subscription_status: Open<"active" | "expired"> | null
  source: Open<"server" | "replica">
  version: number
  as_of: Timestamp
  staleness_ms: number
}

export interface CheckRequest {
  end_user_id: string
  feature_key: string
  /** Default 1. */
  units?: number
}

export interface Usage {
  feature_key: string
  units: number
  /** The event's identity within the end user, for ever. */
  idempotency_key?: string | null
  on_insufficient?: OveragePolicy | null
  /** At most 35 days back; default now. */
  effective_at?: Timestamp | null
  properties?: Record<string, string>
}

export interface UsageEvent extends Usage {
  end_user_id: string
}

export interface Allocation {
  block_id: string
  amount: number
}

export interface UsageReceipt {
  id: string
  cost: number
  balance: number
  available: number
  debt: number
  /** Null from a sidecar, which leaves that to the server. */
  allocations: Allocation[] | null
  replayed: boolean
}

export interface UsageResult {
  status: Open<"recorded" | "replayed" | "refused" | "unknown">
  id: string | null
  cost: number | null
  code: string | null
  detail: string | null
}

export interface NewGrant {
  amount: number
  /** Default `promo`. */
  kind?: "promo" | "topup" | "adjustment"
  /** Lower burns first; 0 to 255, default 100. */
  priority?: number
  effective_at?: Timestamp | null
  expires_at?: Timestamp | null
  price_paid?: number | null
  currency?: string | null
  feature_keys?: string[]
  metadata?: Record<string, string>
}

export interface Account {
  balance: number
  reserved: number
  available: number
  debt: number
  version: number
}

export interface Block {
  id: string
  kind: Open<"plan" | "topup" | "promo" | "adjustment">
  original: number
  remaining: number
  held: number
  priority: number
  effective_at: Timestamp
  expires_at: Timestamp | null
  feature_keys: string[]
  status: Open<"scheduled" | "active" | "depleted" | "expired">
}

export interface EndUserCredits extends Account {
  end_user_id: string
  lifetime_granted: number
  lifetime_consumed: number
  /** In burn order; only with `include: "blocks"`. */
  blocks?: Block[]
}

export interface LedgerEntry {
  seq: number
  kind: Open<"grant" | "start" | "usage" | "debt" | "debt_settled" | "expire">
  amount: number
  balance_after: number
  reserved_after: number
  debt_after: number
  allocations: Allocation[]
  feature_key: string | null
  usage_id: string | null
  effective_at: Timestamp
  recorded_at: Timestamp
  hash: string
}

export interface NewFeature {
  feature_key: string
  name: string
  kind: "metered" | "boolean" | "config"
  price?: { type: "per_unit"; cost: number; per_units?: number } | null
  /** Default `block`. */
  overage_policy?: OveragePolicy
  /** Null = no limit. */
  overdraft_limit?: number | null
  enforcement?: "advisory"
  /** Default `allow_until_stale`. */
  offline?: "allow" | "deny" | "allow_until_stale"
  default?: { enabled: boolean; value?: Json }
}

export interface Feature {
  feature_key: string
  name: string
  kind: Open<"metered" | "boolean" | "config">
  price: { type: Open<"per_unit">; cost: number; per_units: number } | null
  overage_policy: Open<OveragePolicy>
  overdraft_limit: number | null
  enforcement: Open<"advisory">
  offline: Open<"allow" | "deny" | "allow_until_stale">
  default: { enabled: boolean; value: Json }
  created_at: Timestamp
}

export interface NewPlan {
  name: string
  kind?: "base"
}

export interface Plan {
  id: string
  name: string
  kind: Open<"base">
  created_at: Timestamp
}

export interface BillingPeriod {
  count: number
  unit: "day" | "week" | "month" | "year"
}

export interface NewVariant {
  name: string
  billing_period: BillingPeriod
  billing_mode?: "prepaid"
  trial_days?: 0
  fallback?: false
  grants?: {
    amount: number
    interval: "billing_period" | "once"
    priority?: number
    feature_keys?: string[]
    rollover_percent?: 0
    accumulation_cap?: null
  }[]
  entitlements?: { feature_key: string; enabled?: boolean; value?: Json }[]
}

export interface Variant {
  id: string
  plan_id: string
  name: string
  version: number
  billing_period: { count: number; unit: Open<BillingPeriod["unit"]> }
  billing_mode: Open<"prepaid">
  grants: { amount: number; interval: Open<"billing_period" | "once">; priority: number; feature_keys: string[] }[]
  entitlements: { feature_key: string; enabled: boolean; value: Json }[]
  created_at: Timestamp
}

export interface NewSubscription {
  plan_variant_id: string
  start_at?: null
  quantity?: number
}

export interface Subscription {
  id: string
  end_user_id: string
  plan_id: string
  plan_variant_id: string
  variant_version: number
  status: Open<"active" | "expired">
  quantity: number
  current_period: { start: Timestamp; end: Timestamp }
  cancel_at: Timestamp | null
  pending_change: { [key: string]: Json } | null
  trial_end: Timestamp | null
  created_at: Timestamp
}

export interface SandboxClock {
  now: Timestamp
  running: boolean
}

/** A client of one environment. */
export class QuotaStack {
  constructor(options: QuotaStackOptions)

  /** Whether the end user may use the feature now. A denial is an answer, not an error. */
  checkEntitlement(endUserId: string, featureKey: string, options?: { units?: number }): Promise<Check>
  /** Up to 100 checks, answered in order. */
  checkEntitlements(checks: CheckRequest[]): Promise<{ results: Check[] }>

  /** Records usage. */
  recordUsage(endUserId: string, usage: Usage): Promise<UsageReceipt>
  /** Up to 1,000 events, each decided on its own, in order. */
  recordUsageBatch(events: UsageEvent[], options?: MutationOptions): Promise<{ results: UsageResult[] }>

  createGrant(endUserId: string, grant: NewGrant, options?: MutationOptions): Promise<{ block: Block; account: Account }>
  getEndUserCredits(endUserId: string, options?: { include?: "blocks" }): Promise<EndUserCredits>
  listLedgerEntries(endUserId: string, options?: { after_seq?: number; limit?: number }): Promise<Page<LedgerEntry>>

  createFeature(feature: NewFeature, options?: MutationOptions): Promise<Feature>
  listFeatures(page?: PageOptions): Promise<Page<Feature>>
  getFeature(featureKey: string): Promise<Feature>
  createPlan(plan: NewPlan, options?: MutationOptions): Promise<Plan>
  listPlans(page?: PageOptions): Promise<Page<Plan>>
  getPlan(planId: string): Promise<Plan>
  createVariant(planId: string, variant: NewVariant, options?: MutationOptions): Promise<Variant>
  listVariants(planId: string, page?: PageOptions): Promise<Page<Variant>>
  getVariant(variantId: string): Promise<Variant>

  createSubscription(endUserId: string, subscription: NewSubscription, options?: MutationOptions): Promise<Subscription>
  getSubscription(subscriptionId: string): Promise<Subscription>
  listSubscriptions(endUserId: string, page?: PageOptions): Promise<Page<Subscription>>

  getSandboxClock(): Promise<SandboxClock>
  setSandboxClock(to: { advance_seconds: number } | { now: Timestamp }, options?: MutationOptions): Promise<SandboxClock>
}

/** A call that failed. */
export class QuotaStackError extends Error {
  /** Stable: the server's, or `invalid_request`, `connection_failed`, `unreadable_answer`. */
  readonly code: string
  /** The HTTP status, if the server answered. */
  readonly status?: number
  /** Finds the request in the server's log. */
  readonly requestId?: string
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** The places of the request that are not valid. */
  readonly errors: { pointer: string; detail: string }[]
}
