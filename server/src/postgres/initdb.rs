//! Create the cluster, once, all or nothing.
//!
//! Everything happens in `data.new`, which becomes `data` by a rename: a set-up that was interrupted is begun again
//! from nothing. The cluster trusts whoever reaches its socket; the 0700 directories around it decide who that is, as
//! they do for the data themselves.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::AsyncWriteExt;

use super::Error;
use super::binaries::Binaries;
use super::place::Place;
use super::private::{DATABASE, Durability, OWNER};
use super::settings::TUNABLE;

pub(super) async fn create(place: &Place, binaries: &Binaries, durability: Durability) -> Result<(), Error> {
    let draft = place.cluster_dir().join("data.new");
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &draft)(error)),
        _ => {}
    }
    tracing::info!(data = %place.data().display(), user = %place.user.name, "creating the private Postgres");

    let mut initdb = place.user.command(&binaries.initdb());
    initdb.args(["-U", OWNER, "-E", "UTF8", "--locale=C", "--data-checksums", "--auth=trust", "--no-instructions"]);
    if durability == Durability::Throwaway {
        initdb.arg("--no-sync");
    }
    initdb.arg("-D").arg(&draft);
    run("initdb", initdb, "").await?;

    let mut append = place.user.command(Path::new("/bin/sh"));
    append.args(["-c", r#"cat >> "$0"/postgresql.conf"#]).arg(&draft);
    run("postgresql.conf", append, TUNABLE).await?;

    // Single-user mode: the database exists before anybody can connect.
    let mut single = place.user.command(&binaries.postgres());
    single.arg("--single");
    if durability == Durability::Throwaway {
        single.arg("-F");
    }
    single.arg("-D").arg(&draft).arg("postgres");
    run("create database", single, &format!("create database {DATABASE};\n")).await?;

    let data = place.data();
    fs::rename(&draft, &data).map_err(Error::io("create", &data))?;
    fs::File::open(place.cluster_dir()).and_then(|dir| dir.sync_all()).map_err(Error::io("write", &data))
}

async fn run(step: &'static str, command: Command, input: &str) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Init { step, output: error.to_string() };
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A program that ends early does not read its input; its exit status says why.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(failed)?;
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&text);
    // Single-user mode ends with 0 also when its statement failed.
    if output.status.success() && !text.contains("ERROR:") && !text.contains("FATAL:") {
        return Ok(());
    }
    Err(Error::Init { step, output: text.trim().to_owned() })
}
