//! A plan as `explain (format json)` gives it: what must hold of it, and a form of it that people can compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// What row security adds to every condition.
const OWN_ENVIRONMENT: &str =
    "(environment_id = (NULLIF(current_setting('quotastack.environment_id'::text, true), ''::text))::bigint)";
/// These have a few rows per lane, whatever accounts do.
const TABLES_OF_LANES: [&str; 3] = ["lanes", "worker_leases", "usage_rollup_heads"];
const LINE_MAX: usize = 118;
/// What is shown of a node beside its type and what it reads.
const SHOWN: [&str; 8] = [
    "Index Cond",
    "Filter",
    "Join Filter",
    "Hash Cond",
    "Merge Cond",
    "Sort Key",
    "Conflict Resolution",
    "Conflict Arbiter Indexes",
];

/// The tables that accounts have rows in: those with a lane. A part of a table is known by the table's name.
pub(crate) struct Tables {
    names: BTreeMap<String, String>,
    indexes: BTreeMap<String, Index>,
}

struct Index {
    /// The table of which it is one.
    of: String,
    known_as: String,
}

impl Tables {
    pub(crate) async fn read(owner: &mut PgConnection) -> Self {
        let sql = "select c.relname::text as name, coalesce(whole.relname, c.relname)::text as known_as
                   from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'lane_id'
                   left join pg_inherits part on part.inhrelid = c.oid left join pg_class whole on whole.oid = part.inhparent
                   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname <> all ($1)";
        let rows = sqlx::query(sql).bind(TABLES_OF_LANES).fetch_all(&mut *owner).await.unwrap();
        let names: BTreeMap<String, String> = rows.iter().map(|row| (row.get("name"), row.get("known_as"))).collect();
        assert!(names.len() >= 12, "tables went missing: {names:?}");
        let sql = "select i.relname::text as name, t.relname::text as of, coalesce(whole.relname, i.relname)::text as known_as
                   from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
                   left join pg_inherits part on part.inhrelid = i.oid left join pg_class whole on whole.oid = part.inhparent
                   where t.relnamespace = 'public'::regnamespace";
        let rows = sqlx::query(sql).fetch_all(owner).await.unwrap();
        let index = |row: &sqlx::postgres::PgRow| Index { of: row.get("of"), known_as: row.get("known_as") };
        let indexes = rows.iter().map(|row| (row.get("name"), index(row))).collect();
        Self { names, indexes }
    }

    /// The tables themselves, without their parts.
    pub(crate) fn whole(&self) -> BTreeSet<&str> {
        self.names.values().map(String::as_str).collect()
    }

    /// What holds rows: tables and parts of tables.
    pub(crate) async fn with_rows(&self, owner: &mut PgConnection) -> Vec<&str> {
        let mut found = Vec::new();
        for name in self.names.keys() {
            let sql = format!("select pg_relation_size('{name}') > 0");
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *owner).await.unwrap() {
                found.push(name.as_str());
            }
        }
        found
    }

    /// The table with a lane that a node reads, if it reads one.
    fn read_by(&self, node: &Value) -> Option<&str> {
        let named = node["Relation Name"].as_str();
        let by_index = || node["Index Name"].as_str().and_then(|index| Some(self.indexes.get(index)?.of.as_str()));
        self.names.get(named.or_else(by_index)?).map(String::as_str)
    }

    /// What of a plan reads a table with a lane in another way than by its lane.
    pub(crate) fn faults(&self, plan: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        walk(plan, &mut |node| {
            let Some(table) = self.read_by(node) else { return };
            let by_lane = node["Index Cond"].as_str().is_some_and(|condition| condition.contains("lane_id"));
            match node["Node Type"].as_str().unwrap() {
                "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" if by_lane => {}
                // What it reads was found by the index scan below it; what it writes is one row.
                "Bitmap Heap Scan" | "ModifyTable" => {}
                kind => {
                    let (index, condition) = (&node["Index Name"], &node["Index Cond"]);
                    faults.push(format!("{kind} of {table}: index {index}, by {condition}"));
                }
            }
        });
        faults
    }

    /// The first table with a lane that a plan names.
    pub(crate) fn first_used_by(&self, plan: &Value) -> Option<&str> {
        let mut first = None;
        walk(plan, &mut |node| first = first.or(self.read_by(node)));
        first
    }

    /// The plan without costs and without what row security adds, a line per node and condition. Parts of a table that
    /// are read in the same way are shown once: which ones they are may depend on the day.
    pub(crate) fn readable(&self, plan: &Value) -> String {
        self.readable_below(plan, 1)
    }

    fn readable_below(&self, node: &Value, depth: usize) -> String {
        let indent = "  ".repeat(depth);
        let word = |name: &str| node[name].as_str();
        let kind = word("Operation").unwrap_or_else(|| word("Node Type").unwrap());
        let mut text = format!("{indent}-> {kind}");
        if let Some(index) = word("Index Name") {
            write!(text, " using {}", self.indexes.get(index).map_or(index, |index| &index.known_as)).unwrap();
        }
        let table = word("Relation Name").map(|name| (name, self.names.get(name).map_or(name, String::as_str)));
        if let Some((_, known_as)) = table {
            write!(text, " on {known_as}").unwrap();
        }
        let is_part = table.is_some_and(|(name, known_as)| name != known_as);
        if let Some(alias) = word("Alias").filter(|alias| !is_part && word("Relation Name") != Some(*alias)) {
            write!(text, " as {alias}").unwrap();
        }
        text.push('\n');
        for name in SHOWN {
            let value = match &node[name] {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
                other => other.to_string(),
            };
            let value = value.replace(&format!(" AND {OWN_ENVIRONMENT}"), "").replace(OWN_ENVIRONMENT, "");
            if !value.is_empty() {
                writeln!(text, "{indent}     {name}: {value}").unwrap();
            }
        }
        let below = node["Plans"].as_array().into_iter().flatten();
        let mut below: Vec<String> = below.map(|below| self.readable_below(below, depth + 1)).collect();
        if kind == "Append" {
            below.sort();
        }
        below.dedup();
        text + &below.concat()
    }
}

fn walk(node: &Value, see: &mut impl FnMut(&Value)) {
    see(node);
    for below in node["Plans"].as_array().into_iter().flatten() {
        walk(below, see);
    }
}

/// A statement in lines of a readable length.
pub(crate) fn wrapped(statement: &str) -> String {
    let mut lines = vec![String::new()];
    for word in statement.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= LINE_MAX {
            write!(line, " {word}").unwrap();
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines.join("\n")
}
