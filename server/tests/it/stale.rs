//! A batch that was decided from an account which is not as it was read any more is not written.

use std::sync::Arc;

use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::command::Command;
use quotastack_server::app::decide::decide;
use quotastack_server::app::residents::Residents;
use quotastack_server::app::{clock, needs, submission};
use quotastack_server::store::batch::BatchPlace;
use quotastack_server::store::tx::Store;

use crate::plans::fill::grant;
use crate::support::server::TestServer;

#[tokio::test]
async fn what_was_decided_from_another_version_is_refused_as_a_whole() {
    let server = TestServer::start().await;
    let (app, principal) = server.app(&server.sandbox).await;
    let environment_id = principal.environment_id;
    let end_user_id = EndUserId::new("u").unwrap();
    let first = Command::Grant(grant(5));
    app.write(&principal, end_user_id.clone(), first, None, None).await.unwrap();
    let environment = app.environment(environment_id).await.unwrap();
    let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
    let store = Store::connect(&server.db.url, 2).unwrap();
    let mut owner = server.owner().await;

    for (since, expected) in [(1, Err("0 of 1 accounts are as they were read")), (0, Ok(()))] {
        let commands = [submission(&principal, end_user_id.clone(), Command::Grant(grant(7)), None, None)];
        let mut tx = store.begin_locking(None, environment_id, lane_id).await.unwrap();
        let lane = tx.locked_lane(lane_id).await.unwrap();
        let catalogue = environment.handle.catalogue_at(&mut tx, lane.catalogue_version).await.unwrap();
        let (now, nobody) = (clock::now(), &mut Residents::default());
        let loaded = needs::load(&mut tx, lane_id, lane.place, Arc::clone(&catalogue), &commands, now, nobody);
        let decisions = decide(loaded.await.unwrap(), &commands);
        let update = "update accounts set version = version + $1";
        sqlx::query(update).bind(since).execute(&mut owner).await.unwrap();
        let place = BatchPlace { environment_id, lane_id, now: decisions.now, real_now: now };
        let written = tx.write_batch(place, &decisions.batch()).await;
        match expected {
            Ok(()) => written.unwrap(),
            Err(words) => {
                let error = written.unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        }
        tx.rollback().await.unwrap();
    }
    app.stop().await;
}
