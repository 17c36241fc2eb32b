//! Plain tables: columns as wide as they must be, no lines around them, easy to `grep` and `awk`.

use std::fmt;

use serde_json::Value;

/// The widest that one cell is drawn. Longer texts are cut and end in `…`; `--output json` has them whole.
const CELL_CHARS_MAX: usize = 60;

/// On which side of its column a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
    /// Sentences in the last column, which are never cut.
    Whole,
}

/// Rows under headings.
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, align)| (name.into(), align)).collect(), rows: Vec::new() }
    }

    /// Adds a row. It has as many cells as there are columns.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        let draw = |(cell, (_, align)): (&String, &(String, Align))| match align {
            Align::Whole => tame(cell),
            Align::Left | Align::Right => shorten(cell),
        };
        let row = cells.iter().zip(&self.columns).map(draw).collect();
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| name.to_uppercase()).collect();
        for (number, row) in [&headings].into_iter().chain(&self.rows).enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let mut line = String::new();
            for (column, text) in row.iter().enumerate() {
                let width = widths[column];
                if column > 0 {
                    line.push_str("  ");
                }
                match self.columns[column].1 {
                    Align::Left | Align::Whole => line.push_str(&format!("{text:<width$}")),
                    Align::Right => line.push_str(&format!("{text:>width$}")),
                }
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

/// A JSON value as the text of a cell: nothing for null and missing, texts without quotes.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// One line, without control characters that could move the cursor.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same, not too long.
fn shorten(text: &str) -> String {
    let mut short: String = tame(text).chars().take(CELL_CHARS_MAX + 1).collect();
    if short.chars().count() > CELL_CHARS_MAX {
        short = short.chars().take(CELL_CHARS_MAX - 1).collect();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("id", Align::Right), ("role", Align::Left), ("lag", Align::Right)]);
        table.row(["1", "leader", ""]);
        table.row(["12", "follower", "1,024"]);
        let expected = ["ID  ROLE        LAG", " 1  leader", "12  follower  1,024"].join("\n");
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn an_empty_table_has_headings() {
        assert_eq!(Table::new([("name", Align::Left)]).to_string(), "NAME");
    }

    #[test]
    fn long_and_unruly_cells_are_tamed() {
        let mut table = Table::new([("a", Align::Left)]);
        table.row(["x".repeat(500)]);
        table.row(["one\ntwo\u{1b}[31m"]);
        let text = table.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= CELL_CHARS_MAX));
        assert!(text.contains('…') && text.contains("one two [31m"), "{text}");
    }

    #[test]
    fn a_sentence_is_shown_whole() {
        let mut table = Table::new([("a", Align::Left), ("why", Align::Whole)]);
        table.row(["x".to_owned(), "long\n".repeat(30)]);
        assert_eq!(table.to_string().lines().last(), Some(format!("x  {}", "long ".repeat(30).trim_end()).as_str()));
    }

    #[test]
    fn cells_of_json() {
        assert_eq!(cell(None), "");
        assert_eq!(cell(Some(&Value::Null)), "");
        assert_eq!(cell(Some(&Value::from("a"))), "a");
        assert_eq!(cell(Some(&serde_json::json!([1, "b"]))), r#"[1,"b"]"#);
    }
}
