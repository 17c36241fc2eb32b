//! Documents as CSV (RFC 4180): one row each, nested values as JSON.

use std::collections::HashSet;

use aerodb_engine::json::{Path, Value};
use aerodb_engine::view::Grouping;

use crate::error::{Code, Problem};

/// What stands between two cells.
const SEPARATOR: u8 = b',';
const ROW_END: &[u8] = b"\r\n";

/// Columns of every table: first the id, last the system's fields.
const FIRST: &str = "id";
const LAST: [&str; 3] = ["_revision", "_created_at", "_updated_at"];

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Table(Vec<Column>);

#[derive(Debug)]
struct Column {
    name: String,
    /// Where the cells are taken from; without one, from the field of that name.
    path: Option<Path>,
}

/// The fields that documents turn out to have.
#[derive(Debug)]
pub(super) struct Fields {
    max: usize,
    names: Vec<String>,
    known: HashSet<String>,
}

impl Fields {
    /// None yet, and room for `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { max, names: Vec::new(), known: LAST.into_iter().chain([FIRST]).map(str::to_owned).collect() }
    }

    /// Adds the fields of `document` that are new.
    pub(super) fn add(&mut self, document: &Value) -> Result<(), Problem> {
        for (name, _) in document.as_object().unwrap_or_default() {
            if self.known.contains(name) {
                continue;
            }
            if self.names.len() >= self.max {
                let detail =
                    format!("the documents have more than {} fields: name the columns with `select`", self.max);
                return Err(Problem::new(Code::QueryTooExpensive, detail));
            }
            self.known.insert(name.clone());
            self.names.push(name.clone());
        }
        Ok(())
    }

    /// The table of all of them.
    pub(super) fn table(self) -> Table {
        let names = [FIRST.to_owned()].into_iter().chain(self.names).chain(LAST.map(str::to_owned));
        Table(names.map(|name| Column { name, path: None }).collect())
    }
}

impl Table {
    /// The columns that were asked for, after the id and the revision.
    pub(super) fn selected(paths: impl Iterator<Item = String>) -> Self {
        let mut columns = vec![Column { name: FIRST.into(), path: None }, Column { name: LAST[0].into(), path: None }];
        for name in paths {
            if columns.iter().all(|column| column.name != name) {
                columns.push(Column { path: Path::parse(&name).ok(), name });
            }
        }
        Self(columns)
    }

    /// The columns of groups: what they are made by, and their figures. Their names are those of the answer.
    pub(super) fn groups(grouping: &Grouping) -> Self {
        let names = grouping.group_by.iter().map(Path::to_string);
        let names = names.chain(grouping.aggregates.iter().map(|(name, _)| name.clone()));
        Self(names.map(|name| Column { name, path: None }).collect())
    }

    /// The first row.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (position, column) in self.0.iter().enumerate() {
            separate(position, &mut out);
            text(&column.name, &mut out);
        }
        out.extend_from_slice(ROW_END);
        out
    }

    /// Appends the row of `document`.
    pub(super) fn row(&self, document: &Value, out: &mut Vec<u8>) {
        for (position, column) in self.0.iter().enumerate() {
            separate(position, out);
            match &column.path {
                None => document.get(&column.name).into_iter().for_each(|value| cell(value, out)),
                Some(path) => reached(path, document, out),
            }
        }
        out.extend_from_slice(ROW_END);
    }
}

/// What `path` reaches; where it leads through an array of objects, all of it as one array.
fn reached(path: &Path, document: &Value, out: &mut Vec<u8>) {
    let mut found = Vec::new();
    path.any(document, &mut |value| {
        found.push(value);
        false
    });
    match found[..] {
        [] => {}
        [value] => cell(value, out),
        _ => cell(&Value::Array(found.into_iter().cloned().collect()), out),
    }
}

fn separate(position: usize, out: &mut Vec<u8>) {
    if position > 0 {
        out.push(SEPARATOR);
    }
}

/// Null and what is missing are empty; the empty string is `""`.
fn cell(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::String(string) => text(string, out),
        Value::Array(_) | Value::Object(_) => text(&value.to_string(), out),
        scalar => scalar.write(out),
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    let plain = !text.is_empty()
        && !text.contains([',', '"', '\r', '\n'])
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t']);
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_own_columns() {
        let grouping = Grouping {
            group_by: vec![Path::parse("a.b").unwrap()],
            aggregates: vec![("n".to_owned(), aerodb_engine::view::Aggregate::Count(None))],
        };
        let table = Table::groups(&grouping);
        let mut rows = table.header();
        table.row(
            &aerodb_engine::json::parse(br#"{"a.b":"x","n":3}"#, &aerodb_engine::json::STORED).unwrap(),
            &mut rows,
        );
        assert_eq!(rows, b"a.b,n\r\nx,3\r\n");
    }

    fn value(text: &str) -> Value {
        aerodb_engine::json::parse(text.as_bytes(), &Default::default()).unwrap()
    }

    fn check(columns: &Table, documents: &[&str]) -> String {
        let mut out = columns.header();
        for document in documents {
            columns.row(&value(document), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    const DOCUMENTS: [&str; 3] = [
        r#"{"id":"a","_revision":1,"_created_at":"t","_updated_at":"t","n":1.0,"s":"x,\"y\"\n","o":{"k":[1]}}"#,
        r#"{"id":"b","_revision":2,"_created_at":"t","_updated_at":"t","s":"","z":null}"#,
        r#"{"id":"c","_revision":3,"_created_at":"t","_updated_at":"t","z":true}"#,
    ];

    #[test]
    fn columns_are_all_fields_of_all_documents() {
        let mut fields = Fields::new(4);
        for document in DOCUMENTS {
            fields.add(&value(document)).unwrap();
        }
        assert_eq!(fields.add(&value(r#"{"one_more":1}"#)).unwrap_err().code(), Code::QueryTooExpensive);
        let expected = "id,n,s,o,z,_revision,_created_at,_updated_at\r\n\
                        a,1.0,\"x,\"\"y\"\"\n\",\"{\"\"k\"\":[1]}\",,1,t,t\r\n\
                        b,,\"\",,,2,t,t\r\n\
                        c,,,,true,3,t,t\r\n";
        assert_eq!(check(&fields.table(), &DOCUMENTS), expected);
    }

    #[test]
    fn columns_can_be_named() {
        let columns =
            Table::selected(["o.k".to_owned(), "id".to_owned(), "l.v".to_owned(), "p.1".to_owned()].into_iter());
        let documents = [DOCUMENTS[0], r#"{"id":"d","_revision":4,"l":[{"v":1},{"v":"x"}],"p":[7,8]}"#];
        let expected = "id,_revision,o.k,l.v,p.1\r\na,1,[1],,\r\nd,4,,\"[1,\"\"x\"\"]\",8\r\n";
        assert_eq!(check(&columns, &documents), expected);
    }

    #[test]
    fn nothing_is_a_table_too() {
        assert_eq!(check(&Fields::new(9).table(), &[]), "id,_revision,_created_at,_updated_at\r\n");
    }
}
