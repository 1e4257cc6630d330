//! Damaged files: redb checks what it reads, but not every wrong byte ends in an error; some end in a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does `work` on a database; a panic in it counts as damage of the file. What panicked may be left half done:
/// whoever gets [`redb::Error::Corrupted`] must not use the database any more.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(redb::Error::Corrupted(message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("reading it panicked: {}", text.unwrap_or("no message"))
}
