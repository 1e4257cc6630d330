//! Random histories of several accounts through the server, in groups of random sizes: the same answers, entries and
//! stored rows as from an account that is alone in memory, of which nothing is ever unloaded. `PROPTEST_CASES` sets how
//! many; seeds that failed are kept in `proptest-regressions`.
//!
//! - `deeds`, `orders`, `setting`: what happens, what of it to subscriptions, and the catalogue it is about
//! - `player`: deeds as commands
//! - `grouped`: the pure part of a batch, without a database

mod deeds;
mod grouped;
mod orders;
mod player;
mod setting;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quotastack_core::ids::VariantId;
use quotastack_core::ledger::entry::Actor;
use quotastack_server::app::App;
use quotastack_server::app::auth::{Principal, Scope};
use quotastack_server::app::catalogue::{CatalogueChange, Changed};
use quotastack_server::store::keys::Environment;

use self::deeds::{World, worlds};
use self::player::Player;
use crate::histories::{History, Lane};
use crate::support::server::TestServer;

/// A world is as much work as so many usual cases: 256 of them make 64 worlds, each of up to 4 histories.
const USUAL_CASES: u32 = 4;
/// Runs of a world that failed, to find a smaller one that fails too.
const SHRINKS_MAX: u32 = 400;

fn config(source_file: &'static str) -> Config {
    let usual = Config::default();
    Config {
        cases: usual.cases.div_ceil(USUAL_CASES),
        max_shrink_iters: usual.max_shrink_iters.min(SHRINKS_MAX),
        ..Config::with_source_file(source_file)
    }
}

#[test]
fn random_histories_through_postgres_come_to_what_each_comes_to_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (server, app) = runtime.block_on(async {
        let server = TestServer::start().await;
        let (app, _) = server.app(&server.live).await;
        (server, app)
    });
    let mut runner = TestRunner::new(config(file!()));
    let result =
        runner.run(&worlds(), |world| runtime.block_on(run(&server, &app, &world)).map_err(TestCaseError::fail));
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn run(server: &TestServer, app: &Arc<App>, world: &World) -> Result<(), String> {
    let principal = tenant(server, app).await;
    let variants = fill_catalogue(app, &principal, world).await;
    let lane = Lane::open(server, Arc::clone(app), principal).await;
    let mut histories: Vec<History> = Vec::new();
    for (number, deeds) in world.histories.iter().enumerate() {
        let end_user_id = lane.end_user("user", number).await;
        let actor = Actor::Key(lane.principal.key_id);
        let player = Player::new(end_user_id, Arc::clone(&lane.catalogue), &variants, actor);
        histories.push(player.play(deeds));
    }
    lane.takes(&histories, &world.sizes, server).await
}

/// A tenant of its own: features belong to the environment.
async fn tenant(server: &TestServer, app: &App) -> Principal {
    let tenant = server.operator.create_tenant("a world").await.unwrap().tenant_id;
    let key = server.operator.create_key(tenant, Environment::Live, "all", &[Scope::Full], None).await.unwrap();
    app.authenticate(Some(&key.secret)).await.unwrap()
}

async fn fill_catalogue(app: &App, principal: &Principal, world: &World) -> Vec<VariantId> {
    let change = async |change| app.change_catalogue(principal, &change, None).await.unwrap().changed;
    for (feature_key, feature) in setting::features(&world.features) {
        change(CatalogueChange::CreateFeature { name: feature_key.to_string(), feature_key, feature }).await;
    }
    let mut variants = Vec::new();
    for mut variant in setting::variants() {
        let plan = CatalogueChange::CreatePlan { name: "a plan".to_owned(), kind: variant.plan_kind };
        let Changed::Plan(plan) = change(plan).await else { unreachable!() };
        variant.plan_id = plan.plan_id;
        let Changed::Variant(made) =
            change(CatalogueChange::CreateVariant { name: "a variant".to_owned(), variant }).await
        else {
            unreachable!()
        };
        variants.push(made.variant_id);
    }
    variants
}
