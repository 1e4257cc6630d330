//! `migrate`, `tenant`, `key`: what an operator does to a database. Answers are JSON lines on stdout.

use anyhow::Context;
use clap::{Args, Subcommand};
use quotastack_core::ids::{KeyId, TenantId};
use quotastack_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::app::auth::Scope;
use crate::app::operator::{self, Operator};
use crate::cli::serve::print_line;
use crate::store::keys::Environment;
use crate::store::tx::Store;

const CONNECTIONS: u32 = 1;

/// Which database.
#[derive(Debug, Args)]
pub(super) struct DatabaseArgs {
    /// The database; its login must be its owner (`migrate`) or a member of `quotastack_admin`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: SecretString,
}

/// `tenant ...`
#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Create a tenant with a live and a sandbox environment.
    Create {
        /// Its name.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// List all tenants, one JSON line each.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// `key ...`
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Create an API key; its secret is printed once and never again.
    Create {
        /// The tenant, `ten_...`.
        #[arg(long)]
        tenant: TenantId,
        /// The environment it opens.
        #[arg(long, value_parser = parse_environment)]
        environment: Environment,
        /// A name for people.
        #[arg(long)]
        name: String,
        /// What it may do, for example `usage:write`; repeat it or separate with commas.
        #[arg(long = "scope", required = true, value_delimiter = ',', value_parser = parse_scope)]
        scopes: Vec<Scope>,
        /// From when on it is void, RFC 3339.
        #[arg(long)]
        expires_at: Option<Timestamp>,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// List a tenant's keys, one JSON line each.
    List {
        /// The tenant, `ten_...`.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Revoke a key; every server and sidecar refuses it within 5 seconds.
    Revoke {
        /// The key's id, `key_...`.
        key_id: KeyId,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

fn parse_environment(text: &str) -> Result<Environment, String> {
    match text {
        "live" => Ok(Environment::Live),
        "sandbox" => Ok(Environment::Sandbox),
        _ => Err("must be live or sandbox".to_owned()),
    }
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let known = || Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
    Scope::parse(text).ok_or_else(|| format!("must be one of {}", known()))
}

fn connect(database: &DatabaseArgs) -> anyhow::Result<Operator> {
    let store = Store::connect(database.database_url.expose_secret(), CONNECTIONS);
    Ok(Operator::new(store.context("--database-url is not a Postgres URL")?))
}

pub(super) async fn migrate(args: &DatabaseArgs) -> anyhow::Result<()> {
    let done = operator::migrate(args.database_url.expose_secret()).await;
    done.context("cannot bring the database (--database-url) to this version's schema")?;
    print_line(&json!({ "event": "migrated" }))
}

pub(super) async fn tenant(command: TenantCommand) -> anyhow::Result<()> {
    match command {
        TenantCommand::Create { name, database } => {
            let tenant = connect(&database)?.create_tenant(&name).await?;
            print_line(&json!({ "tenant_id": tenant.tenant_id, "name": tenant.name, "created_at": tenant.created_at }))
        }
        TenantCommand::List { database } => {
            for tenant in connect(&database)?.list_tenants().await? {
                print_line(
                    &json!({ "tenant_id": tenant.tenant_id, "name": tenant.name, "created_at": tenant.created_at }),
                )?;
            }
            Ok(())
        }
    }
}

pub(super) async fn key(command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create { tenant, environment, name, scopes, expires_at, database } => {
            let key = connect(&database)?.create_key(tenant, environment, &name, &scopes, expires_at).await?;
            print_line(&json!({ "key_id": key.key_id, "secret": key.secret.expose_secret() }))
        }
        KeyCommand::List { tenant, database } => {
            for key in connect(&database)?.list_keys(tenant).await? {
                print_line(&json!({
                    "key_id": key.key_id,
                    "environment": key.environment,
                    "name": key.name,
                    "hint": key.hint,
                    "scopes": key.scopes,
                    "created_at": key.created_at,
                    "revoked_at": key.revoked_at,
                }))?;
            }
            Ok(())
        }
        KeyCommand::Revoke { key_id, database } => {
            connect(&database)?.revoke_key(key_id).await?;
            print_line(&json!({ "key_id": key_id, "event": "revoked" }))
        }
    }
}
