//! Comma-separated values under a row of names. A value that is empty is a field that is missing.

use std::collections::BTreeSet;
use std::io::Read;

use serde::de::IgnoredAny;

use super::document::{Document, quoted};
use super::rows::{Row, Rows};
use super::{Broken, Position, Record, Source, Unusable};

/// What becomes of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Numbers, true and false are what they look like.
    Inferred,
    /// All are texts.
    Texts,
}

/// Records from rows.
pub struct Csv<R> {
    rows: Rows<R>,
    names: Vec<String>,
    values: Values,
    id_field: Option<String>,
}

/// The names in the first row.
///
/// # Errors
/// When it cannot be read, or what it holds cannot be names.
pub fn names_of(input: impl Read) -> Result<Vec<String>, Unusable> {
    read_names(&mut Rows::new(input, Position::START))
}

impl<R: Read> Csv<R> {
    /// Records from an input that begins at a position of its file. Without `names` they are read first.
    ///
    /// # Errors
    /// When the first row cannot be names, or there is no column to take the id from.
    pub fn new(
        input: R,
        at: Position,
        names: Option<Vec<String>>,
        values: Values,
        id_field: Option<String>,
    ) -> Result<Self, Unusable> {
        let mut rows = Rows::new(input, at);
        let names = match names {
            Some(names) => names,
            None => read_names(&mut rows)?,
        };
        if let Some(field) = id_field.as_ref().filter(|field| !names.contains(field)) {
            return Err(Unusable::new(
                format!("there is no column '{field}' to take the id from"),
                format!("the columns are: {}", names.join(", ")),
            ));
        }
        Ok(Self { rows, names, values, id_field })
    }

    fn document(&self, row: &Row) -> Result<Document, String> {
        if row.fields.len() != self.names.len() {
            return Err(format!("it has {} values, but there are {} columns", row.fields.len(), self.names.len()));
        }
        let id_name = self.id_field.as_deref().unwrap_or("id");
        let mut id = None;
        let mut members = Vec::with_capacity(row.fields.len());
        for (name, value) in self.names.iter().zip(&row.fields) {
            let text = std::str::from_utf8(value).map_err(|_| format!("the value of '{name}' is not UTF-8"))?;
            if name == id_name && !text.is_empty() {
                id = Some(text.to_owned());
            }
            if name != "id" && !text.is_empty() {
                members.push((name.as_str(), value_of(text, self.values)));
            }
        }
        if self.id_field.is_some() && id.is_none() {
            return Err(format!("it has no value in '{id_name}' to take the id from"));
        }
        Ok(Document::from_members(id, members.iter().map(|(name, value)| (*name, value.as_str()))))
    }
}

impl<R: Read + Send> Source for Csv<R> {
    fn next(&mut self) -> Result<Option<Record>, Broken> {
        let Some(row) = self.rows.next()? else { return Ok(None) };
        let content = self.document(&row);
        Ok(Some(Record { line: row.line, start: row.start, next: self.rows.position(), content }))
    }
}

fn read_names(rows: &mut Rows<impl Read>) -> Result<Vec<String>, Unusable> {
    let wrong = |why: String| Unusable::new("the first row of the CSV file cannot be its columns' names", why);
    let row = match rows.next() {
        Ok(Some(row)) => row,
        Ok(None) => return Err(wrong("the file is empty".into())),
        Err(broken) => return Err(wrong(broken.why)),
    };
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for (column, name) in row.fields.iter().enumerate() {
        let name = std::str::from_utf8(name).map_err(|_| wrong(format!("column {} is not UTF-8", column + 1)))?.trim();
        if name.is_empty() {
            return Err(wrong(format!("column {} has no name", column + 1)));
        }
        if !seen.insert(name.to_owned()) {
            return Err(wrong(format!("two columns are named '{name}'")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// A value as JSON. What looks like a number stays as it is written, if that is how JSON writes numbers and it fits:
/// `007` is a text, and so is a number of more than 64 bits.
fn value_of(text: &str, values: Values) -> String {
    if values == Values::Texts {
        return quoted(text);
    }
    match text {
        "true" | "TRUE" | "True" => "true".to_owned(),
        "false" | "FALSE" | "False" => "false".to_owned(),
        _ if is_number(text) => text.to_owned(),
        _ => quoted(text),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let padded = digits.len() > 1 && digits.starts_with('0');
        return !padded && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok());
    }
    // serde_json refuses what JSON does not know (`1.`, `00.5`, `0x1`); space it would take.
    let is_json =
        serde_json::from_str::<IgnoredAny>(text).is_ok() && !text.ends_with(|c: char| c.is_ascii_whitespace());
    // Beyond what a float can tell from infinity or from zero no node takes it as a number.
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let is_zero = !mantissa.contains(|c: char| ('1'..='9').contains(&c));
    is_json && text.parse().is_ok_and(|float: f64| float.is_finite() && (is_zero || float != 0.0))
}

#[cfg(test)]
mod tests {
    use super::super::{check_resume, transcript};
    use super::*;

    fn open_with(bytes: &'static [u8], values: Values, id_field: Option<&str>) -> Result<Vec<String>, String> {
        let csv = Csv::new(bytes, Position::START, None, values, id_field.map(str::to_owned));
        csv.map(|mut csv| transcript(&mut csv)).map_err(|unusable| unusable.to_string())
    }

    #[test]
    fn values_are_what_they_look_like() {
        let value = |text| value_of(text, Values::Inferred);
        for number in [
            "0",
            "-1",
            "42",
            "9223372036854775807",
            "18446744073709551615",
            "1.5",
            "-0.25",
            "1e5",
            "6.02E+23",
            "0e-999",
            "5e-324",
        ] {
            assert_eq!(value(number), number);
        }
        for text in [
            "007",
            "+5",
            "1.",
            ".5",
            "1e999",
            "1e-400",
            "2e-324",
            "NaN",
            "inf",
            "-",
            "18446744073709551616",
            "1,5",
            "0x10",
            "1 ",
            "12a",
        ] {
            assert_eq!(value(text), format!("\"{text}\""));
        }
        assert_eq!((value("true"), value("False"), value("yes")), ("true".into(), "false".into(), "\"yes\"".into()));
        assert_eq!(value_of("42", Values::Texts), "\"42\"");
    }

    #[test]
    fn rows_become_documents() {
        let text = b"\xef\xbb\xbfid,name,n\n7,\"a \"\"b\"\"\",1\n8,,\n";
        let expected = [r#"2: {"id":"7","name":"a \"b\"","n":1}"#, r#"3: {"id":"8"}"#];
        assert_eq!(open_with(text, Values::Inferred, None).unwrap(), expected);
        let text = b"code,n\nNO,1\n,2\n";
        let lines = open_with(text, Values::Texts, Some("code")).unwrap();
        assert_eq!(
            lines,
            [r#"2: {"id":"NO","code":"NO","n":"1"}"#, "3! it has no value in 'code' to take the id from"]
        );
    }

    #[test]
    fn bad_rows_are_named_by_the_line_they_begin_on() {
        let text = b"a,b\n1,\"two\nlines\"\n\n3\n4,5,6\n\xff,1\n7,8\n";
        let lines = open_with(text, Values::Inferred, None).unwrap();
        assert_eq!(
            lines,
            [
                r#"2: {"a":1,"b":"two\nlines"}"#,
                "5! it has 1 values, but there are 2 columns",
                "6! it has 3 values, but there are 2 columns",
                "7! the value of 'a' is not UTF-8",
                r#"8: {"a":7,"b":8}"#,
            ]
        );
    }

    #[test]
    fn columns_need_names() {
        for (text, says) in
            [(&b""[..], "empty"), (b"a,,b\n", "column 2"), (b"a,a\n", "two columns"), (b"\xff\n", "UTF-8")]
        {
            assert!(open_with(text, Values::Inferred, None).unwrap_err().contains(says));
        }
        assert!(open_with(b"a,b\n", Values::Inferred, Some("c")).unwrap_err().contains("a, b"));
    }

    #[test]
    fn reading_goes_on_from_anywhere() {
        let names = || Some(vec!["a".to_owned(), "b".to_owned()]);
        check_resume(b"a,b\n1,\"x\ny\"\n3\n\n4,5\n", |bytes, at| {
            let names = if at.offset > 0 { names() } else { None };
            Box::new(Csv::new(bytes, at, names, Values::Inferred, None).unwrap())
        });
    }
}
