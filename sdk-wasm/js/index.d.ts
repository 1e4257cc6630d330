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
  subscription_status: Open<SubscriptionStatus> | null
  source: Open<"server" | "replica">
  version: number
  as_of: Timestamp
  staleness_ms: number
  /** Where it was asked for. */
  explain?: Explanation
}

/** Why an answer is what it is. */
export interface Explanation {
  /** Everybody who names the feature: the override, the base, add-ons, the feature itself. */
  chain: ExplanationStep[]
  /** Null without a price. `effective_from` is of the feature's own; null = since ever. */
  price: (Explained & { price: CurrentPrice; effective_from: Timestamp | null }) | null
  /** Null where the feature is not metered. */
  overage_policy: (Explained & { value: Open<OveragePolicy> }) | null
  overdraft_limit: (Explained & { value: number | null }) | null
  /** The blocks that pay for the feature now, in burn order; the first 100. */
  blocks: {
    id: string
    kind: Open<"plan" | "topup" | "promo" | "adjustment" | "rollover">
    priority: number
    available: number
    expires_at: Timestamp | null
  }[]
  more_blocks: boolean
}

/** Whose word holds: of a `variant` the subscription says. */
export interface Explained {
  source: Open<"end_user" | "variant" | "feature">
  subscription_id: string | null
}

/** What one of them says of a feature. */
export interface ExplanationStep extends Explained {
  plan_kind: Open<"base" | "addon"> | null
  plan_variant_id: string | null
  variant_version: number | null
  status: Open<SubscriptionStatus> | null
  /** Why the subscription does not give the feature now. */
  withheld: Open<"paused" | "past_due"> | null
  enabled: boolean | null
  value: Json
  merge: Open<"sum" | "max"> | null
  /** Of an override. */
  expires_at: Timestamp | null
  decides_access: boolean
  /** Alone or joined. */
  gives_value: boolean
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
  /** Only say what would happen. Not in a batch. */
  dry_run?: boolean
}

export interface UsageEvent extends Usage {
  end_user_id: string
}

export interface Allocation {
  block_id: string
  amount: number
  /** In ledger entries: the change of what is held. */
  held?: number
  /** In ledger entries: the feature whose debt it paid. */
  feature_key?: string | null
}

/** Which price an event was given. */
export interface PricedBy {
  source: Open<"feature" | "variant" | "end_user">
  /** Index of the rule in `dimensions` that picked the price. */
  rule: number | null
}

export interface UsageReceipt {
  /** Null in a dry run. */
  id: string | null
  /** What was charged: taken, and owed. */
  cost: number
  balance: number
  available: number
  debt: number
  /** Null from a sidecar, which leaves that to the server. */
  allocations: Allocation[] | null
  /** The event's price, before it was capped; null from a sidecar. */
  price: number | null
  /** The part of the cost that became debt; null from a sidecar. */
  owed: number | null
  priced_by: PricedBy | null
  replayed: boolean
  dry_run: boolean
}

export interface ConsumeReceipt extends UsageReceipt {
  allowed: true
  source: Open<"server" | "lease">
}

/** A usage event as it was recorded. */
export interface RecordedUsage {
  id: string
  end_user_id: string
  feature_key: string
  units: number
  properties: Record<string, string>
  idempotency_key: string
  cost: number
  price: number
  owed: number
  effective_at: Timestamp
  recorded_at: Timestamp
  late: boolean
  seq: number
  reservation_id: string | null
  voided_at: Timestamp | null
  void_reason: string | null
  allocations: Allocation[]
}

export interface UsageFilter extends PageOptions {
  end_user_id?: string
  feature_key?: string
  reservation_id?: string
  /** Of `effective_at`. */
  from?: Timestamp
  /** Of `effective_at`; usage at exactly this instant is not in. */
  to?: Timestamp
}

export interface SummaryOptions extends PageOptions {
  from: Timestamp
  to: Timestamp
  /** Default `day`. */
  bucket?: "hour" | "day" | "month"
  /** Default `feature`. */
  group_by?: "feature" | "end_user" | "property"
  /** With `group_by: "property"`: which one. */
  property?: string
  end_user_id?: string
  feature_key?: string
}

/** What the usage of a bucket and group comes to. */
export interface UsageSum {
  bucket_start: Timestamp
  feature_key: string | null
  end_user_id: string | null
  property_value: string | null
  /** All values beyond the first 1,000 of a feature's property. */
  other_values: boolean
  events: number
  units: number
  cost: number
  /** Whether a sum is beyond 2^53 - 1 and was cut to that. */
  out_of_range: boolean
}

export interface VoidReceipt {
  id: string
  returned: number
  debt_undone: number
  account: Account
  voided_at: Timestamp
  replayed: boolean
}

export interface NewReservation {
  feature_key: string
  /** The estimate. */
  units: number
  /** 1 to 86,400, default 300. */
  ttl_seconds?: number
  properties?: Record<string, string>
  on_insufficient?: OveragePolicy | null
}

export interface Reservation {
  id: string
  end_user_id: string
  feature_key: string
  status: Open<"active" | "committed" | "released" | "expired">
  units: number
  amount: number
  held: number
  uncovered: number
  committed_units: number
  committed_cost: number
  properties: Record<string, string>
  created_at: Timestamp
  expires_at: Timestamp
  closed_at: Timestamp | null
}

export interface Commit {
  /** Units of this commit. */
  units: number
  /** Default true. */
  final?: boolean
  /** Default `draw`. */
  over_commit?: "draw" | "cap" | "reject"
  /** After the reservation's end: charge it as ordinary usage, once. */
  late?: "debit" | null
}

export interface CommitReceipt {
  reservation: Reservation
  usage: UsageReceipt
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
  /** Default true. */
  settle_debt?: boolean
  cap_group?: string | null
  accumulation_cap?: number | null
}

export interface Adjustment {
  /** Not 0. */
  amount: number
  reason: string
  block_id?: string | null
  feature_key?: string | null
  allow_negative?: boolean
  priority?: number
  expires_at?: Timestamp | null
}

export interface AdjustmentReceipt {
  amount: number
  taken: number
  owed: number
  block: Block | null
  account: Account
}

export interface NewTopup {
  /** Unique per end user, for ever. */
  payment_reference: string
  /** A package, or `amount`, `price_paid` and `currency`. */
  package_id?: string | null
  amount?: number | null
  price_paid?: number | null
  currency?: string | null
  expires_at?: Timestamp | null
  priority?: number | null
  feature_keys?: string[]
  metadata?: Record<string, string>
}

export interface Topup {
  id: string
  end_user_id: string
  package_id: string | null
  block_id: string
  amount: number
  price_paid: number | null
  currency: string | null
  payment_reference: string
  refunded: number
  clawed_back: number
  status: Open<"active" | "partially_refunded" | "refunded">
  created_at: Timestamp
}

export interface Refund {
  /** Default: all that was not refunded before. */
  amount?: number | null
  /** Whether what was spent, or is held, becomes debt; default false. */
  claw_back_spent?: boolean
  reason?: string | null
}

export interface NewTopupPackage {
  name: string
  amount: number
  price_paid: number
  currency: string
  priority?: number
  expires_after?: BillingPeriod | null
  feature_keys?: string[]
}

export interface TopupPackage {
  id: string
  name: string
  amount: number
  price_paid: number
  currency: string
  priority: number
  expires_after: { count: number; unit: Open<BillingPeriod["unit"]> } | null
  feature_keys: string[]
  archived_at: Timestamp | null
  created_at: Timestamp
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
  expired: number
  withdrawn: number
  priority: number
  effective_at: Timestamp
  expires_at: Timestamp | null
  feature_keys: string[]
  cap_group: string | null
  settle_debt: boolean
  price_paid: number | null
  currency: string | null
  metadata: Record<string, string> | null
  status: Open<"scheduled" | "active" | "depleted" | "expired" | "voided" | "refunded">
}

export interface EndUserCredits extends Omit<Account, "version"> {
  end_user_id: string
  /** null where the past was asked for. */
  version: number | null
  /** The last entry in it; 0 = none. */
  seq: number
  lifetime_granted: number
  lifetime_consumed: number
  /** In burn order; only with `include: "blocks"`. */
  blocks?: Block[]
}

export interface LedgerEntry {
  seq: number
  kind: Open<
    | "grant" | "start" | "usage" | "debt" | "debt_settled" | "expire" | "commit" | "hold" | "extend" | "release"
    | "hold_expired" | "void" | "withdraw" | "refund" | "adjust"
  >
  amount: number
  balance_after: number
  reserved_after: number
  debt_after: number
  allocations: Allocation[]
  cause: { type: string; id: string | null; units: number | null }
  feature_key: string | null
  usage_id: string | null
  reservation_id: string | null
  reason: string | null
  actor: string | null
  effective_at: Timestamp
  recorded_at: Timestamp
  hash: string
}

/** An account as an entry left it. */
export interface LedgerPoint {
  /** 0 = before the first entry. */
  seq: number
  hash: string
  balance: number
  reserved: number
  debt: number
}

/** A segment of an account's hash chain: `verifyProof` reads it. */
export interface LedgerProof {
  account_id: string
  format: number
  before: LedgerPoint
  entries: { seq: number; canonical: string; hash: string }[]
  after: LedgerPoint
  head: LedgerPoint
}

/** Where a verified ledger ended. Keep it as it is, for the next verification. */
export interface LedgerHead extends LedgerPoint {
  account_id: string
}

export interface VerifiedLedger {
  before: LedgerPoint
  after: LedgerPoint
  remember: LedgerHead
}

export interface VerifiedProof extends VerifiedLedger {
  /** Whether the ledger ends there. */
  is_head: boolean
  /** Read from the proof's bytes: what the ledger lists, but for `reason`, which is not in the chain. */
  entries: LedgerEntry[]
}

/** How units become credits. An event is rounded up once. */
export type PriceModel =
  | { type: "per_unit"; cost: number; per_units?: number }
  | { type: "flat"; cost: number }
  | { type: "package"; cost: number; size: number }
  | {
      type: "tiered"
      mode: "graduated" | "volume"
      per_units?: number
      window?: "event" | "billing_period" | "calendar_month" | "lifetime"
      tiers: { up_to?: number | null; cost: number }[]
    }

/** A price, and other prices by event property. */
export type Price = PriceModel & { dimensions?: { match: Record<string, string>; price: PriceModel }[] }

/** A price in force; fields that its type does not have are missing. */
export interface CurrentPrice {
  type: Open<PriceModel["type"]>
  cost?: number
  per_units?: number
  size?: number
  mode?: Open<"graduated" | "volume">
  window?: Open<"event" | "billing_period" | "calendar_month" | "lifetime">
  tiers?: { up_to: number | null; cost: number }[]
  dimensions?: { match: Record<string, string>; price: CurrentPrice }[]
}

export interface NewPrice {
  price: Price
  /** Default now; not before it, but for a feature's first price. */
  effective_from?: Timestamp | null
}

export interface PriceVersion {
  price: CurrentPrice
  /** Null = since ever. */
  effective_from: Timestamp | null
}

/** An end user's own terms; what is left out is as it would be without them. */
export interface NewOverride {
  enabled?: boolean | null
  value?: Json
  price?: Price | null
  overage_policy?: OveragePolicy | null
  overdraft_limit?: number | null
  expires_at?: Timestamp | null
}

export interface Override {
  feature_key: string
  enabled: boolean | null
  value: Json
  price: CurrentPrice | null
  overage_policy: Open<OveragePolicy> | null
  overdraft_limit: number | null
  expires_at: Timestamp | null
}

export interface NewFeature {
  feature_key: string
  name: string
  kind: "metered" | "boolean" | "config"
  price?: Price | null
  /** Default `block`. */
  overage_policy?: OveragePolicy
  /** Null = no limit. */
  overdraft_limit?: number | null
  enforcement?: "advisory" | "strict"
  /** Default `allow_until_stale`. */
  offline?: "allow" | "deny" | "allow_until_stale"
  default?: { enabled: boolean; value?: Json }
  /** Names of event properties that summaries of usage can be grouped by. */
  summary_properties?: string[]
}

/** What a feature's rules are to be; its kind stays, and prices have versions of their own. */
export type FeatureRules = Omit<NewFeature, "feature_key" | "kind" | "price" | "summary_properties">

export interface Feature {
  feature_key: string
  name: string
  kind: Open<"metered" | "boolean" | "config">
  price: CurrentPrice | null
  overage_policy: Open<OveragePolicy>
  overdraft_limit: number | null
  enforcement: Open<"advisory" | "strict">
  offline: Open<"allow" | "deny" | "allow_until_stale">
  default: { enabled: boolean; value: Json }
  summary_properties: string[]
  created_at: Timestamp
}

export interface NewPlan {
  name: string
  kind?: PlanKind
}

export interface Plan {
  id: string
  name: string
  kind: Open<PlanKind>
  created_at: Timestamp
}

/** `base`: at most one live subscription per end user. `addon`: any number beside a base. */
export type PlanKind = "base" | "addon"

export interface BillingPeriod {
  count: number
  unit: "day" | "week" | "month" | "year"
}

export interface NewVariant {
  name: string
  billing_period: BillingPeriod
  billing_mode?: BillingMode
  trial_days?: number
  trial_end?: TrialEnd | null
  renewal_due_days?: number
  grace_period_days?: number
  allow_usage_while_overdue?: boolean
  /** What a period costs; 0 = free, null = not known here. */
  price?: VariantPrice | null
  /** For how long a subscriber is bound. */
  contract?: { periods: number; auto_renew?: boolean; notice_days?: number } | null
  /** Postpaid: whether debt of usage stays with the end user when a period closes. */
  carry_debt?: boolean
  summary_delay_minutes?: number
  /** Whether end users fall back to it when their base subscription ends; one per environment. */
  fallback?: boolean
  grants?: {
    amount: number
    interval: "billing_period" | "once" | GrantPeriod
    on?: "period" | "trial"
    expires_after?: GrantPeriod
    priority?: number
    feature_keys?: string[]
    rollover_percent?: number
    rollover_cap?: number | null
    accumulation_cap?: number | null
    cap_group?: string | null
    settle_debt?: boolean
  }[]
  entitlements?: {
    feature_key: string
    enabled?: boolean
    value?: Json
    price?: Price | null
    overage_policy?: OveragePolicy | null
    overdraft_limit?: number | null
    /** Of add-ons: how a whole number joins the base's. */
    merge?: Merge | null
  }[]
}

export interface Variant {
  id: string
  plan_id: string
  name: string
  version: number
  billing_period: { count: number; unit: Open<BillingPeriod["unit"]> }
  billing_mode: Open<BillingMode>
  trial_days: number
  trial_end: Open<TrialEnd> | null
  renewal_due_days: number
  grace_period_days: number
  allow_usage_while_overdue: boolean
  price: VariantPrice | null
  contract: { periods: number; auto_renew: boolean; notice_days: number } | null
  carry_debt: boolean
  summary_delay_minutes: number
  fallback: boolean
  archived: boolean
  grants: {
    amount: number
    interval: Open<"billing_period" | "once"> | { count: number; unit: Open<GrantPeriod["unit"]> }
    on: Open<"period" | "trial">
    expires_after: { count: number; unit: Open<GrantPeriod["unit"]> } | null
    rollover_percent: number
    rollover_cap: number | null
    priority: number
    feature_keys: string[]
    accumulation_cap: number | null
    cap_group: string | null
    settle_debt: boolean
  }[]
  entitlements: {
    feature_key: string
    enabled: boolean
    value: Json
    price: CurrentPrice | null
    overage_policy: Open<OveragePolicy> | null
    overdraft_limit: number | null
    merge: Open<Merge> | null
  }[]
  created_at: Timestamp
}

/** In the currency's smallest unit. */
export interface VariantPrice {
  amount: number
  currency: string
}

export type Merge = "sum" | "max"

/** One page of a migration. */
export interface VariantMigration {
  at?: "now" | "period_end"
  /** What becomes of the credit of a change now. */
  credits?: "prorate" | "reset" | "keep_and_add"
  /** Say what would happen, and do nothing. */
  preview?: boolean
  limit?: number
  /** The `next_cursor` of the page before. */
  cursor?: string | null
}

export interface MigrationPage {
  plan_variant_id: string
  version: number
  preview: boolean
  data: {
    subscription_id: string
    end_user_id: string
    from_version: number
    status: Open<"migrated" | "unchanged" | "refused">
    code: string | null
    detail: string | null
    before: Account | null
    after: Account | null
  }[]
  migrated: number
  refused: number
  remaining: number
  next_cursor: string | null
}

/** `prepaid`: each period is renewed before it begins. `postpaid`: periods follow each other. */
export type BillingMode = "prepaid" | "postpaid"

/** What becomes of a trial at its end. */
export type TrialEnd = "convert" | "expire"

export interface GrantPeriod {
  count: number
  unit: "hour" | "day" | "week" | "month" | "year"
}

export type SubscriptionStatus = "scheduled" | "trialing" | "active" | "past_due" | "paused" | "canceled" | "expired"

export interface NewSubscription {
  plan_variant_id: string
  /** From when on; now where it is absent. */
  start_at?: Timestamp | null
  quantity?: number
  /** For a customer of another system: when the period that runs began. */
  period_start?: Timestamp | null
  /** With `period_start`: what of that period's grants is given. */
  grants?: "full" | "prorated" | "none"
}

export interface SubscriptionChange {
  plan_variant_id?: string
  quantity?: number
  at?: "now" | "period_end"
  /** What becomes of the credit of a change now. */
  credits?: "prorate" | "reset" | "keep_and_add"
  /** Answer what would happen, in `preview`, and change nothing. */
  preview?: boolean
}

export interface Subscription {
  id: string
  end_user_id: string
  plan_id: string
  plan_variant_id: string
  variant_version: number
  status: Open<SubscriptionStatus>
  quantity: number
  current_period: { start: Timestamp; end: Timestamp }
  renewed: boolean
  cancel_at: Timestamp | null
  pause_at: Timestamp | null
  resume_at: Timestamp | null
  grace_ends_at: Timestamp | null
  pending_change: { plan_variant_id: string; variant_version: number; quantity: number } | null
  trial_end: Timestamp | null
  ended_at: Timestamp | null
  created_at: Timestamp
  /** Only of a change with `preview`. */
  preview?: {
    before: Account
    after: Account
    entries: { kind: string; amount: number; effective_at: Timestamp }[]
  }
}

/** A sidecar as its server has seen it last. */
export interface Sidecar {
  id: string
  software: string
  mode: Open<"all" | "on_demand">
  link: Open<"up" | "down">
  linked_at: Timestamp
  last_seen_at: Timestamp
  behind: number
  staleness_ms: number
  accounts: number
  outbox: { events: number; bytes: number; oldest_ms: number }
  refused_events: number
}

export interface SandboxClock {
  now: Timestamp
  running: boolean
}

/** A client of one environment. */
export class QuotaStack {
  constructor(options: QuotaStackOptions)

  /** Whether the end user may use the feature now. A denial is an answer, not an error. */
  checkEntitlement(
    endUserId: string,
    featureKey: string,
    options?: { units?: number; explain?: boolean },
  ): Promise<Check>
  /** Up to 100 checks, answered in order. */
  checkEntitlements(checks: CheckRequest[]): Promise<{ results: Check[] }>
  /** The answer to a check of 1 unit for every feature, in order of their keys. */
  listEntitlements(endUserId: string, options?: PageOptions & { explain?: boolean }): Promise<Page<Check>>

  /** Records usage. */
  recordUsage(endUserId: string, usage: Usage): Promise<UsageReceipt>
  /** Up to 1,000 events, each decided on its own, in order. */
  recordUsageBatch(events: UsageEvent[], options?: MutationOptions): Promise<{ results: UsageResult[] }>

  /** Checks and records in one step. Who may not use the feature is refused with the check's reason. */
  consume(endUserId: string, usage: Usage): Promise<ConsumeReceipt>
  /** The latest recorded first. A page may be short while `next_cursor` leads on. */
  listUsage(filter?: UsageFilter): Promise<Page<RecordedUsage>>
  /** Sums per bucket and group. */
  summarizeUsage(options: SummaryOptions): Promise<Page<UsageSum>>
  getUsage(usageId: string): Promise<RecordedUsage>
  /** Undoes an event; its key stays used. */
  voidUsage(usageId: string, options?: MutationOptions & { reason?: string }): Promise<VoidReceipt>

  /** Sets credit aside until it is committed or released, or its time runs out. */
  createReservation(
    endUserId: string,
    reservation: NewReservation,
    options?: MutationOptions,
  ): Promise<Reservation & { account: Account }>
  listReservations(endUserId: string, page?: PageOptions): Promise<Page<Reservation>>
  getReservation(reservationId: string): Promise<Reservation>
  commitReservation(reservationId: string, commit: Commit, options?: MutationOptions): Promise<CommitReceipt>
  releaseReservation(reservationId: string, options?: MutationOptions): Promise<Reservation & { account: Account }>
  extendReservation(
    reservationId: string,
    extension: { ttl_seconds: number },
    options?: MutationOptions,
  ): Promise<Reservation & { account: Account }>

  /** `block` is null where an accumulation cap trimmed it to nothing. */
  createGrant(
    endUserId: string,
    grant: NewGrant,
    options?: MutationOptions,
  ): Promise<{ block: Block | null; trimmed: number; account: Account }>
  adjustCredits(endUserId: string, adjustment: Adjustment, options?: MutationOptions): Promise<AdjustmentReceipt>
  voidBlock(
    blockId: string,
    options: MutationOptions & { reason: string },
  ): Promise<{ block: Block; withdrawn: number; account: Account }>
  createTopup(
    endUserId: string,
    topup: NewTopup,
    options?: MutationOptions,
  ): Promise<{ topup: Topup; block: Block | null; account: Account }>
  listTopups(endUserId: string, page?: PageOptions): Promise<Page<Topup>>
  getTopup(topupId: string): Promise<Topup>
  refundTopup(
    topupId: string,
    refund?: Refund,
    options?: MutationOptions,
  ): Promise<{ topup: Topup; withdrawn: number; owed: number; account: Account }>
  /** Now, or as it was at an instant or right after an entry. */
  getEndUserCredits(
    endUserId: string,
    options?: { include?: "blocks"; as_of?: Timestamp; as_of_seq?: number },
  ): Promise<EndUserCredits>
  listLedgerEntries(
    endUserId: string,
    options?: {
      after_seq?: number
      limit?: number
      /** Kinds, separated by commas. */
      kind?: string
      feature_key?: string
      usage_id?: string
      reservation_id?: string
      topup_id?: string
      subscription_id?: string
      from?: Timestamp
      to?: Timestamp
    },
  ): Promise<Page<LedgerEntry>>
  getLedgerProof(endUserId: string, options?: { from_seq?: number; to_seq?: number }): Promise<LedgerProof>
  /**
   * Fetches the ledger and verifies it: all of it, or what was added after `remembered`, which must still be there.
   * Throws `ledger_broken` with the `seq` of the first entry that is not what it should be.
   */
  verifyLedger(endUserId: string, options?: { remembered?: LedgerHead }): Promise<VerifiedLedger>

  createFeature(feature: NewFeature, options?: MutationOptions): Promise<Feature>
  listFeatures(page?: PageOptions): Promise<Page<Feature>>
  getFeature(featureKey: string): Promise<Feature>
  replaceFeature(featureKey: string, rules: FeatureRules, options?: MutationOptions): Promise<Feature>
  createPrice(featureKey: string, version: NewPrice, options?: MutationOptions): Promise<PriceVersion>
  listPrices(featureKey: string): Promise<Page<PriceVersion>>
  createTopupPackage(topupPackage: NewTopupPackage, options?: MutationOptions): Promise<TopupPackage>
  listTopupPackages(page?: PageOptions): Promise<Page<TopupPackage>>
  getTopupPackage(packageId: string): Promise<TopupPackage>
  replaceTopupPackage(
    packageId: string,
    topupPackage: NewTopupPackage,
    options?: MutationOptions,
  ): Promise<TopupPackage>
  archiveTopupPackage(packageId: string, options?: MutationOptions): Promise<TopupPackage>
  createPlan(plan: NewPlan, options?: MutationOptions): Promise<Plan>
  listPlans(page?: PageOptions): Promise<Page<Plan>>
  getPlan(planId: string): Promise<Plan>
  renamePlan(planId: string, name: string, options?: MutationOptions): Promise<Plan>
  createVariant(planId: string, variant: NewVariant, options?: MutationOptions): Promise<Variant>
  listVariants(planId: string, page?: PageOptions): Promise<Page<Variant>>
  getVariant(variantId: string, options?: { version?: number }): Promise<Variant>
  /** Makes the next version; running subscriptions keep theirs. */
  replaceVariant(variantId: string, variant: NewVariant, options?: MutationOptions): Promise<Variant>
  archiveVariant(variantId: string, options?: MutationOptions): Promise<Variant>
  /** Moves one page of subscribers to the newest version. Go on with `next_cursor` until it is null. */
  migrateVariant(variantId: string, migration?: VariantMigration, options?: MutationOptions): Promise<MigrationPage>

  createSubscription(endUserId: string, subscription: NewSubscription, options?: MutationOptions): Promise<Subscription>
  getSubscription(subscriptionId: string): Promise<Subscription>
  listSubscriptions(endUserId: string, page?: PageOptions): Promise<Page<Subscription>>
  /** The next period is paid for. */
  renewSubscription(subscriptionId: string, options?: MutationOptions): Promise<Subscription>
  markSubscriptionPaid(subscriptionId: string, options?: MutationOptions): Promise<Subscription>
  markSubscriptionOverdue(subscriptionId: string, options?: MutationOptions): Promise<Subscription>
  convertSubscription(
    subscriptionId: string,
    conversion?: { at?: "now" | "trial_end" },
    options?: MutationOptions,
  ): Promise<Subscription>
  changeSubscription(
    subscriptionId: string,
    change: SubscriptionChange,
    options?: MutationOptions,
  ): Promise<Subscription>
  pauseSubscription(
    subscriptionId: string,
    pause?: { at?: "now" | "period_end"; resume_at?: Timestamp | null },
    options?: MutationOptions,
  ): Promise<Subscription>
  resumeSubscription(subscriptionId: string, options?: MutationOptions): Promise<Subscription>
  cancelSubscription(
    subscriptionId: string,
    cancellation: { at: "now" | "period_end"; credits?: "keep" | "void" },
    options?: MutationOptions,
  ): Promise<Subscription>
  /** Takes back what was asked for the end of the period. */
  uncancelSubscription(
    subscriptionId: string,
    taken?: { clear?: "all" | "cancel_at" | "pause_at" | "pending_change" },
    options?: MutationOptions,
  ): Promise<Subscription>

  listOverrides(endUserId: string): Promise<Page<Override>>
  getOverride(endUserId: string, featureKey: string): Promise<Override>
  /** Wins over add-ons, the plan and the feature. */
  setOverride(
    endUserId: string,
    featureKey: string,
    terms: NewOverride,
    options?: MutationOptions,
  ): Promise<Override>
  removeOverride(
    endUserId: string,
    featureKey: string,
    options?: MutationOptions,
  ): Promise<{ feature_key: string; removed: boolean }>

  listSidecars(page?: PageOptions): Promise<Page<Sidecar>>

  getSandboxClock(): Promise<SandboxClock>
  /**
   * Moves the sandbox's clock forward, where it then stands, or lets it run on (`follow`). All that becomes due is written
   * before this returns. `catching_up` = the clock is set and there is more to write: call again with the same
   * `idempotencyKey`, or with `now` as the clock's present.
   */
  setSandboxClock(to: { advance_seconds: number } | { now: Timestamp } | { follow: true }, options?: MutationOptions): Promise<SandboxClock>
}

/**
 * Answers a check from what is published of an end user and the catalogue, by the server's rules, at `now` (now). Calls
 * nobody; throws `unreadable_state` where only the server can answer.
 */
export function evaluate(question: {
  state: Uint8Array
  catalogue: Uint8Array
  featureKey: string
  units?: number
  now?: Date | Timestamp
}): Promise<Omit<Check, "source" | "as_of" | "staleness_ms">>

/** Verifies a proof by itself, and against what is remembered of an earlier one. Calls nobody; throws `ledger_broken`. */
export function verifyProof(proof: LedgerProof, options?: { remembered?: LedgerHead }): Promise<VerifiedProof>

/** A call that failed. */
export class QuotaStackError extends Error {
  /** Stable: the server's, or `invalid_request`, `connection_failed`, `unreadable_answer`, `ledger_broken`, `unreadable_state`. */
  readonly code: string
  /** The HTTP status, if the server answered. */
  readonly status?: number
  /** Finds the request in the server's log. */
  readonly requestId?: string
  /** The first entry that is not what it should be, of `ledger_broken`. */
  readonly seq?: number
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** The places of the request that are not valid. */
  readonly errors: { pointer: string; detail: string }[]
}
