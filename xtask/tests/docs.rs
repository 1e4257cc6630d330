//! The documents hold together: what code and pages refer to exists.
//!
//! - a page that a comment of the code names exists, and so does each heading that follows it in quotes,
//! - a relative link in README.md and docs leads to a file, and its `#anchor` to a heading,
//! - a link whose text is `code` and whose target is a source names something that stands in it,
//! - a path of the repository in `code` on a page exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders without sources of this project.
const SKIPPED: [&str; 4] = ["target", "node_modules", ".git", "pkg"];

#[test]
fn every_heading_that_code_names_as_its_source_exists() {
    let mut findings = Vec::new();
    let mut named = 0;
    for path in files(&["rs"]) {
        for comment in comments(&read(&path)) {
            for (page, headings) in references(&comment) {
                named += 1;
                let Ok(text) = fs::read_to_string(root().join(&page)) else {
                    findings.push(format!("{}: there is no {page}", path.display()));
                    continue;
                };
                let existing = headings_of(&text);
                for heading in headings.iter().filter(|heading| !existing.contains(*heading)) {
                    findings.push(format!("{}: {page} has no heading \"{heading}\"", path.display()));
                }
            }
        }
    }
    assert_eq!(findings, Vec::<String>::new());
    assert!(named > 20, "only {named} references were found: the search for them is broken");
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut findings = Vec::new();
    let mut followed = 0;
    for page in pages() {
        let text = read(&page);
        for (label, target) in links(&text) {
            if target.contains("://") {
                continue;
            }
            followed += 1;
            if let Some(finding) = follow(&page, &text, &label, &target) {
                findings.push(format!("{}: [{label}]({target}): {finding}", page.display()));
            }
        }
    }
    assert_eq!(findings, Vec::<String>::new());
    assert!(followed > 40, "only {followed} links were found: the search for them is broken");
}

#[test]
fn every_path_that_a_page_names_exists() {
    let tops = ["core/", "docs/", "examples/", "sdk-rust/", "sdk-wasm/", "server/", "sidecar/", "xtask/"];
    let mut findings = Vec::new();
    let mut named = 0;
    for page in pages() {
        for span in read(&page).lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            if tops.iter().any(|top| span.starts_with(top)) && !span.contains(' ') {
                named += 1;
                if !root().join(span).exists() {
                    findings.push(format!("{}: there is no `{span}`", page.display()));
                }
            }
        }
    }
    assert_eq!(findings, Vec::<String>::new());
    assert!(named > 10, "only {named} paths were found: the search for them is broken");
}

/// What is wrong with a link.
fn follow(page: &Path, text: &str, label: &str, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = page.parent().expect("a page lies in a folder").join(path);
    if !path.is_empty() && !file.exists() {
        return Some("there is no such file".to_owned());
    }
    if let Some(anchor) = anchor {
        let headings = if path.is_empty() { headings_of(text) } else { headings_of(&read(&file)) };
        if !headings.iter().any(|heading| slug(heading) == anchor) {
            return Some("there is no such heading".to_owned());
        }
    }
    let name = label.strip_prefix('`').and_then(|label| label.strip_suffix('`'))?;
    let is_source = file.extension().is_some_and(|extension| extension == "rs" || extension == "mjs");
    (is_source && !read(&file).contains(name)).then(|| format!("{name} does not stand there"))
}

#[test]
fn references_are_read_as_people_write_them() {
    let comment = "Source: docs/a.md, \"One\" and \"Two\"; docs/b.md, \"Three\". See `docs/c.md`, and docs/d.md.";
    let one =
        |page: &str, headings: &[&str]| (page.to_owned(), headings.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(
        references(comment),
        [one("docs/a.md", &["One", "Two"]), one("docs/b.md", &["Three"]), one("docs/c.md", &[]), one("docs/d.md", &[])]
    );
    assert_eq!(comments("//! a,\n//! b\nfn f() {} // c\n/// d"), ["a, b", "d"]);
}

#[test]
fn links_in_code_are_no_links() {
    let text = "[a](b.md) `[c](d.md)`\n```\n[e](f.md)\n```\n[`g`](h.rs#i)";
    let link = |label: &str, target: &str| (label.to_owned(), target.to_owned());
    assert_eq!(links(text), [link("a", "b.md"), link("`g`", "h.rs#i")]);
    assert_eq!(slug("When the server cannot be reached"), "when-the-server-cannot-be-reached");
    assert_eq!(headings_of("# A\n```\n# b\n```\n## C d"), BTreeSet::from(["A".to_owned(), "C d".to_owned()]));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root").to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pages() -> Vec<PathBuf> {
    let docs = root().join("docs");
    files(&["md"]).into_iter().filter(|path| path.starts_with(&docs) || *path == root().join("README.md")).collect()
}

/// Files of the repository with one of these extensions.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folders of the repository can be read") {
            let path = entry.expect("folders of the repository can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !SKIPPED.contains(&name) {
                folders.push(path);
            } else if extensions.iter().any(|wanted| path.extension().is_some_and(|extension| extension == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Runs of comment lines, each joined to one line.
fn comments(code: &str) -> Vec<String> {
    let (mut runs, mut run) = (Vec::new(), String::new());
    for line in code.lines().chain([""]) {
        match line.trim_start().strip_prefix("//") {
            Some(text) => {
                let text = text.trim_start_matches(['/', '!']).trim();
                run.push_str(if run.is_empty() { "" } else { " " });
                run.push_str(text);
            }
            None if !run.is_empty() => runs.push(std::mem::take(&mut run)),
            None => {}
        }
    }
    runs
}

/// Pages that a comment names, each with the headings in quotes that follow it.
fn references(comment: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in comment.match_indices("docs/") {
        let Some(end) = comment[at..].find(".md") else { continue };
        let page = &comment[at..at + end + 3];
        if page.contains(|c: char| c.is_whitespace() || c == '"') {
            continue;
        }
        let mut rest = comment[at + page.len()..].trim_start_matches('`');
        let mut headings = Vec::new();
        while let Some(quoted) = rest.strip_prefix(", \"").or_else(|| rest.strip_prefix(" and \"")) {
            let Some((heading, after)) = quoted.split_once('"') else { break };
            headings.push(heading.to_owned());
            rest = after;
        }
        found.push((page.to_owned(), headings));
    }
    found
}

/// The lines of a page outside blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

fn headings_of(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim().to_owned());
    prose(text).filter_map(heading).collect()
}

/// How a heading is named in a link.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// `(label, target)` of the links of a page.
fn links(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in prose(text) {
        for (at, _) in line.match_indices("](") {
            let Some((target, _)) = line[at + 2..].split_once(')') else { continue };
            let Some(start) = line[..at].rfind('[') else { continue };
            // An odd number of backticks before it: the link is inside code.
            if line[..start].matches('`').count() % 2 == 0 {
                found.push((line[start + 1..at].to_owned(), target.to_owned()));
            }
        }
    }
    found
}
