//! What openapi.yaml must keep to, so that a mistake is a sentence here and not a panic of the generator.

use std::collections::BTreeSet;

use serde_json::Value;

use super::contract::{is_service, operations, reachable, resolve, walk};

/// Keywords that the generator ignores or refuses.
const FORBIDDEN: [&str; 6] = ["allOf", "anyOf", "discriminator", "explode", "not", "style"];

/// Every violation, one sentence each.
pub(crate) fn lint(document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if !document["openapi"].as_str().is_some_and(|version| version.starts_with("3.0.")) {
        problems.push("`openapi` must be 3.0.x; the generator refuses 3.1".to_owned());
    }
    keywords(document, &mut problems);
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(document) {
        let name = operation["operationId"].as_str().unwrap_or_default();
        let place = format!("{} {path}", method.to_uppercase());
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            problems.push(format!("{place}: `operationId` must be snake_case"));
        }
        if !ids.insert(name) {
            problems.push(format!("{place}: the operationId `{name}` is taken"));
        }
        let mut report = |problem: String| problems.push(format!("{name}: {problem}"));
        texts(operation, &mut report);
        if !is_service(operation) {
            parameters(document, operation, &mut report);
            responses(document, operation, &mut report);
            error_codes(document, operation, &mut report);
        }
    }
    openness(document, &mut problems);
    problems
}

fn keywords(document: &Value, problems: &mut Vec<String>) {
    let mut found = BTreeSet::new();
    walk(document, &mut |node| {
        if let Value::Object(fields) = node {
            found.extend(FORBIDDEN.into_iter().filter(|keyword| fields.contains_key(*keyword)));
            if let Some(reference) = fields.get("$ref")
                && resolve(document, node).is_none()
            {
                problems.push(format!("the reference {reference} leads nowhere"));
            }
        }
    });
    problems.extend(found.into_iter().map(|keyword| format!("`{keyword}` is not understood by the generator")));
}

fn texts(operation: &Value, report: &mut impl FnMut(String)) {
    for field in ["summary", "description"] {
        if operation[field].as_str().is_none_or(str::is_empty) {
            report(format!("`{field}` is missing"));
        }
    }
    if !operation["x-scopes"].is_array() {
        report("`x-scopes` is missing ([] = no key needed)".to_owned());
    }
}

fn parameters(document: &Value, operation: &Value, report: &mut impl FnMut(String)) {
    let mut takes_key = false;
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let Some(parameter) = resolve(document, parameter) else { continue };
        let name = parameter["name"].as_str().unwrap_or("?");
        takes_key |= name == "Idempotency-Key";
        if !matches!(parameter["in"].as_str(), Some("path" | "query" | "header")) {
            report(format!("the parameter `{name}` must be in path, query or header"));
        }
        if parameter.get("description").is_none() || parameter.get("example").is_none() {
            report(format!("the parameter `{name}` needs a description and an example"));
        }
    }
    let writes = operation["x-scopes"]
        .as_array()
        .is_some_and(|scopes| scopes.iter().filter_map(Value::as_str).any(|scope| scope.ends_with(":write")));
    if writes != takes_key {
        report("every mutation, and nothing else, takes the parameter IdempotencyKey".to_owned());
    }
    if let Some(body) = operation.get("requestBody") {
        let json = &body["content"]["application/json"];
        if json["schema"].get("$ref").is_none() || json.get("example").is_none() {
            report("the request body must be application/json with a named schema and an example".to_owned());
        }
    }
}

fn responses(document: &Value, operation: &Value, report: &mut impl FnMut(String)) {
    let mut successes = 0;
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let content = resolve(document, response).map_or(&Value::Null, |response| &response["content"]);
        if status.starts_with('2') {
            successes += 1;
            let json = &content["application/json"];
            if json["schema"].get("$ref").is_none() || json.get("example").is_none() {
                report(format!("response {status} must be application/json with a named schema and an example"));
            }
        } else if !status.starts_with(['4', '5']) {
            report(format!("response {status} is not understood: one 2xx, and errors by status"));
        } else if content["application/problem+json"]["schema"]["$ref"] != "#/components/schemas/Problem" {
            report(format!("response {status} must be application/problem+json with the schema Problem"));
        }
    }
    if successes != 1 {
        report(format!("{successes} successful responses; the generator takes exactly one"));
    }
}

fn error_codes(document: &Value, operation: &Value, report: &mut impl FnMut(String)) {
    for code in operation["x-error-codes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        match document["x-error-codes"][code]["status"].as_u64() {
            None => report(format!("the code `{code}` is not in the table `x-error-codes`")),
            Some(status) if operation["responses"].get(status.to_string()).is_none() => {
                report(format!("the code `{code}` needs a response {status}"));
            }
            Some(_) => {}
        }
    }
}

/// Schemas of requests are closed, those of answers are open, and no object is both: a typo in a request is never
/// silent, and an old client reads a newer answer.
fn openness(document: &Value, problems: &mut Vec<String>) {
    let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (_, _, operation) in operations(document) {
        reachable(document, &operation["requestBody"], &mut asked);
        for response in operation["responses"].as_object().into_iter().flat_map(|all| all.values()) {
            if let Some(response) = resolve(document, response) {
                reachable(document, response, &mut answered);
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        if schema.get("properties").is_none() {
            continue;
        }
        let closed = schema["additionalProperties"] == Value::Bool(false);
        match (asked.contains(name.as_str()), answered.contains(name.as_str())) {
            (true, true) => problems.push(format!("{name}: used in requests and answers; make it two schemas")),
            (true, false) if !closed => problems.push(format!("{name}: a request needs additionalProperties: false")),
            (false, true) if closed => problems.push(format!("{name}: an answer must stay open for new fields")),
            (false, false) => problems.push(format!("{name}: nothing uses it")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::contract;

    #[test]
    fn the_contract_keeps_the_rules() {
        assert_eq!(lint(&contract::read().unwrap()), Vec::<String>::new());
    }

    fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut document = contract::read().unwrap();
        change(&mut document);
        lint(&document)
    }

    #[test]
    fn each_violation_is_a_sentence() {
        let usage = "/paths/~1v1~1usage/post";
        let cases: [(&str, &str, Value); 7] = [
            ("/openapi", "3.0.x", "3.1.0".into()),
            (&format!("{usage}/operationId"), "`create_grant` is taken", "create_grant".into()),
            (&format!("{usage}/x-scopes"), "nothing else, takes the parameter", serde_json::json!(["usage:read"])),
            (&format!("{usage}/x-error-codes"), "is not in the table", serde_json::json!(["no_such_code"])),
            (&format!("{usage}/responses/409/$ref"), "leads nowhere", "#/components/responses/Nothing".into()),
            ("/components/schemas/RecordUsage/additionalProperties", "a request needs", true.into()),
            (&format!("{usage}/description"), "`description` is missing", "".into()),
        ];
        for (pointer, sentence, value) in cases {
            let problems = after(|document| *document.pointer_mut(pointer).expect(pointer) = value);
            assert!(problems.iter().any(|problem| problem.contains(sentence)), "{pointer}: {problems:?}");
        }
    }
}
