//! What the numbers were measured on.

use serde::Serialize;

use crate::command::{output, program};

/// The machine and the code.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) commit: String,
    /// Whether the work tree differs from the commit.
    pub(crate) dirty: bool,
}

impl Machine {
    /// In a line.
    pub(crate) fn text(&self) -> String {
        let dirty = if self.dirty { " with changes" } else { "" };
        format!("{} cores, {}; commit {}{dirty}", self.cores, self.cpu, self.commit)
    }
}

pub(crate) fn describe() -> Machine {
    let git = |args: &[&str]| output(program("git").args(args)).map(|text| text.trim().to_owned()).unwrap_or_default();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    Machine {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cpu: model.unwrap_or(std::env::consts::ARCH).to_owned(),
        commit: git(&["rev-parse", "--short", "HEAD"]),
        dirty: !git(&["status", "--porcelain"]).is_empty(),
    }
}

/// The one-minute load average, as the system writes it; what else runs spoils the numbers.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|first| !first.is_empty()).unwrap_or("unknown").to_owned()
}
