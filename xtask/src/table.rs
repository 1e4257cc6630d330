//! Tables on the terminal.

/// Rows under headings: the first column to the left, numbers to the right, two spaces between.
pub(crate) fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let headings = headings.map(str::to_owned);
    let mut widths = [0; COLUMNS];
    for row in rows.iter().chain([&headings]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    [&headings].into_iter().chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

/// Nanoseconds as microseconds with one decimal.
pub(crate) fn micros(nanos: u64) -> String {
    let tenths = nanos.div_ceil(100);
    format!("{}.{} µs", tenths / 10, tenths % 10)
}

/// Nanoseconds as seconds with two decimals.
pub(crate) fn seconds(nanos: u64) -> String {
    let hundredths = nanos.div_ceil(10_000_000);
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

/// A ratio in per mille as a factor with two decimals: 1234 is `1.23x`.
pub(crate) fn factor(permille: u64) -> String {
    format!("{}.{:02}x", permille / 1_000, permille % 1_000 / 10)
}

/// A ratio in per mille as a percentage with one decimal: 354 is `35.4 %`.
pub(crate) fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "12.0 µs".to_owned()], ["longer".to_owned(), "3".to_owned()]];
        assert_eq!(table(["who", "p50"], &rows), "who         p50\na       12.0 µs\nlonger        3");
    }

    #[test]
    fn numbers_have_their_units() {
        assert_eq!(micros(12_345), "12.4 µs");
        assert_eq!(micros(0), "0.0 µs");
        assert_eq!(seconds(12_345_678_901), "12.35 s");
        assert_eq!(seconds(70_000_000), "0.07 s");
        assert_eq!(factor(1_234), "1.23x");
        assert_eq!(factor(12_005), "12.00x");
        assert_eq!(percent(354), "35.4 %");
        assert_eq!(percent(1_007), "100.7 %");
    }
}
