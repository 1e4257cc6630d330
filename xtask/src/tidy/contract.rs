//! Every operation of openapi.yaml is served and tested: its path stands in `server/src/http`, its `operationId` in a
//! test, as the SDKs write it (`record_usage` or `recordUsage`).

use anyhow::Context;
use serde_json::Value;

use super::tree::File;

const ROUTES: &[&str] = &["server/src/http"];
const TESTS: &[&str] = &["server/tests", "sidecar/tests", "sdk-rust/tests", "sdk-wasm/tests"];

pub(crate) fn check(files: &[File]) -> anyhow::Result<Vec<String>> {
    let contract = files.iter().find(|file| file.path == "openapi.yaml").context("openapi.yaml is gone")?;
    let contract: Value = serde_yaml_ng::from_str(&contract.text).context("openapi.yaml")?;
    let mut findings = Vec::new();
    for (path, item) in contract["paths"].as_object().context("openapi.yaml has no paths")? {
        for id in item.as_object().into_iter().flatten().filter_map(|(_, operation)| operation["operationId"].as_str())
        {
            if !any(files, ROUTES, |text| text.contains(&format!("\"{path}\""))) {
                findings.push(format!("openapi.yaml: {id}: route \"{path}\" in {}", ROUTES.join(" or ")));
            }
            let camel = camel_case(id);
            if !any(files, TESTS, |text| has_word(text, id) || has_word(text, &camel)) {
                findings.push(format!("openapi.yaml: {id}: no test names it: write one in {}", TESTS.join(" or ")));
            }
        }
    }
    Ok(findings)
}

fn any(files: &[File], folders: &[&str], accepts: impl Fn(&str) -> bool) -> bool {
    files.iter().any(|file| file.is_in(folders) && accepts(&file.text))
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

fn camel_case(id: &str) -> String {
    let mut words = id.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (head, tail) = word.split_at(word.len().min(1));
        name + &head.to_uppercase() + tail
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(routes: &str, test: &str) -> Vec<String> {
        let contract = "paths: {/v1/usage: {post: {operationId: record_usage}}}";
        let files = [("openapi.yaml", contract), ("server/src/http/routes.rs", routes), ("sdk-wasm/tests/a.mjs", test)];
        let files = files.map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() });
        check(&files).unwrap()
    }

    #[test]
    fn an_operation_is_routed_and_tested() {
        assert!(findings(".route(\"/v1/usage\", post(record))", "await client.recordUsage()").is_empty());
        assert!(findings("\"/v1/usage\"", "record_usage").is_empty());
        assert!(findings("\"/v1/usage/batch\"", "record_usage")[0].contains("route \"/v1/usage\""));
        assert!(findings("\"/v1/usage\"", "recordUsageBatch, record_usage_batch")[0].contains("no test names it"));
    }
}
