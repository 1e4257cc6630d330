//! The contract as the client's generator sees it.
//!
//! The server validates, so the client carries no patterns, limits or defaults: it sends what the caller gave, and
//! a default is decided in one place, and `null` is sent as absent, which means the same. Answers lose their
//! `enum`s, so that an old client reads a new value. Errors become JSON with one type.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::contract::{is_service, operations, reachable, resolve, schema_name};

/// Keywords that only a validating server or a reader of the document needs.
const STRIPPED: [&str; 16] = [
    "default",
    "example",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "headers",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "uniqueItems",
];

/// The prepared document.
pub(crate) fn prepare(contract: &Value) -> Value {
    let mut document = contract.clone();
    document["info"]["description"] = Value::Null;
    drop_service(&mut document);
    merge_errors(&mut document);
    inline_plain_schemas(contract, &mut document["paths"]);
    inline_plain_schemas(contract, &mut document["components"]);
    let answers = answer_schemas(contract);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|_, schema| schema.get("properties").is_some());
        for (name, schema) in schemas {
            drop_keyword(schema, "nullable");
            for property in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                if answers.contains(name) {
                    drop_keyword(property, "enum");
                    nullable_reference(contract, property);
                } else {
                    drop_keyword(property, "nullable");
                }
            }
        }
    }
    strip(&mut document["paths"], false);
    strip(&mut document["components"], false);
    document
}

fn drop_service(document: &mut Value) {
    let paths = document["paths"].as_object_mut().expect("the lint saw paths");
    paths.retain(|_, item| {
        item.as_object().is_some_and(|methods| methods.values().any(|operation| !is_service(operation)))
    });
}

/// One type for all errors: the generator takes no second one, and no `problem+json`.
fn merge_errors(document: &mut Value) {
    let problem = json!({
        "description": "An error.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let responses = operation["responses"].as_object_mut().expect("the lint saw responses");
            responses.retain(|status, _| status.starts_with('2'));
            responses.insert("4XX".to_owned(), problem.clone());
            responses.insert("5XX".to_owned(), problem.clone());
        }
    }
    document["components"].as_object_mut().expect("the lint saw components").remove("responses");
}

/// A named string or map would become a type of its own in the client; there it is a plain string or map.
fn inline_plain_schemas(contract: &Value, node: &mut Value) {
    if schema_name(node).is_some() {
        let target = resolve(contract, node).expect("the lint followed every reference");
        if target.get("properties").is_none() {
            *node = target.clone();
        }
    }
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| inline_plain_schemas(contract, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| inline_plain_schemas(contract, field)),
        _ => {}
    }
}

fn answer_schemas(contract: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, _, operation) in operations(contract) {
        for response in operation["responses"].as_object().into_iter().flat_map(Map::values) {
            reachable(contract, resolve(contract, response).unwrap_or(&Value::Null), &mut names);
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

/// A reference to a nullable schema, in the form that the generator reads as `Option`.
fn nullable_reference(contract: &Value, property: &mut Value) {
    if schema_name(property).is_some() && resolve(contract, property).is_some_and(|target| target["nullable"] == true) {
        *property = json!({"nullable": true, "allOf": [property.clone()]});
    }
}

fn drop_keyword(schema: &mut Value, keyword: &str) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove(keyword);
    }
}

/// Removes keywords; `names` says that the keys of this object are names of properties, not keywords.
fn strip(node: &mut Value, names: bool) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, false)),
        Value::Object(fields) => {
            if !names {
                fields.retain(|key, value| !is_stripped(key, value));
                // An enum of one `null` or one boolean only says that a field has no other value yet.
                if fields.get("enum").is_some_and(|values| values[0].is_null() || values[0].is_boolean()) {
                    fields.remove("enum");
                }
            }
            for (key, value) in fields {
                strip(value, !names && key == "properties");
            }
        }
        _ => {}
    }
}

fn is_stripped(key: &str, value: &Value) -> bool {
    STRIPPED.contains(&key)
        || key.starts_with("x-")
        || (key == "format" && !matches!(value.as_str(), Some("int32" | "int64")))
}
