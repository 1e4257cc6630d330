//! Other programs, run in the foreground. Each finds the tools that [`crate::tools`] has put under the target
//! directory, and says what it runs before it runs.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::{paths, tools};

/// A program that starts in the repository's root and finds our tools.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(paths::root()).env("PATH", search_path()).stdin(Stdio::null());
    if env::var_os("PG_BIN").is_none()
        && let Some(bin) = tools::postgres::bundled_bin()
    {
        command.env("PG_BIN", bin);
    }
    command
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end with our terminal; anything but success is an error that names the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("`{line}` does not start"))?;
    if !status.success() {
        bail!("`{line}` failed ({status}); its output is above");
    }
    Ok(())
}

/// Runs to the end and gives back what it printed; its errors go to our terminal.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("`{line}` does not start"))?;
    let text =
        String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something else than text"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): {text}", output.status);
    }
    Ok(text)
}

/// Whether a command exists and succeeds. What it prints is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn search_path() -> std::ffi::OsString {
    let mut directories: Vec<PathBuf> = vec![tools::bin()];
    directories.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(directories).expect("PATH came apart at its separators")
}

fn line(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, arg| line + " " + &arg.to_string_lossy())
}
