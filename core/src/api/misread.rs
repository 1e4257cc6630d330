//! What a caller is told about a body or a query that cannot be read: where, and what belongs there.
//!
//! serde says it in its own words, with names of our types and positions in the text. Source: docs/api.md, "Errors".

use std::fmt::Write;

use serde_path_to_error::{Path, Segment};

use crate::api::problem::Problem;

/// About the body, at `path` in it.
pub(super) fn in_body(path: &Path, error: &serde_json::Error) -> Problem {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => write!(pointer, "/{index}").expect("a text takes everything"),
            Segment::Map { key } => add_name(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let told = told(message.strip_suffix(&position).unwrap_or(&message));
    if let Some(name) = told.field {
        add_name(&mut pointer, name);
    }
    Problem::invalid(pointer, told.detail)
}

/// About a query string, whose parameter `path` names; `message` is what serde says.
pub fn in_query(path: &Path, message: &str) -> Problem {
    let told = told(message);
    let named = path.iter().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    match told.field.or(named) {
        Some(name) => Problem::invalid(format!("query:{name}"), told.detail),
        None => Problem::invalid("query", told.detail),
    }
}

/// A name in a JSON pointer (RFC 6901).
fn add_name(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

struct Told<'a> {
    /// The field that is meant, where it stands in the message alone.
    field: Option<&'a str>,
    detail: String,
}

fn told(message: &str) -> Told<'_> {
    let here = |detail: String| Told { field: None, detail };
    let quoted = |text: &'static str| message.strip_prefix(text).and_then(|rest| rest.strip_suffix('`'));
    if let Some(name) = quoted("missing field `") {
        return Told { field: Some(name), detail: "is required".to_owned() };
    }
    if let Some(name) = quoted("duplicate field `") {
        return Told { field: Some(name), detail: "give it once".to_owned() };
    }
    if message.starts_with("unknown field `") {
        return here(match expected(message) {
            Some((_, names)) => format!("is not known here; known are {}", names.trim_start_matches("one of ")),
            None => "is not known here; nothing is".to_owned(),
        });
    }
    match (expected(message), message.split_once(':')) {
        (Some((_, names)), _) if message.starts_with("unknown variant `") => here(format!("must be {names}")),
        (Some((_, wanted)), Some(("invalid value", _))) if is_integer(wanted) => here(OUT_OF_RANGE.to_owned()),
        (Some((found, wanted)), Some(("invalid type" | "invalid value", _))) => {
            let found = found.split_once(": ").map_or(found, |(_, found)| found);
            here(format!("must be {}, not {}", kind_of(wanted), what_of(found)))
        }
        _ => here(of_query(message).unwrap_or(message).to_owned()),
    }
}

const OUT_OF_RANGE: &str = "the number is out of range";

/// What was found and what was expected instead. What was found may hold anything, so the last mark counts.
fn expected(message: &str) -> Option<(&str, &str)> {
    message.rsplit_once(", expected ")
}

fn is_integer(wanted: &str) -> bool {
    matches!(wanted, "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize")
}

/// What serde expects, without the names of our types.
fn kind_of(wanted: &str) -> &str {
    match wanted {
        "a map" => "an object",
        "a sequence" => "an array",
        _ if wanted.starts_with("struct ") => "an object",
        _ if is_integer(wanted) => "an integer",
        _ => wanted,
    }
}

/// What serde found, without what it says: that may be long.
fn what_of(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    match kind {
        "floating" => format!("the number {}", value.trim_start_matches("point ").trim_matches('`')),
        "integer" => format!("the number {}", value.trim_matches('`')),
        "boolean" => value.trim_matches('`').to_owned(),
        "string" => "a string".to_owned(),
        "sequence" => "an array".to_owned(),
        "map" => "an object".to_owned(),
        _ => found.to_owned(),
    }
}

/// What is said of numbers and of values of a query.
fn of_query(message: &str) -> Option<&'static str> {
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => Some("must be an integer"),
        "number too large to fit in target type" | "number too small to fit in target type" | "number out of range" => {
            Some(OUT_OF_RANGE)
        }
        "provided string was not `true` or `false`" => Some("must be true or false"),
        _ => None,
    }
}
