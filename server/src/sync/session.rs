//! One sidecar: hello, the control stream, and its key looked at again every few seconds.

use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connection, SendStream, VarInt};
use quotastack_core::ledger::command::LeaseHolder;
use quotastack_core::sync::publisher::{self, can_resume};
use quotastack_core::wire::{Hello, ServerControl, SidecarControl, Welcome};
use secrecy::SecretString;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::app::App;
use crate::app::auth::{Principal, Scope};
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::fleet::FleetLink;
use crate::sync::listener::WINDOW_KNOWN;
use crate::sync::shared::{End, Shared};
use crate::sync::stream::{Incoming, LinkError, send};
use crate::sync::{deltas, requests};

/// How long a sidecar may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the frame that says it.
const HELLO_BYTES_MAX: usize = 4 << 10;
/// How often the key is looked at again.
const KEY_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is noted how the sidecar is.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);
/// Requests of one sidecar at a time.
const REQUESTS_MAX: VarInt = VarInt::from_u32(256);
/// Usage batches of one sidecar at a time; at most one per lane anyway.
const BATCHES_MAX: u16 = 64;
/// How long the last message of a refused sidecar may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs until the sidecar is gone, breaks the protocol, or loses its key.
pub(super) async fn run(connection: &Connection, end: End, unknown: OwnedSemaphorePermit) -> Result<(), LinkError> {
    let control = tokio::time::timeout(HELLO_TIMEOUT, hello(connection)).await;
    let (hello, mut to_sidecar, mut from_sidecar) = control.map_err(|_| LinkError::HelloTimeout)??;
    let key = SecretString::from(hello.key.0.clone());
    let principal = match authorise(&end.app, &key).await {
        Ok(principal) => principal,
        Err(error) => return refuse(to_sidecar, &error).await,
    };
    drop(unknown);
    from_sidecar.lift_limit();
    connection.set_max_concurrent_bi_streams(REQUESTS_MAX);
    connection.set_receive_window(WINDOW_KNOWN);
    let shared = match welcome(end, principal, &hello, &mut to_sidecar).await? {
        Ok(shared) => shared,
        Err(error) => return refuse(to_sidecar, &error).await,
    };
    tracing::info!(sidecar = %hello.sidecar_id, software = hello.software, mode = ?hello.mode, "a sidecar is linked");
    let sessions = metrics::gauge!("quotastack_sync_sessions");
    sessions.increment(1);
    let fleet_link = shared.app.begin_link(shared.principal.environment_id, &hello).await;
    let ended = tokio::select! {
        ended = control_stream(&shared, &key, to_sidecar, from_sidecar) => ended,
        ended = deltas::send_all(&shared, connection) => ended,
        ended = requests::serve_all(&shared, connection) => ended,
        () = note(&shared, &fleet_link) => Ok(()),
    };
    shared.app.update_link(&fleet_link, shared.behind(), &shared.report(), true).await;
    sessions.decrement(1);
    tracing::info!(sidecar = %hello.sidecar_id, "a sidecar's link ended");
    ended
}

async fn hello(connection: &Connection) -> Result<(Hello, SendStream, Incoming), LinkError> {
    let (to_sidecar, from_sidecar) = connection.accept_bi().await?;
    let mut from_sidecar = Incoming::with_limit(from_sidecar, HELLO_BYTES_MAX);
    match from_sidecar.next().await? {
        Some(SidecarControl::Hello(hello)) => Ok((hello, to_sidecar, from_sidecar)),
        _ => Err(LinkError::Unexpected("something else than hello")),
    }
}

async fn authorise(app: &App, key: &SecretString) -> Result<Principal, AppError> {
    let principal = app.authenticate(Some(key)).await?;
    principal.require(Scope::Sidecar)?;
    Ok(principal)
}

/// Takes the sidecar in: where it stands, and where the lanes are.
async fn welcome(
    End { app, pages }: End,
    principal: Principal,
    hello: &Hello,
    to_sidecar: &mut SendStream,
) -> Result<Result<Shared, AppError>, LinkError> {
    let id = principal.environment_id;
    let opened = async {
        let environment = app.environment(id).await?;
        let (epoch, heads) = app.feed_heads(id).await?;
        Ok::<_, AppError>((environment, epoch, heads))
    };
    let (environment, epoch, heads) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let resumed = hello.cursor.as_ref().filter(|cursor| can_resume(cursor, epoch, &heads));
    let now = clock::now();
    let resumes = resumed.is_some();
    let kept_catalogue = if resumes { hello.catalogue_version } else { 0 };
    let publisher =
        publisher::Session::new(hello.mode, resumed.map(|cursor| cursor.lanes.clone()), &heads, kept_catalogue, now);
    let welcome = Welcome {
        epoch,
        environment: format!("{}/{}", principal.tenant_id, principal.environment.as_str()),
        lanes: environment.handle.lane_count(),
        server_now: now,
        in_flight_max: BATCHES_MAX,
        resume: resumes,
    };
    send(to_sidecar, &ServerControl::Welcome(welcome)).await?;
    Ok(Ok(Shared {
        app,
        pages,
        principal,
        holder: LeaseHolder { sidecar_id: hello.sidecar_id, run_id: hello.run_id },
        environment,
        publisher: Mutex::new(publisher),
        followed: Notify::new(),
        report: Mutex::default(),
    }))
}

/// Tells the sidecar why it is not taken in, or no longer.
async fn refuse(mut to_sidecar: SendStream, error: &AppError) -> Result<(), LinkError> {
    metrics::counter!("quotastack_sync_refused_total", "code" => error.code().as_str()).increment(1);
    let reason = error.to_string();
    let refused = ServerControl::Refused { code: error.code().as_str().to_owned(), reason: reason.clone() };
    send(&mut to_sidecar, &refused).await?;
    // The stream is ours and open: finishing it cannot fail.
    let _ = to_sidecar.finish();
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, to_sidecar.stopped()).await;
    Err(LinkError::Refused(reason))
}

/// Notes every few seconds how the sidecar is.
async fn note(shared: &Shared, link: &FleetLink) {
    let mut tick = tokio::time::interval(NOTE_INTERVAL);
    // The first one comes at once, before anything was heard.
    tick.tick().await;
    loop {
        tick.tick().await;
        shared.app.update_link(link, shared.behind(), &shared.report(), false).await;
    }
}

async fn control_stream(
    shared: &Shared,
    key: &SecretString,
    mut to_sidecar: SendStream,
    mut from_sidecar: Incoming,
) -> Result<(), LinkError> {
    let mut look_at_key = tokio::time::interval(KEY_INTERVAL);
    loop {
        tokio::select! {
            message = from_sidecar.next() => match message? {
                Some(SidecarControl::Heartbeat { sent_at, report }) => {
                    *shared.report.lock() = report;
                    let answer = ServerControl::Heartbeat { sent_at, server_now: clock::now() };
                    send(&mut to_sidecar, &answer).await?;
                }
                Some(SidecarControl::Follow { hashes, complete }) => {
                    shared.publisher.lock().follow_all(hashes, complete);
                    shared.followed.notify_one();
                }
                Some(SidecarControl::Hello(_)) => return Err(LinkError::Unexpected("hello twice")),
                None => return Ok(()),
            },
            _ = look_at_key.tick() => {
                // While the database is away nobody can say that the key is void.
                if let Err(error @ (AppError::Unauthenticated(_) | AppError::Forbidden { .. })) =
                    authorise(&shared.app, key).await
                {
                    return refuse(to_sidecar, &error).await;
                }
            }
        }
    }
}
