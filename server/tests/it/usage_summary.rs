//! Summaries of usage agree with the ledger at any moment, whoever has added up what.
//!
//! The operations: summarize_usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::ids::EndUserId;
use quotastack_core::time::Timestamp;
use quotastack_server::app::App;
use quotastack_server::app::auth::Scope;
use quotastack_server::app::usage_rollups::RolledUp;
use quotastack_server::store::keys::Environment;
use quotastack_server::store::tx::Store;
use quotastack_server::store::types::EnvironmentId;
use quotastack_server::store::usage_rollups::{HeadLock, PROPERTY_VALUES_MAX};
use quotastack_server::workers::usage_rollups;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::usage::{Dice, Known, create_features, history_step, known_usage};
use crate::support::wait::until;

/// By (bucket, group): events, units, cost.
type Sums = BTreeMap<(String, String), [i64; 3]>;

/// A summary as it is asked for.
#[derive(Debug, Clone, Default)]
struct Asked {
    from: String,
    to: String,
    bucket: &'static str,
    group_by: &'static str,
    property: Option<&'static str>,
    end_user_id: Option<String>,
    feature_key: Option<&'static str>,
    limit: usize,
}

impl Asked {
    fn path(&self) -> String {
        let Self { from, to, bucket, group_by, limit, .. } = self;
        let mut path =
            format!("/v1/usage/summary?from={from}&to={to}&bucket={bucket}&group_by={group_by}&limit={limit}");
        let rest = [
            ("property", self.property),
            ("end_user_id", self.end_user_id.as_deref()),
            ("feature_key", self.feature_key),
        ];
        for (name, value) in rest {
            path.extend(value.map(|value| format!("&{name}={value}")));
        }
        path
    }

    /// All of its pages.
    async fn read(&self, client: &Client) -> Sums {
        let (mut sums, mut last, mut cursor) = (Sums::new(), None, String::new());
        loop {
            let page = client.get(&format!("{}{cursor}", self.path())).await.is(200);
            let data = page["data"].as_array().unwrap();
            assert!(data.len() <= self.limit);
            for line in data {
                let bucket = line["bucket_start"].as_str().unwrap().to_owned();
                assert!(last.replace(bucket.clone()).is_none_or(|last| last <= bucket), "{line}");
                let figures = ["events", "units", "cost"].map(|name| line[name].as_i64().unwrap());
                assert!(sums.insert((bucket, group(line)), figures).is_none(), "twice: {line}");
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return sums,
            }
        }
    }

    /// The same from the events, one by one.
    fn fold(&self, events: &[Known]) -> Sums {
        let mut sums = Sums::new();
        let (from, to): (Timestamp, Timestamp) = (self.from.parse().unwrap(), self.to.parse().unwrap());
        for event in events.iter().filter(|event| !event.voided) {
            let is_asked = from <= event.effective_at
                && event.effective_at < to
                && self.end_user_id.as_ref().is_none_or(|id| *id == event.end_user_id)
                && self.feature_key.is_none_or(|key| key == event.feature_key);
            let group = match (self.group_by, self.property) {
                ("feature", _) => event.feature_key.clone(),
                ("end_user", _) => event.end_user_id.clone(),
                (_, Some(name)) if summed_by(&event.feature_key, name) => {
                    event.properties.get(name).map_or("-".to_owned(), |value| format!("={value}"))
                }
                _ => continue,
            };
            if is_asked {
                let figures = sums.entry((self.start_of(event.effective_at), group)).or_default();
                *figures = [figures[0] + 1, figures[1] + event.units, figures[2] + event.cost];
            }
        }
        sums
    }

    fn start_of(&self, at: Timestamp) -> String {
        let text = at.to_string();
        match self.bucket {
            "hour" => format!("{}:00:00Z", &text[..13]),
            "day" => format!("{}T00:00:00Z", &text[..10]),
            _ => format!("{}-01T00:00:00Z", &text[..7]),
        }
    }
}

fn group(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let value = || text("property_value").map(|value| format!("={value}"));
    let other = if line["other_values"] == true { "*" } else { "-" };
    text("feature_key").or_else(|| text("end_user_id")).or_else(value).unwrap_or_else(|| other.to_owned())
}

/// As [`create_features`] makes them.
fn summed_by(feature_key: &str, property: &str) -> bool {
    match property {
        "model" => ["f", "h"].contains(&feature_key),
        "region" => feature_key == "f",
        _ => false,
    }
}

/// Some summary that a caller might ask for: with ends in the middle of hours, at events, and at month ends.
fn any_summary(dice: &mut Dice, events: &[Known]) -> Asked {
    let mut instants: Vec<String> = (0..4)
        .map(|_| {
            let event = &events[dice.below(events.len())];
            match dice.below(4) {
                0 => event.effective_at.to_string(),
                1 => format!("{}:00:00Z", &event.effective_at.to_string()[..13]),
                2 => format!("{}-01T00:00:00Z", &event.effective_at.to_string()[..7]),
                _ => event.effective_at.saturating_add_micros(1).to_string(),
            }
        })
        .collect();
    instants.push("2000-01-01T00:00:00Z".to_owned());
    instants.push("2049-06-15T12:30:00Z".to_owned());
    let (mut from, mut to) = (instants[dice.below(6)].clone(), instants[dice.below(6)].clone());
    if from.parse::<Timestamp>().unwrap() > to.parse().unwrap() {
        std::mem::swap(&mut from, &mut to);
    }
    if from == to {
        (from, to) = (instants[4].clone(), instants[5].clone());
    }
    let micros = to.parse::<Timestamp>().unwrap().micros_since(from.parse().unwrap());
    let buckets = match micros / 86_400_000_000 {
        0..=40 => ["hour", "day", "month"],
        41..=100 => ["day", "day", "month"],
        _ => ["month"; 3],
    };
    let (group_by, property) =
        [("feature", None), ("end_user", None), ("property", Some("model")), ("property", Some("region"))]
            [dice.below(4)];
    Asked {
        from,
        to,
        bucket: buckets[dice.below(3)],
        group_by,
        property,
        end_user_id: (dice.below(3) == 0).then(|| format!("u{}", dice.below(5))),
        feature_key: (dice.below(3) == 0)
            .then(|| if property.is_some() { "f" } else { ["f", "g", "h"][dice.below(3)] }),
        limit: [1, 3, 1_000][dice.below(3)],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_agree_with_the_ledger_while_two_servers_add_them_up_and_pages_are_lost() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_features(client).await;
    let ((one, principal), (two, _)) = (server.app(client).await, server.app(client).await);
    let stop = CancellationToken::new();
    let mut worker = None;
    for seed in 1..=3 {
        let mut dice = Dice::new(seed);
        if seed == 3 {
            worker = Some(tokio::spawn(usage_rollups::run(Arc::clone(&two), stop.clone())));
        }
        for _ in 0..12 {
            for _ in 0..6 {
                history_step(client, &mut dice).await;
            }
            match dice.below(4) {
                0 => {
                    tokio::try_join!(one.roll_up_round(), two.roll_up_round()).unwrap();
                }
                1 => lose_a_page(&server, &one, principal.environment_id).await,
                _ => {}
            }
            let events = known_usage(&server, principal.environment_id).await;
            for _ in 0..4 {
                let asked = any_summary(&mut dice, &events);
                assert_eq!(asked.read(client).await, asked.fold(&events), "seed {seed}: {asked:?}");
            }
        }
    }
    stop.cancel();
    worker.unwrap().await.unwrap();
    roll_up_all(&server, &one).await;
    let events = known_usage(&server, principal.environment_id).await;
    assert!(events.len() > 100 && events.iter().any(|event| event.voided));
    let all = Asked {
        from: "2000-01-01T00:00:00Z".to_owned(),
        to: "2050-01-01T00:00:00Z".to_owned(),
        bucket: "month",
        limit: 7,
        ..Asked::default()
    };
    for (group_by, property) in [("feature", None), ("end_user", None), ("property", Some("model"))] {
        let asked = Asked { group_by, property, ..all.clone() };
        let sums = asked.read(client).await;
        assert_eq!(sums, asked.fold(&events), "{asked:?}");
        assert!(sums.len() > 2, "{sums:?}");
    }
}

/// Begins a page in every lane and ends it as a server does that is killed.
async fn lose_a_page(server: &TestServer, app: &App, id: EnvironmentId) {
    let store = Store::connect(&server.db.url, 1).unwrap();
    for lane_id in &app.environment(id).await.unwrap().handle.lanes {
        let mut tx = store.begin(id).await.unwrap();
        if let HeadLock::Locked(head) = tx.lock_rollup_head(*lane_id).await.unwrap() {
            tx.roll_up(id, *lane_id, head.rolled_to, head.feed_seq).await.unwrap();
        }
        drop(tx);
    }
}

pub(crate) async fn roll_up_all(server: &TestServer, app: &App) {
    let mut owner = server.owner().await;
    until("all usage is added up", async || {
        app.roll_up_round().await.unwrap();
        let sql = "select count(*) from lanes left join usage_rollup_heads using (lane_id)
            where feed_seq > coalesce(rolled_to, 0)";
        let behind: i64 = sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap();
        (behind == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_page_is_added_once_and_by_one_server_or_not_at_all() {
    let server = TestServer::start().await;
    let client = &server.live;
    create_features(client).await;
    let (app, principal) = server.app(client).await;
    let id = principal.environment_id;
    let environment = app.environment(id).await.unwrap();
    let (_, lane_id) = environment.handle.lane_of(EndUserId::new("u").unwrap().bucket());
    let store = Store::connect(&server.db.url, 2).unwrap();
    let mut owner = server.owner().await;
    let mut stored = async || {
        let sql = "select (select coalesce(sum(events), 0)::bigint from usage_rollups where grain = 'hour' and property = ''
            and account_id = '00000000-0000-0000-0000-000000000000'), (select coalesce(max(rolled_to), 0) from usage_rollup_heads)";
        let row = sqlx::query(sql).fetch_one(&mut owner).await.unwrap();
        (row.get::<i64, _>(0), row.get::<i64, _>(1).cast_unsigned())
    };
    let use_one = async || {
        client.post("/v1/usage", &json!({"end_user_id": "u", "feature_key": "f", "units": 1})).await.is(200);
    };
    use_one().await;
    roll_up_all(&server, &app).await;
    use_one().await;
    let mut tx = store.begin(id).await.unwrap();
    let HeadLock::Locked(head) = tx.lock_rollup_head(lane_id).await.unwrap() else { panic!("nobody else is there") };
    let before = stored().await;
    assert_eq!(before, (1, head.rolled_to));
    assert_eq!(head.feed_seq, head.rolled_to + 1);
    tx.roll_up(id, lane_id, head.rolled_to, head.feed_seq).await.unwrap();
    // Whoever else comes meanwhile leaves it alone, and nobody waits.
    assert_eq!(app.roll_up(id, lane_id).await.unwrap(), RolledUp::Busy);
    tx.rollback().await.unwrap();
    assert_eq!(stored().await, before);

    assert_eq!(app.roll_up(id, lane_id).await.unwrap(), RolledUp::All);
    let done = stored().await;
    assert_eq!(done, (2, head.feed_seq));
    assert_eq!(app.roll_up(id, lane_id).await.unwrap(), RolledUp::All);
    assert_eq!(stored().await, done);
}

#[tokio::test]
async fn a_page_that_takes_too_long_is_added_in_parts() {
    const PLACES: i64 = 10;
    let server = TestServer::start().await;
    create_features(&server.live).await;
    for place in 0..PLACES {
        let event = |number| json!({"end_user_id": "u", "feature_key": "f", "units": 1, "idempotency_key": format!("{place}-{number}")});
        let batch = json!({ "events": (0..100).map(event).collect::<Vec<_>>() });
        server.live.post("/v1/usage/batch", &batch).await.is(200);
    }
    // As if nothing of more than half of it could be done in time.
    let too_long = "
        create function too_long() returns trigger language plpgsql as $$
          begin raise exception using errcode = 'query_canceled', message = 'canceling statement due to statement timeout'; end
        $$;
        create trigger too_long before update on usage_rollup_heads for each row
          when (new.rolled_to - old.rolled_to > 5) execute function too_long()";
    sqlx::raw_sql(too_long).execute(&mut server.owner().await).await.unwrap();
    let (app, _) = server.app(&server.live).await;
    roll_up_all(&server, &app).await;
    let sql = "select sum(events)::bigint from usage_rollups where grain = 'month' and property = ''
               and account_id <> '00000000-0000-0000-0000-000000000000'";
    let events: i64 = sqlx::query_scalar(sql).fetch_one(&mut server.owner().await).await.unwrap();
    assert_eq!(events, 100 * PLACES);
    app.stop().await;
}

#[tokio::test]
async fn whole_hours_are_read_from_sums_and_the_ends_from_events() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_features(client).await;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-02-01T00:00:00Z"})).await.is(200);
    for effective_at in ["2100-01-31T23:59:59.999999Z", "2100-02-01T00:00:00Z", "2100-01-10T10:20:00Z"] {
        let event = json!({"end_user_id": "u", "feature_key": "f", "units": 2, "effective_at": effective_at});
        client.post("/v1/usage", &event).await.is(200);
    }
    let (app, _) = server.app(client).await;
    roll_up_all(&server, &app).await;
    // What a sum is read from shows when the events are no longer what was added up.
    let mut owner = server.owner().await;
    sqlx::query("update usage_events set units = 500").execute(&mut owner).await.unwrap();
    let units = async |from: &str, to: &str, bucket: &str| {
        let path = format!("/v1/usage/summary?from={from}&to={to}&bucket={bucket}");
        let page = client.get(&path).await.is(200);
        page["data"].as_array().unwrap().iter().map(|line| line["units"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(units("2100-01-01T00:00:00Z", "2100-02-01T00:00:00Z", "month").await, [4]);
    assert_eq!(units("2100-01-01T00:00:00Z", "2100-03-01T00:00:00Z", "month").await, [4, 2]);
    assert_eq!(units("2100-01-10T10:00:00Z", "2100-02-01T01:00:00Z", "day").await, [2, 2, 2]);
    assert_eq!(units("2100-01-10T10:20:00Z", "2100-02-01T00:00:00Z", "month").await, [502]);
    assert_eq!(units("2100-01-10T10:20:00.000001Z", "2100-02-01T00:00:00.000001Z", "month").await, [2, 500]);
}

#[tokio::test]
async fn values_of_a_property_beyond_the_number_that_is_told_apart_are_summed_together() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_features(client).await;
    let (app, _) = server.app(client).await;
    let event = |number: i64| {
        json!({"end_user_id": format!("u{}", number % 7), "feature_key": "h", "units": 1,
        "properties": {"model": format!("{number:05}")}})
    };
    let more = PROPERTY_VALUES_MAX + 20;
    for first in [0, PROPERTY_VALUES_MAX / 2, PROPERTY_VALUES_MAX] {
        let last = more.min(first + PROPERTY_VALUES_MAX / 2);
        let events: Vec<Value> = (first..last).map(event).collect();
        client.post("/v1/usage/batch", &json!({"events": events})).await.is(200);
        roll_up_all(&server, &app).await;
    }
    client.post("/v1/usage", &json!({"end_user_id": "u", "feature_key": "h", "units": 1})).await.is(200);
    client.post("/v1/usage", &event(3)).await.is(200);
    client.post("/v1/usage", &event(more - 1)).await.is(200);
    let asked = Asked {
        from: "2000-01-01T00:00:00Z".to_owned(),
        to: "2050-01-01T00:00:00Z".to_owned(),
        bucket: "month",
        group_by: "property",
        property: Some("model"),
        limit: 300,
        ..Asked::default()
    };
    let by_value = async || {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for ((_, group), [events, ..]) in asked.read(client).await {
            *sums.entry(group).or_default() += events;
        }
        sums
    };
    let sums = by_value().await;
    assert_eq!(sums.len(), usize::try_from(PROPERTY_VALUES_MAX).unwrap() + 2);
    assert_eq!((sums["*"], sums["-"], sums["=00003"], sums["=00004"]), (21, 1, 2, 1));
    roll_up_all(&server, &app).await;
    assert_eq!(by_value().await, sums);
}

#[tokio::test]
async fn what_cannot_be_summed_is_refused_with_what_to_do() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_features(client).await;
    let refused = async |query: &str, pointer: &str, says: &str| {
        let problem = client.get(&format!("/v1/usage/summary?{query}")).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}: {problem}");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains(says), "{query}: {problem}");
    };
    let january = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z";
    refused("from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "query:to", "after `from`").await;
    refused("from=2026-01-01T00:00:01Z&to=2026-01-01T00:00:00Z", "query:to", "after `from`").await;
    refused("from=2026-01-01T00:00:00Z", "query:to", "required").await;
    refused("from=yesterday&to=2026-01-01T00:00:00Z", "query:from", "RFC 3339").await;
    refused("from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&bucket=hour", "query:to", "bucket=day").await;
    refused("from=2000-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "query:to", "bucket=month").await;
    refused("from=1900-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&bucket=month", "query:to", "several times").await;
    for (query, pointer, says) in [
        ("group_by=property", "query:property", "must name"),
        ("group_by=property&property=tier", "query:property", "summary_properties"),
        ("group_by=property&property=model&feature_key=g", "query:property", "feature g"),
        ("group_by=property&property=model&feature_key=nothing", "query:property", "feature nothing"),
        ("property=model", "query:property", "group_by=property"),
        ("group_by=everything", "query:group_by", "`end_user`"),
        ("bucket=week", "query:bucket", "`hour`"),
        ("limit=0", "query:limit", "1 to 1000"),
        ("limit=1001", "query:limit", "1 to 1000"),
        ("cursor=x", "query:cursor", "next_cursor"),
        ("group_by=end_user&cursor=MDphYmM", "query:cursor", "something else"),
        ("feature_key=%20", "query:feature_key", ""),
        ("group=feature", "query:group", ""),
    ] {
        refused(&format!("{january}&{query}"), pointer, says).await;
    }
    // 1,000 buckets are not too many, and nothing is an answer.
    let most = "from=2026-01-01T00:00:00Z&to=2026-02-11T16:00:00Z&bucket=hour";
    for query in [most.to_owned(), format!("{january}&end_user_id=nobody"), format!("{january}&feature_key=nothing")] {
        let page = client.get(&format!("/v1/usage/summary?{query}")).await.is(200);
        assert_eq!(page, json!({"data": [], "next_cursor": null}));
    }
}

#[tokio::test]
async fn sums_beyond_what_json_holds_exactly_are_cut_and_say_so() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let free = json!({"feature_key": "free", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 0}});
    client.post("/v1/features", &free).await.is(201);
    let event = json!({"end_user_id": "u", "feature_key": "free", "units": 9_007_199_254_740_991i64});
    let events: Vec<&Value> = (0..1_000).map(|_| &event).collect();
    for _ in 0..2 {
        client.post("/v1/usage/batch", &json!({"events": events})).await.is(200);
    }
    let summary = "/v1/usage/summary?from=2000-01-01T00:00:00Z&to=2050-01-01T00:00:00Z&bucket=month";
    let cut = client.get(summary).await.is(200);
    let line = &cut["data"][0];
    assert_eq!((&line["events"], &line["cost"], &line["out_of_range"]), (&json!(2_000), &json!(0), &json!(true)));
    assert_eq!(line["units"], 9_007_199_254_740_991i64);
    let (app, _) = server.app(client).await;
    roll_up_all(&server, &app).await;
    assert_eq!(client.get(summary).await.is(200), cut);
}

#[tokio::test]
async fn another_environment_and_another_tenant_see_nothing_of_it() {
    let server = TestServer::start().await;
    let tenant = server.operator.create_tenant("another").await.unwrap().tenant_id;
    let key = server.operator.create_key(tenant, Environment::Live, "all", &[Scope::Full], None).await.unwrap();
    let other = server.client_of(Some(key.secret.expose_secret()));
    for client in [&server.live, &server.sandbox, &other] {
        create_features(client).await;
    }
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 1, "properties": {"model": "m"}});
    server.live.post("/v1/usage", &event).await.is(200);
    let (app, _) = server.app(&server.live).await;
    let month = "/v1/usage/summary?from=2000-01-01T00:00:00Z&to=2050-01-01T00:00:00Z&bucket=month";
    for roll_up in [false, true] {
        if roll_up {
            roll_up_all(&server, &app).await;
        }
        for query in ["", "&group_by=end_user", "&group_by=property&property=model", "&end_user_id=u"] {
            let path = format!("{month}{query}");
            assert_eq!(server.live.get(&path).await.is(200)["data"].as_array().unwrap().len(), 1, "{query}");
            for stranger in [&server.sandbox, &other] {
                assert_eq!(stranger.get(&path).await.is(200)["data"], json!([]), "{query}");
            }
        }
        for stranger in [&server.sandbox, &other] {
            assert_eq!(stranger.get("/v1/usage").await.is(200)["data"], json!([]));
            assert_eq!(stranger.get("/v1/usage?end_user_id=u").await.is(200)["data"], json!([]));
        }
    }
}
