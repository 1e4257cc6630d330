//! Reading openapi.yaml as a JSON tree, and walking it.

use anyhow::Context;
use serde_json::Value;

use crate::paths;

/// The methods an operation may have.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The contract, as it is served.
pub(crate) fn read() -> anyhow::Result<Value> {
    let path = paths::root().join("openapi.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml_ng::from_str(&text).context("openapi.yaml is not valid YAML")
}

/// Every operation as (path, method, operation).
pub(crate) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| Some((path.as_str(), method, item.get(method)?)))
    })
}

/// What a `$ref` of this document leads to; anything else is itself.
pub(crate) fn resolve<'a>(document: &'a Value, node: &'a Value) -> Option<&'a Value> {
    match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(reference.strip_prefix('#')?),
        None => Some(node),
    }
}

/// The name of the schema that a `$ref` leads to.
pub(crate) fn schema_name(node: &Value) -> Option<&str> {
    node.get("$ref")?.as_str()?.strip_prefix("#/components/schemas/")
}

/// Whether an operation is for operators: not part of the SDKs.
pub(crate) fn is_service(operation: &Value) -> bool {
    operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "service"))
}

/// Calls `visit` with every node of a tree, parents first.
pub(crate) fn walk<'a>(node: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(node);
    match node {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

/// The names of all schemas that can be reached from `node`, in no particular order.
pub(crate) fn reachable<'a>(document: &'a Value, node: &'a Value, names: &mut std::collections::BTreeSet<&'a str>) {
    let mut found = Vec::new();
    walk(node, &mut |child| found.extend(schema_name(child)));
    for name in found {
        if names.insert(name) {
            reachable(document, &document["components"]["schemas"][name], names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The facade is written by hand; an operation that it lacks would be missed by nobody else.
    #[test]
    fn every_operation_is_a_method_in_javascript() {
        let file = |path: &str| std::fs::read_to_string(paths::root().join("sdk-wasm").join(path)).unwrap();
        let (core, facade, types) = (file("src/operations.rs"), file("js/client.js"), file("js/index.d.ts"));
        for (_, _, operation) in operations(&read().unwrap()).filter(|(_, _, operation)| !is_service(operation)) {
            let id = operation["operationId"].as_str().unwrap();
            let mut words = id.split('_').map(str::to_owned);
            let first = words.next().unwrap();
            let method = words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..]);
            // A long list of arguments is broken into lines, also within braces.
            let core: String = core.split_whitespace().collect();
            let calls = [format!("\"{id}\"=>send!(api.{id},"), format!("\"{id}\"=>{{send!(api.{id},")];
            assert!(calls.iter().any(|call| core.contains(call)), "src/operations.rs lacks {id}");
            assert!(facade.contains(&format!("#call(\"{id}\"")), "js/client.js lacks {id}");
            assert!(facade.contains(&format!("  {method}(")), "js/client.js lacks {method}");
            assert!(types.contains(&format!("  {method}(")), "js/index.d.ts lacks {method}");
        }
    }
}
