//! Who may name whom. Arrows point one way: `core` knows nobody; `http`, `sync` and `workers` call `app`, `app` calls
//! `store`, and `store` alone speaks SQL.

use anyhow::Context;

use super::source;
use super::tree::File;

struct Rule {
    /// The folders in which it holds.
    within: &'static [&'static str],
    /// Folders inside them in which it does not.
    except: &'static [&'static str],
    /// Names, and beginnings of paths.
    forbidden: &'static [&'static str],
    /// What to do instead.
    instead: &'static str,
}

/// Everything that holds Rust.
const EVERYWHERE: &[&str] = &["core", "examples", "server", "sdk-rust", "sdk-wasm", "sidecar", "xtask"];

const RULES: [Rule; 8] = [
    Rule {
        within: &["server/src/app", "server/src/store", "server/src/sync", "server/src/workers"],
        except: &[],
        forbidden: &["crate::http"],
        instead: "http translates and nobody calls it: move what is shared into app",
    },
    Rule {
        within: &["server/src/store"],
        except: &[],
        forbidden: &["crate::app", "crate::sync", "crate::workers"],
        instead: "store knows rows, not use cases: pass what it needs as arguments",
    },
    Rule {
        within: &["server/src", "sidecar/src"],
        except: &["server/src/store"],
        forbidden: &["sqlx::query", "sqlx::query_as", "sqlx::query_scalar", "sqlx::raw_sql", "sqlx::QueryBuilder"],
        instead: "SQL lives in server/src/store: give the statement a function there",
    },
    Rule {
        within: &["core/src"],
        except: &[],
        forbidden: &[
            "std::time::Instant",
            "std::time::SystemTime",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "getrandom",
            "rand",
            "reqwest",
            "tokio",
        ],
        instead: "core has no I/O, clock, threads or randomness: take the time, the id or the bytes as an argument",
    },
    Rule {
        within: &["core/src"],
        // Passes on whatever JSON holds, so that who reads it can refuse it.
        except: &["core/src/api/object.rs"],
        forbidden: &["f32", "f64"],
        instead: "core has no floats: money and units are integers, ratios are permille",
    },
    Rule {
        within: EVERYWHERE,
        except: &[],
        forbidden: &["todo!", "unimplemented!"],
        instead: "leave out what is not built; a thing that is not there says so by its absence",
    },
    Rule {
        within: EVERYWHERE,
        except: &[],
        forbidden: &["#[ignore"],
        instead: "mend the test or delete it; a process that other tests start says so: #[ignore = \"..\"]",
    },
    Rule {
        within: EVERYWHERE,
        except: &[],
        forbidden: &["#[allow"],
        instead: "write #[expect(lint, reason = \"..\")], which complains when it is no longer needed",
    },
];

pub(crate) fn check(files: &[File]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_own_rust()) {
        let rules: Vec<&Rule> =
            RULES.iter().filter(|rule| file.is_in(rule.within) && !file.is_in(rule.except)).collect();
        for name in source::names(&file.text).with_context(|| file.path.clone())? {
            for rule in rules.iter().filter(|rule| rule.forbidden.iter().any(|path| begins(&name.text, path))) {
                findings.push(format!("{}:{}: `{}`: {}", file.path, name.line, name.text, rule.instead));
            }
            if file.is_in(&["core/src"]) && name.text.starts_with(|first: char| first.is_ascii_digit()) {
                findings.push(format!("{}:{}: `{}`: core has no floats", file.path, name.line, name.text));
            }
        }
    }
    Ok(findings)
}

/// Whether a path is `forbidden` or goes on from there: `crate::http::error` begins with `crate::http`, `crate::https`
/// does not.
fn begins(path: &str, forbidden: &str) -> bool {
    path.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[File { path: path.to_owned(), text: text.to_owned() }]).unwrap()
    }

    #[test]
    fn each_rule_bites_where_it_holds_and_only_there() {
        let cases = [
            ("server/src/app/usage.rs", "use crate::{http::error, store};", "server/src/http/usage.rs"),
            ("server/src/store/usage.rs", "fn f(app: &crate::app::App) {}", "server/src/http/usage.rs"),
            ("server/src/app/usage.rs", "fn f() { sqlx::query(\"select 1\"); }", "server/src/store/usage.rs"),
            ("core/src/time.rs", "use std::time::{Duration, Instant};", "sidecar/src/time.rs"),
            ("core/src/credits.rs", "fn f(a: f64) {}", "core/src/api/object.rs"),
            ("core/src/credits.rs", "const A: B = B(1.5);", "server/src/metrics.rs"),
            ("core/tests/a.rs", "fn f() { todo!() }", "docs/a.rs"),
            ("server/tests/it/a.rs", "#[test] #[ignore] fn f() {}", "docs/a.rs"),
            ("xtask/src/a.rs", "#[allow(dead_code)] fn f() {}", "docs/a.rs"),
        ];
        for (bad, text, good) in cases {
            assert_eq!(findings(bad, text).len(), 1, "{bad}: {text}");
            assert!(findings(good, text).is_empty(), "{good}: {text}");
        }
    }

    #[test]
    fn a_path_that_only_looks_alike_is_free() {
        assert!(findings("server/src/app/a.rs", "use crate::https::Server; // crate::http").is_empty());
        assert!(
            findings("core/src/a.rs", "use std::time::Duration; const A: u8 = 1; #[ignore = \"a process\"] fn f(t: ((u8, u8),)) -> u8 { t.0.1 }")
                .is_empty()
        );
    }

    #[test]
    fn a_finding_has_its_place_and_what_to_do() {
        let found = findings("core/src/a.rs", "\nuse tokio::net;");
        assert!(found[0].starts_with("core/src/a.rs:2: `tokio::net`: core has no I/O"), "{found:?}");
    }
}
