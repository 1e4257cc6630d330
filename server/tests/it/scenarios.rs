//! What is sold, as stories over the API, with the sandbox clock moved from day to day and exact numbers.

use quotastack_core::ledger::entry::EntryKind;
use quotastack_core::time::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;

use crate::due::events;
use crate::support::shop::Shop;

#[tokio::test]
async fn who_is_on_the_free_plan_meets_the_paywall_and_goes_on_with_packs() {
    let shop = Shop::open().await;
    let free =
        json!({"fallback": true, "price": {"amount": 0, "currency": "USD"}, "entitlements": [{"feature_key": "f"}]});
    let variant = shop.variant(50, free.clone()).await;
    let own = shop.subscribe(&variant).await;
    shop.clock("2100-01-04T00:00:00Z").await;
    shop.spend(50, "all of it").await;
    let check = shop.client().get("/v1/entitlements/check?end_user_id=u&feature_key=f").await.is(200);
    assert_eq!((&check["allowed"], &check["reason"]), (&json!(false), &json!("insufficient_credits")));
    let more = json!({"end_user_id": "u", "feature_key": "f", "units": 1});
    shop.client().post("/v1/consume", &more).await.refused(402, "insufficient_credits");
    let customer = shop.customer("u");
    customer.buy(100, "pay_1").await;
    shop.spend(30, "of the pack").await;
    shop.clock("2100-01-30T23:59:59.999999Z").await;
    assert_eq!((customer.remaining("plan").await, customer.remaining("topup").await), (0, 70));
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!((customer.remaining("plan").await, customer.remaining("topup").await), (50, 70));
    shop.spend(60, "of both").await;
    assert_eq!((customer.remaining("plan").await, customer.remaining("topup").await), (0, 60));
    shop.clock("2100-03-02T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("active", 50 + 60));
    shop.close().await;
}

#[tokio::test]
async fn an_api_plan_rolls_over_up_to_its_cap_for_fourteen_months_and_keeps_its_day() {
    let shop = Shop::open().await;
    let grants = json!([{"amount": 100, "interval": "billing_period", "rollover_percent": 100, "rollover_cap": 60}]);
    let monthly =
        json!({"billing_mode": "postpaid", "billing_period": {"count": 1, "unit": "month"}, "grants": grants});
    let variant = shop.variant(1, monthly).await;
    shop.clock("2103-01-31T00:00:00Z").await;
    let own = shop.subscribe(&variant).await;
    assert_eq!((own["current_period"]["end"].as_str(), shop.balance().await), (Some("2103-02-28T00:00:00Z"), 100));
    for (end, balance) in [
        ("2103-02-28", 160),
        ("2103-03-31", 160),
        ("2103-04-30", 160),
        ("2103-05-31", 130),
        ("2103-06-30", 160),
        ("2103-07-31", 160),
        ("2103-08-31", 130),
        ("2103-09-30", 160),
        ("2103-10-31", 160),
        ("2103-11-30", 130),
        ("2103-12-31", 160),
        ("2104-01-31", 160),
        ("2104-02-29", 130),
        ("2104-03-31", 160),
    ] {
        shop.clock(&format!("{end}T00:00:00Z")).await;
        assert_eq!(shop.balance().await, balance, "on {end}");
        // Somebody comes every third month and leaves 30.
        if ["2103-04-30", "2103-07-31", "2103-10-31", "2104-01-31"].contains(&end) {
            shop.spend(130, end).await;
            assert_eq!(shop.balance().await, 30);
        }
    }
    shop.close().await;
}

#[tokio::test]
async fn an_upgrade_and_a_downgrade_half_way_in_each_mode() {
    let shop = Shop::open().await;
    let (small, large) = (shop.variant(1_000, json!({})).await, shop.variant(4_000, json!({})).await);
    let stories = [
        ("up-prorate", &small, &large, "prorate", 300 + 2_000, "2100-01-31T00:00:00Z"),
        ("up-reset", &small, &large, "reset", 4_000, "2100-02-15T00:00:00Z"),
        ("up-add", &small, &large, "keep_and_add", 800 + 4_000, "2100-01-31T00:00:00Z"),
        ("down-prorate", &large, &small, "prorate", 1_800 + 500, "2100-01-31T00:00:00Z"),
        ("down-reset", &large, &small, "reset", 1_000, "2100-02-15T00:00:00Z"),
        ("down-add", &large, &small, "keep_and_add", 3_800 + 1_000, "2100-01-31T00:00:00Z"),
    ];
    let mut subscriptions = Vec::new();
    for (name, from, ..) in stories {
        subscriptions.push(shop.customer(name).subscribe(from).await);
        shop.customer(name).spend("f", 200, "some").await;
    }
    shop.clock("2100-01-16T00:00:00Z").await;
    for ((name, _, to, credits, balance, end), own) in stories.into_iter().zip(subscriptions) {
        let changed = shop.ask(&own, "change", json!({"plan_variant_id": to, "credits": credits})).await;
        assert_eq!(changed["current_period"]["end"], end, "{name}");
        assert_eq!(shop.customer(name).balance().await, balance, "{name}");
        shop.customer(name).entries().await;
    }
    shop.close().await;
}

#[tokio::test]
async fn a_pack_that_was_bought_before_an_upgrade_survives_it() {
    let shop = Shop::open().await;
    let (small, large) = (shop.variant(100, json!({})).await, shop.variant(900, json!({})).await);
    let own = shop.subscribe(&small).await;
    let customer = shop.customer("u");
    customer.buy(70, "pay_1").await;
    shop.spend(110, "all of the plan's and some").await;
    shop.clock("2100-01-16T00:00:00Z").await;
    shop.ask(&own, "change", json!({"plan_variant_id": large})).await;
    assert_eq!((customer.remaining("topup").await, customer.remaining("plan").await), (60, 450 - 50));
    shop.clock("2100-01-28T00:00:00Z").await;
    shop.ask(&own, "renew", json!({})).await;
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!((customer.remaining("topup").await, customer.remaining("plan").await), (60, 900));
    shop.close().await;
}

#[tokio::test]
async fn a_prepaid_month_is_renewed_early_on_its_last_microsecond_in_its_grace_but_not_after_it() {
    let shop = Shop::open().await;
    let variant = shop.variant(100, json!({"renewal_due_days": 3, "grace_period_days": 3})).await;
    let [early, last, grace, after] = ["early", "last", "grace", "after"].map(|name| shop.customer(name));
    let mut own = Vec::new();
    for customer in [&early, &last, &grace, &after] {
        own.push(customer.subscribe(&variant).await);
        customer.spend("f", 90, "most").await;
    }
    shop.clock("2100-01-27T23:59:59.999999Z").await;
    shop.refused(&own[0], "renew", json!({}), "renewal_not_due").await;
    shop.clock("2100-01-28T00:00:00Z").await;
    shop.ask(&own[0], "renew", json!({})).await;
    shop.clock("2100-01-30T23:59:59.999999Z").await;
    shop.ask(&own[1], "renew", json!({})).await;
    assert_eq!((early.balance().await, last.balance().await), (10, 10));
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!([early.balance().await, last.balance().await, grace.balance().await], [100, 100, 10]);
    shop.clock("2100-02-02T23:59:59.999999Z").await;
    let renewed = shop.ask(&own[2], "renew", json!({})).await;
    assert_eq!(renewed["current_period"], json!({"start": "2100-01-31T00:00:00Z", "end": "2100-03-02T00:00:00Z"}));
    assert_eq!((grace.balance().await, after.balance().await), (100, 10));
    shop.clock("2100-02-03T00:00:00Z").await;
    shop.refused(&own[3], "renew", json!({}), "invalid_transition").await;
    assert_eq!((shop.status(&own[3]).await.as_str(), after.balance().await), ("expired", 0));
    for customer in [early, last, grace, after] {
        customer.entries().await;
    }
}

#[tokio::test]
async fn a_pause_across_a_period_end_moves_it_and_what_was_there_rolls_then() {
    let shop = Shop::open().await;
    let grants = json!([{"amount": 100, "interval": "billing_period", "rollover_percent": 50}]);
    let own = shop.subscribe(&shop.variant(1, json!({"billing_mode": "postpaid", "grants": grants})).await).await;
    shop.clock("2100-01-21T00:00:00Z").await;
    shop.ask(&own, "pause", json!({})).await;
    shop.clock("2100-04-11T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("paused", 100));
    let resumed = shop.ask(&own, "resume", json!({})).await;
    assert_eq!(resumed["current_period"]["end"], "2100-04-21T00:00:00Z", "20 days ran, 10 are left");
    shop.clock("2100-04-20T23:59:59.999999Z").await;
    assert_eq!(shop.balance().await, 100);
    shop.clock("2100-04-21T00:00:00Z").await;
    assert_eq!(shop.balance().await, 50 + 100);
    shop.close().await;
}

#[tokio::test]
async fn a_trial_gives_its_own_credit_and_becomes_a_paid_plan() {
    let shop = Shop::open().await;
    let grants = json!([
        {"amount": 100, "interval": "billing_period"},
        {"amount": 7, "interval": "billing_period", "on": "trial"},
    ]);
    let variant = shop.variant(1, json!({"billing_mode": "postpaid", "trial_days": 14, "grants": grants})).await;
    let own = shop.subscribe(&variant).await;
    shop.clock("2100-01-14T23:59:59.999999Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("trialing", 7));
    shop.clock("2100-01-15T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("active", 100));
    shop.clock("2100-02-14T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("active", 100));
    shop.close().await;
}

#[tokio::test]
async fn a_postpaid_year_turns_by_itself_and_bills_each_months_debt_once() {
    let shop = Shop::open().await;
    let monthly = json!({"billing_mode": "postpaid", "billing_period": {"count": 1, "unit": "month"}});
    let own = shop.subscribe(&shop.variant(100, monthly).await).await;
    for month in 1..=12 {
        shop.clock(&format!("2100-{month:02}-15T00:00:00Z")).await;
        assert_eq!(shop.balance().await, 100);
        shop.customer("u").spend("endless", 110, &format!("{month}")).await;
        assert_eq!(shop.balance().await, -10);
    }
    shop.clock("2101-01-01T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("active", 100));
    let entries = shop.customer("u").entries().await;
    let billed: Vec<_> = entries.iter().filter(|entry| entry.body.kind == EntryKind::DebtBilled).collect();
    assert_eq!(billed.iter().map(|entry| entry.body.amount.get()).collect::<Vec<_>>(), [10; 12]);
}

#[tokio::test]
async fn each_month_of_a_postpaid_plan_is_summed_up_an_hour_after_its_end() {
    let shop = Shop::open().await;
    let monthly = json!({"billing_mode": "postpaid", "billing_period": {"count": 1, "unit": "month"}});
    let own = shop.subscribe(&shop.variant(100, monthly).await).await;
    let customer = shop.customer("u");
    for month in 1..=3 {
        shop.clock(&format!("2100-{month:02}-15T00:00:00Z")).await;
        customer.spend("endless", 110, &format!("{month}")).await;
    }
    // In time for its month, and late.
    shop.clock("2100-04-01T00:59:59.999999Z").await;
    customer.spend_at(5, "in time", "2100-03-31T23:59:59.999999Z").await;
    shop.clock("2100-04-01T01:00:00Z").await;
    customer.spend_at(7, "late", "2100-03-31T23:59:59.999999Z").await;
    shop.clock("2100-05-02T00:00:00Z").await;
    let sql = "select data, to_char(occurred_at at time zone 'UTC', 'MM-DD HH24:MI') as at from events
               where type = 'subscription.usage_summary' order by feed_seq, place";
    let rows = sqlx::query(sql).fetch_all(&mut shop.server.owner().await).await.unwrap();
    let told: Vec<(String, Value)> = rows.iter().map(|row| (row.get("at"), row.get("data"))).collect();
    let month = |from: &str, to: &str, features: Value, late: Value| {
        json!({
            "subscription_id": own["id"], "features": features, "late": late,
            "period": {"start": format!("2100-{from}T00:00:00Z"), "end": format!("2100-{to}T00:00:00Z")},
        })
    };
    let used = |feature: &str, units: i64, billed: i64| json!({"feature_key": feature, "events": 1, "units": units, "cost": units, "billed": billed});
    let usual = used("endless", 110, 10);
    let expected = [
        ("02-01 01:00", month("01-01", "02-01", json!([usual]), json!([]))),
        ("03-01 01:00", month("02-01", "03-01", json!([usual]), json!([]))),
        ("04-01 01:00", month("03-01", "04-01", json!([usual, used("f", 5, 0)]), json!([]))),
        ("05-01 01:00", month("04-01", "05-01", json!([]), json!([used("f", 7, 0)]))),
    ];
    assert_eq!(told, expected.map(|(at, data)| (at.to_owned(), data)));
    customer.entries().await;
}

#[tokio::test]
async fn usage_stamped_exactly_at_a_period_end_is_of_the_new_period() {
    let shop = Shop::open().await;
    shop.subscribe(&shop.variant(100, json!({"billing_mode": "postpaid"})).await).await;
    shop.clock("2100-02-01T00:00:00Z").await;
    let customer = shop.customer("u");
    customer.spend_at(100, "at the end", "2100-01-31T00:00:00Z").await;
    assert_eq!(customer.balance().await, 0);
    customer.spend_at(100, "right before it", "2100-01-30T23:59:59.999999Z").await;
    assert_eq!(customer.balance().await, 0, "each is paid by the period it counts in");
    let more =
        json!({"end_user_id": "u", "feature_key": "f", "units": 1, "effective_at": "2100-01-30T23:59:59.999999Z"});
    shop.client().post("/v1/usage", &more).await.refused(402, "insufficient_credits");
    shop.close().await;
}

#[tokio::test]
async fn a_trial_that_nobody_converts_becomes_the_free_plan() {
    let shop = Shop::open().await;
    shop.variant(5, json!({"fallback": true})).await;
    let grants = json!([
        {"amount": 100, "interval": "billing_period"},
        {"amount": 7, "interval": "billing_period", "on": "trial"},
    ]);
    let own = shop.subscribe(&shop.variant(1, json!({"trial_days": 14, "grants": grants})).await).await;
    shop.clock("2100-01-14T23:59:59.999999Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("trialing", 7));
    shop.clock("2100-01-15T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("expired", 5));
    let live = shop.client().get("/v1/subscriptions?end_user_id=u").await.is(200);
    assert_eq!((&live["data"][0]["status"], live["data"].as_array().unwrap().len()), (&json!("active"), 2));
    shop.close().await;
}

#[tokio::test]
async fn a_contract_is_announced_to_end_and_ends_or_renews() {
    let shop = Shop::open().await;
    shop.variant(5, json!({"fallback": true})).await;
    let bound = |auto_renew| {
        let contract = json!({"periods": 2, "auto_renew": auto_renew, "notice_days": 10});
        json!({"price": {"amount": 0, "currency": "USD"}, "contract": contract})
    };
    let (ends, renews) = (shop.variant(10, bound(false)).await, shop.variant(10, bound(true)).await);
    let (one, other) = (shop.customer("ends"), shop.customer("renews"));
    let (ending, renewing) = (one.subscribe(&ends).await, other.subscribe(&renews).await);
    shop.clock("2100-03-01T23:59:59.999999Z").await;
    assert_eq!((one.balance().await, other.balance().await), (10, 10));
    shop.clock("2100-03-02T00:00:00Z").await;
    assert_eq!((shop.status(&ending).await.as_str(), one.balance().await), ("expired", 5));
    assert_eq!((shop.status(&renewing).await.as_str(), other.balance().await), ("active", 10));
    shop.clock("2100-05-01T00:00:00Z").await;
    assert_eq!(shop.status(&renewing).await, "active");
    let announced = events(&mut shop.server.owner().await, "subscription.contract_ending").await;
    let mut instants: Vec<_> =
        announced.iter().map(|(.., at)| Timestamp::from_micros(*at).unwrap().to_string()).collect();
    instants.sort();
    assert_eq!(instants, ["2100-02-20T00:00:00Z", "2100-02-20T00:00:00Z", "2100-04-21T00:00:00Z"]);
    one.entries().await;
    other.entries().await;
}

#[tokio::test]
async fn an_addon_that_is_removed_in_the_middle_of_its_period_takes_its_credit_along_or_leaves_it() {
    let shop = Shop::open().await;
    let free = json!({"price": {"amount": 0, "currency": "USD"}});
    let (base, addon) = (shop.variant(100, free.clone()).await, shop.addon(10, free).await);
    let (one, other) = (shop.customer("void"), shop.customer("keep"));
    for customer in [&one, &other] {
        customer.subscribe(&base).await;
    }
    shop.clock("2100-01-11T00:00:00Z").await;
    let (voided, kept) = (one.subscribe(&addon).await, other.subscribe(&addon).await);
    assert_eq!((one.balance().await, other.balance().await), (110, 110));
    shop.clock("2100-01-16T00:00:00Z").await;
    shop.ask(&voided, "cancel", json!({"at": "now", "credits": "void"})).await;
    shop.ask(&kept, "cancel", json!({"at": "now", "credits": "keep"})).await;
    assert_eq!((one.balance().await, other.balance().await), (100, 110));
    shop.clock("2100-02-09T23:59:59.999999Z").await;
    assert_eq!(
        (one.balance().await, other.balance().await),
        (100, 110),
        "the base has turned, the add-on's block lives on"
    );
    shop.clock("2100-02-10T00:00:00Z").await;
    assert_eq!((one.balance().await, other.balance().await), (100, 100), "and nothing new comes");
    one.entries().await;
    other.entries().await;
}
