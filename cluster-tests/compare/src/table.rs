//! What came out, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use aerodb_load::{Machine, describe};
use serde::Serialize;
use serde_json::Value;

/// Everything that one run found.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    versions: BTreeMap<String, String>,
    settings: Value,
    tables: Vec<Table>,
}

/// A table of figures.
#[derive(Serialize)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Each single measurement.
    measured: Vec<Value>,
}

impl Report {
    /// Begins, with the machine as it is before anything was started.
    pub(crate) fn begin() -> Self {
        Self { machine: describe(), versions: BTreeMap::new(), settings: Value::Null, tables: Vec::new() }
    }

    pub(crate) fn version(&mut self, product: &str, version: &str) {
        self.versions.insert(product.to_owned(), version.to_owned());
    }

    pub(crate) fn settings(&mut self, settings: Value) {
        self.settings = settings;
    }

    pub(crate) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub(crate) fn markdown(&self) -> String {
        let versions: Vec<String> =
            self.versions.iter().map(|(product, version)| format!("{product} {version}")).collect();
        let mut text = format!("{}. {}.\n", self.machine.text(), versions.join(", "));
        for table in &self.tables {
            // Writing to memory cannot fail.
            let _ = write!(text, "\n{}", table.markdown());
        }
        text
    }
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new(), measured: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn measured(&mut self, value: Value) {
        self.measured.push(value);
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> =
            self.columns.iter().map(|name| if name.starts_with(' ') { "---" } else { "--:" }.to_owned()).collect();
        let names: Vec<String> = self.columns.iter().map(|name| name.trim().to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("**{}**\n\n{}{}{rows}", self.title, line(&names), line(&rule))
    }
}

/// The middle one, the least and the most of some figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of none, zeros. Of an even number, the median is the upper one of the two in the middle.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(0.0);
        Self { median: at(sorted.len() / 2), least: at(0), most: at(sorted.len().saturating_sub(1)) }
    }

    /// As whole numbers: `median (least–most)`.
    pub(crate) fn whole(&self) -> String {
        format!("{} ({}–{})", thousands(self.median), thousands(self.least), thousands(self.most))
    }

    /// As rates, which may be slow: `median (least–most)`.
    pub(crate) fn rates(&self) -> String {
        let rate = |rate: f64| match rate {
            ..10.0 => format!("{rate:.2}"),
            10.0..100.0 => format!("{rate:.1}"),
            _ => thousands(rate),
        };
        format!("{} ({}–{})", rate(self.median), rate(self.least), rate(self.most))
    }
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds out of microseconds, with as many digits as mean something.
pub(crate) fn millis(micros: f64) -> String {
    match micros {
        ..10_000.0 => format!("{:.2}", micros / 1e3),
        _ => format!("{:.1}", micros / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_put_in_words() {
        assert_eq!(Spread::of([3.0, 1.0, 2000.4]).whole(), "3 (1–2,000)");
        assert_eq!(Spread::of([]).whole(), "0 (0–0)");
        assert_eq!(Spread::of([0.456, 45.67, 4567.0]).rates(), "45.7 (0.46–4,567)");
        assert_eq!((millis(1_234.0), millis(12_345.0)), ("1.23".to_owned(), "12.3".to_owned()));
        let mut table = Table::new("t", &[" what", "n"]);
        table.row(vec!["a".to_owned(), "1".to_owned()]);
        assert_eq!(table.markdown(), "**t**\n\n| what | n |\n| --- | --: |\n| a | 1 |\n");
    }
}
