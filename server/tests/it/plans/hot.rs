//! The operations whose plans are kept: writes of a lane, checks, and what is read most.

use std::sync::Arc;

use quotastack_core::ids::{EndUserId, ReservationId};
use quotastack_core::ledger::command::{Adjust, Command, Commit, Extend, OverCommit, Refund, Usage, Void, VoidBlock};
use quotastack_core::subscription::order::Subscribe;
use quotastack_core::time::MICROS_PER_SECOND;
use quotastack_server::app::decide::{Decided, Submission};
use quotastack_server::app::verify::{Progress, verify};
use quotastack_server::app::{clock, submission};
use quotastack_server::store::tx::Store;
use serde_json::json;

use super::capture::{Capture, Captured};
use super::fill::{self, Filled, credits, feature_key, grant, reserve, topup, units, usage};
use crate::support::client::Client;
use crate::support::server::TestServer;

/// Runs them and gives what was captured of it. Nothing is left of `filled` that could be used again.
pub(crate) async fn run(server: &TestServer, client: &Client, filled: &[Filled], capture: &Capture) -> Vec<Captured> {
    capture.take();
    write(server, client, filled).await;
    let end_user = &filled[0].end_user_id;
    client.get(&format!("/v1/entitlements/check?end_user_id={end_user}&feature_key=f")).await.is(200);
    client.get(&format!("/v1/end_users/{end_user}/credits?include=blocks")).await.is(200);
    for query in ["", "?kind=usage&after_seq=1", "?feature_key=f&from=2026-01-01T00:00:00Z"] {
        client.get(&format!("/v1/end_users/{end_user}/ledger{query}")).await.is(200);
    }
    for list in ["reservations", "topups", "subscriptions"] {
        client.get(&format!("/v1/{list}?end_user_id={end_user}")).await.is(200);
    }
    client.get(&format!("/v1/end_users/{end_user}/ledger/proof?from_seq=1&to_seq=2")).await.is(200);
    for query in [format!("?end_user_id={end_user}"), "?feature_key=f".to_owned(), String::new()] {
        client.get(&format!("/v1/usage{query}")).await.is(200);
    }
    let Filled { owing, topup, reservation, .. } = &filled[0];
    for path in [format!("usage/{owing}"), format!("topups/{topup}"), format!("reservations/{reservation}")] {
        client.get(&format!("/v1/{path}")).await.is(200);
    }

    let events = (0..20).map(|number| {
        let end_user_id = &filled[number % 7].end_user_id;
        let key = usage(&filled[number], 1).key;
        json!({"end_user_id": end_user_id, "feature_key": "f", "units": 1, "idempotency_key": key})
    });
    client.post("/v1/usage/batch", &json!({ "events": events.collect::<Vec<_>>() })).await.is(200);

    let variant = format!("/v1/variants/{}", filled[0].variant_id);
    client.put(&variant, &json!({"name": "next", "billing_period": {"count": 1, "unit": "month"}})).await.is(200);
    client.post(&format!("{variant}/migrate"), &json!({"limit": 2})).await.is(200);

    let (app, principal) = server.app(client).await;
    let environment = app.environment(principal.environment_id).await.unwrap();
    app.feed_page(&environment.handle, 0, 10).await.unwrap();
    app.stop().await;
    fill::work(server).await;
    fill::look_back(server, client, &format!("looked-back-on-{}", filled[0].end_user_id)).await;
    let store = Store::connect(&server.db.url, 2).unwrap();
    assert!(verify(&store, 1, &Arc::new(Progress::default())).await.unwrap().is_empty());
    store.close().await;
    capture.take()
}

/// Every kind of command in one batch, each about what its account has already, so that everything must be loaded.
async fn write(server: &TestServer, client: &Client, filled: &[Filled]) {
    let (app, principal) = server.app(client).await;
    let of_lane: Vec<&Filled> = filled.iter().filter(|of| of.lane == 0).collect();
    let [first, second, third, ..] = of_lane[..] else { panic!("both lanes have end users") };
    let newcomer = (0..).map(|number| EndUserId::new(&format!("new-{}-{number}", clock::now())).unwrap());
    let handle = app.environment(principal.environment_id).await.unwrap().handle.clone();
    let newcomer = newcomer.into_iter().find(|name| handle.lane_of(name.bucket()).0 == 0).unwrap();
    let late = Usage { effective_at: Some(first.then.saturating_add_micros(MICROS_PER_SECOND)), ..usage(first, 1) };
    let again = Usage { id: first.owing, key: first.key.clone(), ..usage(first, 30) };
    let event = usage(second, 1);
    let (usage_id, reservation_id) = (usage(second, 1).id, second.reservation);
    let adjust = |amount| Adjust {
        amount: credits(amount),
        reason: "because".to_owned(),
        block_id: Some(second.block),
        feature_key: None,
        allow_negative: true,
        priority: 100,
        expires_at: None,
    };
    let commands = [
        (first, Command::Usage(late)),
        (first, Command::Usage(again)),
        (first, Command::Void(Void { usage_id: first.owing, reason: Some("a mistake".to_owned()) })),
        (first, Command::TopUp(topup(first))),
        (second, Command::Consume(event)),
        (second, Command::Adjust(adjust(-1))),
        (second, Command::VoidBlock(VoidBlock { block_id: second.block, reason: "because".to_owned() })),
        (
            second,
            Command::Commit(Commit {
                reservation_id,
                usage_id,
                units: units(1),
                is_final: true,
                over_commit: OverCommit::Draw,
                debit_late: true,
            }),
        ),
        (second, Command::Release(reservation_id)),
        (second, Command::Extend(Extend { reservation_id, ttl_micros: 60 * MICROS_PER_SECOND })),
        (third, Command::Refund(Refund { topup_id: third.topup, amount: None, claw_back_spent: true, reason: None })),
        (third, Command::Subscribe(Subscribe::now(third.variant_id, 1))),
        (third, Command::RemoveOverride(feature_key())),
    ];
    let mut batch: Vec<Submission> = commands
        .into_iter()
        .map(|(of, command)| submission(&principal, of.end_user_id.clone(), command, None, None))
        .collect();
    batch.push(submission(&principal, newcomer, Command::Grant(grant(5)), None, None));
    let reserve = reserve(ReservationId::from_uuid(usage(third, 1).id.uuid()), 60);
    batch.push(submission(&principal, third.end_user_id.clone(), Command::Reserve(reserve), None, None));
    let written = app.write_lane(principal.environment_id, 0, batch).await.unwrap();
    for decided in written.results {
        assert!(matches!(decided, Decided::Done { .. } | Decided::Refused(_)), "{decided:?}");
    }
    app.stop().await;
}
