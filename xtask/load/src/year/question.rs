//! A summary that is asked for: as a request, and as the aggregate over all events that it stands for.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// The most lines that a page may have.
const PAGE_LINES: usize = 1_000;

/// The aggregate over the events of a range, told apart by `$key`, which is written as `$name`. Planned for what it is
/// given, as a person's query would be.
macro_rules! aggregate {
    ($key:literal, $name:literal) => {
        concat!(
            r#"select to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), "#,
            $name,
            ", events, units, cost from (
               select date_trunc($1, effective_at, 'UTC') as bucket, ",
            $key,
            " as key, count(*) as events, sum(units)::bigint as units, sum(charged)::bigint as cost
               from usage_events
               where lane_id = any ($2) and effective_at >= $3::text::timestamptz and effective_at < $4::text::timestamptz
                 and ($5::uuid is null or account_id = $5) and ($6::text is null or feature_key = $6)
               group by 1, 2) as sums"
        )
    };
}

/// What lines are told apart by, beside their bucket.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum GroupBy {
    Feature,
    EndUser,
    Property,
}

#[derive(clap::Args)]
pub(super) struct Question {
    /// From this `effective_at`, RFC 3339,
    #[arg(long)]
    from: String,
    /// before this one.
    #[arg(long)]
    to: String,
    /// `hour`, `day` or `month`.
    #[arg(long)]
    bucket: String,
    #[arg(long)]
    group_by: GroupBy,
    /// Of this end user only.
    #[arg(long)]
    pub(super) end_user_id: Option<String>,
    /// The feature whose usage is summed by its property.
    #[arg(long)]
    summary_feature: String,
}

/// A bucket's first instant and whose or which.
type Place = (String, String);
/// Events, units and cost of each.
pub(super) type Lines = BTreeMap<Place, [i64; 3]>;

impl Question {
    /// Path and query of the first page, or of the one that a cursor leads to.
    pub(super) fn path(&self, cursor: Option<&str>) -> String {
        let Self { from, to, bucket, .. } = self;
        let mut path = format!("/v1/usage/summary?from={from}&to={to}&bucket={bucket}&limit={PAGE_LINES}&group_by=");
        path += match self.group_by {
            GroupBy::Feature => "feature",
            GroupBy::EndUser => "end_user",
            GroupBy::Property => "property&property=model",
        };
        for (name, value) in [("end_user_id", self.end_user_id.as_deref()), ("cursor", cursor)] {
            path.extend(value.map(|value| format!("&{name}={value}")));
        }
        path
    }

    /// Adds the lines of an answer; its cursor, if there are more.
    pub(super) fn read(&self, answer: &[u8], lines: &mut Lines) -> anyhow::Result<Option<String>> {
        let answer: Value = serde_json::from_slice(answer)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        for line in answer["data"].as_array().context("no lines in the answer")? {
            let key = match self.group_by {
                GroupBy::Feature => &line["feature_key"],
                GroupBy::EndUser => &line["end_user_id"],
                GroupBy::Property => &line["property_value"],
            };
            let place = text(&line["bucket_start"]).zip(text(key)).with_context(|| format!("a line {line}"))?;
            let sum = |name: &str| line[name].as_i64().with_context(|| format!("no {name} in {line}"));
            let sums = [sum("events")?, sum("units")?, sum("cost")?];
            anyhow::ensure!(lines.insert(place, sums).is_none(), "{line} was told before");
        }
        Ok(text(&answer["next_cursor"]))
    }

    /// The same lines, added up from the events themselves.
    pub(super) async fn add_up(&self, connection: &mut PgConnection) -> anyhow::Result<Lines> {
        let account: Option<Uuid> = sqlx::query_scalar("select account_id from accounts where end_user_id = $1")
            .bind(&self.end_user_id)
            .fetch_optional(&mut *connection)
            .await?;
        let lanes: Vec<i64> = sqlx::query_scalar(
            "select lane_id from lanes join environments using (environment_id) where environment = 'live'",
        )
        .fetch_all(&mut *connection)
        .await?;
        let (aggregate, feature_key) = match self.group_by {
            GroupBy::Feature => (aggregate!("feature_key", "key"), None),
            GroupBy::EndUser => {
                let name = aggregate!(
                    "account_id",
                    "(select end_user_id from accounts where lane_id = any ($2) and account_id = key)"
                );
                (name, None)
            }
            GroupBy::Property => (aggregate!("properties ->> 'model'", "key"), Some(&self.summary_feature)),
        };
        let rows = sqlx::query(aggregate)
            .bind(&self.bucket)
            .bind(lanes)
            .bind(&self.from)
            .bind(&self.to)
            .bind(account)
            .bind(feature_key)
            .fetch_all(connection)
            .await?;
        let line = |row: &PgRow| -> sqlx::Result<_> {
            Ok(((row.try_get(0)?, row.try_get(1)?), [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?]))
        };
        Ok(rows.iter().map(line).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(group_by: GroupBy) -> Question {
        let text = str::to_owned;
        Question {
            from: text("a"),
            to: text("b"),
            bucket: text("day"),
            group_by,
            end_user_id: Some(text("u")),
            summary_feature: text("f"),
        }
    }

    #[test]
    fn a_line_has_the_key_of_its_grouping_and_is_told_once() {
        let answer = br#"{"data": [{"bucket_start": "t", "feature_key": "f", "end_user_id": "u", "property_value": "v",
            "events": 1, "units": 2, "cost": 3}], "next_cursor": "c"}"#;
        for (group_by, key) in [(GroupBy::Feature, "f"), (GroupBy::EndUser, "u"), (GroupBy::Property, "v")] {
            let mut lines = Lines::new();
            assert_eq!(question(group_by).read(answer, &mut lines).unwrap().as_deref(), Some("c"));
            assert_eq!(lines, Lines::from([(("t".to_owned(), key.to_owned()), [1, 2, 3])]));
            assert!(question(group_by).read(answer, &mut lines).is_err());
        }
    }

    #[test]
    fn a_page_goes_on_behind_the_one_before() {
        let path = question(GroupBy::Property).path(Some("c"));
        assert!(path.ends_with("&group_by=property&property=model&end_user_id=u&cursor=c"), "{path}");
    }
}
