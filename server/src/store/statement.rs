//! One statement out of many: what a batch writes goes to Postgres in a single round trip, each table's part as a
//! data-modifying `with` query. All of it is one statement with one snapshot, so no two parts may touch the same row.

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Postgres, Type};

/// The parameters that all parts have: `$1` the lane, `$2` the environment.
const SHARED: usize = 2;

/// A statement that grows by parts.
pub(super) struct Statement {
    sql: String,
    arguments: PgArguments,
    parts: usize,
    /// Parts whose rows were read before under the same lock: each of them must be there.
    updates: Vec<Update>,
}

struct Update {
    part: usize,
    table: &'static str,
    rows: usize,
}

impl Statement {
    /// An empty one for a lane.
    pub(super) fn new(lane_id: i64, environment_id: i64) -> Self {
        let mut statement =
            Self { sql: String::from("with "), arguments: PgArguments::default(), parts: 0, updates: Vec::new() };
        statement.bind(lane_id).bind(environment_id);
        statement
    }

    /// Adds a part. Its own parameters count from `$3` on and are bound right after, in order.
    pub(super) fn part(&mut self, sql: &str) -> &mut Self {
        self.push(sql, "");
        self
    }

    /// Adds an update of so many rows that must all be there.
    pub(super) fn update(&mut self, table: &'static str, rows: usize, sql: &str) -> &mut Self {
        self.updates.push(Update { part: self.parts, table, rows });
        self.push(sql, " returning 1");
        self
    }

    fn push(&mut self, sql: &str, suffix: &str) {
        let separator = if self.parts == 0 { "" } else { ",\n" };
        let bound = self.arguments.len() - SHARED;
        self.sql.push_str(&format!("{separator}p{} as (", self.parts));
        push_shifted(&mut self.sql, sql, bound);
        self.sql.push_str(suffix);
        self.sql.push(')');
        self.parts += 1;
    }

    /// Binds the next parameter of the last part.
    pub(super) fn bind<'t, T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'t, Postgres> + Type<Postgres>,
    {
        self.arguments.add(value).expect("numbers, texts, bytes and instants can be encoded");
        self
    }

    /// Runs all parts.
    pub(super) async fn execute(mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let counts = self.updates.iter().map(|update| format!("(select count(*) from p{})", update.part));
        self.sql.push_str(&format!("\nselect array[{}]::bigint[]", counts.collect::<Vec<_>>().join(", ")));
        // Nothing of a caller is in the text: parts are fixed, numbers are ours.
        let found: Vec<i64> =
            sqlx::query_scalar_with(AssertSqlSafe(self.sql), self.arguments).fetch_one(connection).await?;
        for (Update { table, rows, .. }, found) in self.updates.iter().zip(found) {
            if usize::try_from(found) != Ok(*rows) {
                // Who reads them again sees what became of the others.
                return Err(sqlx::Error::Protocol(format!("{found} of {rows} {table} are as they were read")));
            }
        }
        Ok(())
    }
}

/// Appends `sql` with the numbers of its own parameters raised by `by`.
fn push_shifted(to: &mut String, sql: &str, by: usize) {
    let mut pieces = sql.split('$');
    to.push_str(pieces.next().expect("splitting gives at least one piece"));
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = piece[..digits].parse().expect("a dollar begins a parameter");
        let number = if number > SHARED { number + by } else { number };
        to.push_str(&format!("${number}{}", &piece[digits..]));
    }
}

#[cfg(test)]
mod tests {
    use super::push_shifted;

    #[test]
    fn own_parameters_are_renumbered_and_shared_ones_are_not() {
        let mut sql = String::new();
        push_shifted(&mut sql, "insert into t select $1, $2, a from unnest($3::uuid[], $12::text[]) as t (a)", 20);
        assert_eq!(sql, "insert into t select $1, $2, a from unnest($23::uuid[], $32::text[]) as t (a)");
    }
}
