//! The text files of the repository: committed ones, and new ones that git does not ignore.

use anyhow::Context;

use crate::command::{output, program};
use crate::paths;

/// One text file.
pub(crate) struct File {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Rust that a person wrote.
    pub(crate) fn is_own_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.is_generated()
    }

    /// Rust that a program wrote.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.ends_with("/generated.rs")
    }

    /// Whether the file lies in one of the folders.
    pub(crate) fn is_in(&self, folders: &[&str]) -> bool {
        folders
            .iter()
            .any(|folder| self.path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

/// Reads them all. Files that are not text are left out, and so are those that are deleted but not yet committed so.
pub(crate) fn read() -> anyhow::Result<Vec<File>> {
    let list = output(program("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]))
        .context("git lists the files of the repository")?;
    let root = paths::root();
    let read = |path: &str| Some(File { path: path.to_owned(), text: std::fs::read_to_string(root.join(path)).ok()? });
    Ok(list.split_terminator('\0').filter_map(read).collect())
}
