//! A server in this process over a database of its own, with a tenant and its keys.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{EndUserId, TenantId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::entry::Entry;
use quotastack_core::ledger::refold::Refold;
use quotastack_core::time::Timestamp;
use quotastack_server::app::auth::{Principal, Scope};
use quotastack_server::app::operator::{MintedKey, Operator};
use quotastack_server::app::{App, AppConfig};
use quotastack_server::serve::{Server, ServerConfig};
use quotastack_server::store::keys::Environment;
use quotastack_server::store::tx::Store;
use quotastack_server::store::types::{LaneId, Ts};
use quotastack_server::sync::tls::Identity;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tempfile::TempDir;

use super::client::Client;
use super::cluster::{TestDb, fresh_database};
use super::scratch::scratch_dir;

const CONNECTIONS: u32 = 6;
const ENTRIES_PAGE: i64 = 1_000;
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server and its tenant.
pub(crate) struct TestServer {
    pub(crate) db: TestDb,
    pub(crate) tenant_id: TenantId,
    /// May do everything in the live environment.
    pub(crate) live: Client,
    /// May do everything in the sandbox.
    pub(crate) sandbox: Client,
    pub(crate) operator: Operator,
    base: String,
    dir: TempDir,
    server: Server,
}

impl TestServer {
    /// Starts a server over a fresh database.
    pub(crate) async fn start() -> Self {
        Self::start_over(fresh_database().await).await
    }

    /// As [`TestServer::start`], over a database whose transactions are all serializable.
    pub(crate) async fn start_serializable() -> Self {
        let db = fresh_database().await;
        let mut owner = PgConnection::connect(&db.url).await.unwrap();
        let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&mut owner).await.unwrap();
        let set = format!("alter database {name} set default_transaction_isolation = 'serializable'");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut owner).await.unwrap();
        Self::start_over(db).await
    }

    async fn start_over(db: TestDb) -> Self {
        let operator = Operator::new(Store::connect(&db.url, 1).unwrap());
        let tenant_id = operator.create_tenant("a tenant").await.unwrap().tenant_id;
        let dir = scratch_dir();
        let server = start_server(&db.url, dir.path()).await;
        let base = format!("http://{}", server.http);
        let client = async |environment| {
            let key = operator.create_key(tenant_id, environment, "all", &[Scope::Full], None).await.unwrap();
            Client::new(&base, Some(key.secret.expose_secret()))
        };
        let (live, sandbox) = (client(Environment::Live).await, client(Environment::Sandbox).await);
        Self { db, tenant_id, live, sandbox, operator, base, dir, server }
    }

    /// Where sidecars connect.
    pub(crate) fn quic(&self) -> SocketAddr {
        self.server.quic
    }

    /// Where clients connect.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The authority that sidecars trust the server by.
    pub(crate) fn ca_file(&self) -> std::path::PathBuf {
        Identity::self_signed(self.dir.path()).unwrap().1
    }

    /// Another server over the same database, and a client of it with the same key as `client`.
    pub(crate) async fn second(&self, client: &Client) -> (Server, Client) {
        let server = start_server(&self.db.url, self.dir.path()).await;
        let client = Client::new(&format!("http://{}", server.http), client.key());
        (server, client)
    }

    /// Makes a key of this server's tenant.
    pub(crate) async fn mint(&self, environment: Environment, scopes: &[Scope], ends: Option<Timestamp>) -> MintedKey {
        self.operator.create_key(self.tenant_id, environment, "a key", scopes, ends).await.unwrap()
    }

    /// A client with a new key for the live environment.
    pub(crate) async fn client_with(&self, scopes: &[Scope]) -> Client {
        let key = self.mint(Environment::Live, scopes, None).await;
        self.client_of(Some(key.secret.expose_secret()))
    }

    /// A client that sends this secret.
    pub(crate) fn client_of(&self, secret: Option<&str>) -> Client {
        Client::new(&self.base, secret)
    }

    /// The application over the same database, without HTTP, and who `client` is there.
    pub(crate) async fn app(&self, client: &Client) -> (Arc<App>, Principal) {
        let config = AppConfig { database_url: self.db.url.clone(), connections_max: CONNECTIONS };
        let app = App::start(&config).unwrap();
        let secret = SecretString::from(client.key().unwrap());
        let principal = app.authenticate(Some(&secret)).await.unwrap();
        (app, principal)
    }

    /// All entries of an end user, after they were checked: hashes, numbers, sums, and the stored account.
    pub(crate) async fn verified_entries(&self, client: &Client, end_user_id: &str) -> Vec<Entry> {
        let (app, principal) = self.app(client).await;
        let end_user_id = EndUserId::new(end_user_id).unwrap();
        let environment = principal.environment_id;
        let handle = app.environment(environment).await.unwrap();
        let (catalogue, (_, lane_id)) = (handle.handle.catalogue(), handle.handle.lane_of(end_user_id.bucket()));
        // As it is stored, without what time has done since.
        let mut tx = Store::connect(&self.db.url, 1).unwrap().begin_snapshot(environment).await.unwrap();
        let accounts = tx.load_accounts(lane_id, std::slice::from_ref(&end_user_id)).await.unwrap();
        let Some((stored, _)) = accounts.get(&end_user_id) else { return Vec::new() };
        let mut refold = Refold::new(stored.id);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let page = app.chain(environment, &end_user_id, after, ENTRIES_PAGE).await.unwrap();
            if page.is_empty() {
                break;
            }
            for entry in page {
                refold.push(&entry).unwrap();
                entries.push(entry);
            }
        }
        refold.compare(stored).unwrap();
        self.check_due(lane_id, stored, &catalogue).await;
        app.stop().await;
        entries
    }

    /// When an account is noted to be due is when it is as stored; or, where nothing of that was worth an entry, when
    /// it is after the lane's last instant.
    pub(crate) async fn check_due(&self, lane_id: LaneId, stored: &Account, catalogue: &Catalogue) {
        let sql =
            "select next_due, last_now from lanes left join due on due.lane_id = lanes.lane_id and account_id = $2
                   where lanes.lane_id = $1";
        let row =
            sqlx::query(sql).bind(lane_id.0).bind(stored.id.uuid()).fetch_one(&mut self.owner().await).await.unwrap();
        let noted = row.get::<Option<Ts>, _>("next_due").map(|at| at.0);
        let mut account = stored.clone();
        let as_stored = account.next_due();
        read_at(&mut account.wallet, catalogue, row.get::<Ts, _>("last_now").0);
        assert!(noted == as_stored || noted == account.next_due(), "{noted:?} {as_stored:?}");
    }

    /// A connection as the owner of the database, whom row security does not bind.
    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.db.url).await.unwrap()
    }

    /// How many rows each table has: what a request that changes nothing leaves alone.
    pub(crate) async fn row_counts(&self) -> BTreeMap<String, i64> {
        let mut owner = self.owner().await;
        let tables = "select relname::text as name from pg_class
                      where relkind = 'r' and relnamespace = 'public'::regnamespace";
        let mut counts = BTreeMap::new();
        for table in sqlx::query(tables).fetch_all(&mut owner).await.unwrap() {
            let name: String = table.get("name");
            let sql = format!("select count(*) from {name}");
            counts.insert(name, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut owner).await.unwrap());
        }
        counts
    }
}

async fn start_server(database_url: &str, dir: &Path) -> Server {
    let (identity, _) = Identity::self_signed(dir).unwrap();
    let app = AppConfig { database_url: database_url.to_owned(), connections_max: CONNECTIONS };
    // Tests of the workers start them themselves.
    let config = ServerConfig { app, http: ANY_PORT, quic: ANY_PORT, identity, workers: None };
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    Server::start(config, metrics).await.unwrap()
}
