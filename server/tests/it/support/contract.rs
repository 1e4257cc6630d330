//! openapi.yaml as tests see it: its operations, requests made of its examples, and a check of answers.

use std::sync::OnceLock;

use serde_json::Value;

use super::client::Answer;

/// The contract.
pub(crate) struct Contract {
    document: Value,
    pub(crate) operations: Vec<Operation>,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    /// In upper case.
    pub(crate) method: String,
    /// With `{name}` for what is filled in.
    pub(crate) path: String,
    pub(crate) scopes: Vec<String>,
    /// The example of its body.
    pub(crate) body: Option<Value>,
    parameters: Vec<Value>,
    responses: Value,
}

impl Contract {
    pub(crate) fn get() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            let document: Value = serde_yaml_ng::from_str(include_str!("../../../../openapi.yaml")).unwrap();
            let operations = operations_of(&document);
            Self { document, operations }
        })
    }

    pub(crate) fn operation(&self, id: &str) -> &Operation {
        self.operations.iter().find(|operation| operation.id == id).unwrap()
    }

    /// The operation of a request, if there is one.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<&Operation> {
        let path = path.split('?').next().unwrap();
        let fits = |operation: &&Operation| operation.method == method && is_path_of(path, &operation.path);
        // A path without parameters comes before one with.
        self.operations.iter().filter(fits).min_by_key(|operation| operation.path.contains('{'))
    }

    /// Whether the answer is one that the contract names for the request. What it does not know is not checked.
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) -> Result<(), String> {
        let Some(operation) = self.find(method, path) else { return Ok(()) };
        let response = &operation.responses[answer.status.to_string()];
        let response = self.resolve(response);
        if response.is_null() {
            return Err(format!("{} has no status {}", operation.id, answer.status));
        }
        let media_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap();
        let content = &response["content"][media_type];
        if content.is_null() {
            return Err(format!("{} has no content of type {media_type:?}", operation.id));
        }
        if media_type.ends_with("json") { self.check_value(&content["schema"], &answer.json, "") } else { Ok(()) }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    fn check_value(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.resolve(schema);
        if value.is_null() && schema["nullable"] == true {
            return Ok(());
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices.iter().any(|choice| self.check_value(choice, value, at).is_ok());
            return if fits { Ok(()) } else { Err(format!("{at}: {value} is none of {schema}")) };
        }
        let fits = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            _ => true,
        };
        let listed = schema["enum"].as_array().is_none_or(|values| values.contains(value));
        if !fits || !listed {
            return Err(format!("{at}: {value} is not {schema}"));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(name) {
                self.check_value(schema, value, &format!("{at}/{name}"))?;
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (index, value) in values.iter().enumerate() {
                self.check_value(items, value, &format!("{at}/{index}"))?;
            }
        }
        Ok(())
    }
}

impl Operation {
    /// Whether it needs a key.
    pub(crate) fn is_secured(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Its path with query, of the examples of its parameters; `fill` may have other values for them.
    pub(crate) fn example_path(&self, fill: impl Fn(&str) -> Option<String>) -> String {
        let mut path = self.path.clone();
        let mut query = Vec::new();
        for parameter in &self.parameters {
            let name = parameter["name"].as_str().unwrap();
            let example = match &parameter["example"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let value = fill(name).unwrap_or(example);
            match parameter["in"].as_str().unwrap() {
                "path" => path = path.replace(&format!("{{{name}}}"), &value),
                "query" if parameter["required"] == true => query.push(format!("{name}={value}")),
                _ => {}
            }
        }
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }
}

fn operations_of(document: &Value) -> Vec<Operation> {
    let resolve = |value: &Value| match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => value.clone(),
    };
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let scopes = operation["x-scopes"].as_array().unwrap().iter();
            let body = &operation["requestBody"]["content"]["application/json"]["example"];
            operations.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                scopes: scopes.map(|scope| scope.as_str().unwrap().to_owned()).collect(),
                body: (!body.is_null()).then(|| body.clone()),
                parameters: operation["parameters"].as_array().into_iter().flatten().map(resolve).collect(),
                responses: operation["responses"].clone(),
            });
        }
    }
    operations
}

fn is_path_of(path: &str, pattern: &str) -> bool {
    let (path, pattern): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), pattern.split('/').collect());
    path.len() == pattern.len()
        && path.iter().zip(pattern).all(|(part, pattern)| pattern.starts_with('{') || *part == pattern)
}
