//! Projection: which fields of a document an answer shows.

use crate::json::{Kind, Path, PathError, Segment, Value};

/// The most paths of a selection.
pub const SELECT_PATHS_MAX: usize = 256;

/// What every answer shows, selected or not.
pub(crate) const ALWAYS_SHOWN: [&str; 2] = ["id", "_revision"];

/// The fields that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    paths: Vec<Path>,
    tree: Tree,
}

/// Why a selection is not one. The code is always `invalid_select`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field that no document can have.
    #[error("cannot select `{path}`: {error}")]
    InvalidPath {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// Something else than an array of strings.
    #[error("a selection is an array of strings, not {}", .0.name())]
    WrongType(Kind),
    /// No path at all.
    #[error("a selection names at least one field")]
    Empty,
    /// More than [`SELECT_PATHS_MAX`].
    #[error("a selection has at most {SELECT_PATHS_MAX} fields")]
    TooManyPaths,
}

impl Error {
    /// The stable word for this error.
    pub const fn code(&self) -> &'static str {
        "invalid_select"
    }
}

impl Select {
    /// Reads `a,b.c`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        Self::from_texts(text.split(','))
    }

    /// Reads `["a", "b.c"]`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        let items = value.as_array().ok_or(Error::WrongType(value.kind()))?;
        if items.is_empty() {
            return Err(Error::Empty);
        }
        if items.len() > SELECT_PATHS_MAX {
            return Err(Error::TooManyPaths);
        }
        let text = |item: &Value| item.as_str().map(str::to_owned).ok_or(Error::WrongType(item.kind()));
        let texts = items.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        Self::from_texts(texts.iter().map(String::as_str))
    }

    fn from_texts<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Self, Error> {
        let mut paths: Vec<Path> = Vec::new();
        for (position, text) in texts.enumerate() {
            if position == SELECT_PATHS_MAX {
                return Err(Error::TooManyPaths);
            }
            let invalid = |error| Error::InvalidPath { path: text.chars().take(64).collect(), error };
            let path = Path::parse(text).map_err(invalid)?;
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        let mut tree = Tree::default();
        for path in &paths {
            tree.add(path.segments());
        }
        Ok(Self { paths, tree })
    }

    /// What was asked for, each path once.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// `document` with the selected fields only, in the document's order, and always with `id` and `_revision`.
    ///
    /// A dotted path keeps the objects and arrays that it leads through: each object of an array is projected, other
    /// elements are left out, and `a.0` keeps that element. Where an object lacks the rest of the path, `{}` remains.
    pub fn apply(&self, document: &Value) -> Value {
        let Value::Object(entries) = document else {
            return document.clone();
        };
        let shown = |(key, value): &(String, Value)| {
            let projected = match ALWAYS_SHOWN.contains(&key.as_str()) {
                true => Some(value.clone()),
                false => self.tree.child(key).and_then(|child| child.project(value)),
            };
            projected.map(|projected| (key.clone(), projected))
        };
        Value::Object(entries.iter().filter_map(shown).collect())
    }
}

/// Paths that share their beginnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tree {
    /// A path ends here: everything below is shown.
    whole: bool,
    children: Vec<(Segment, Tree)>,
}

impl Tree {
    fn add(&mut self, segments: &[Segment]) {
        let Some((first, rest)) = segments.split_first() else {
            self.whole = true;
            return;
        };
        match self.children.iter_mut().find(|(segment, _)| segment == first) {
            Some((_, child)) => child.add(rest),
            None => {
                let mut child = Tree::default();
                child.add(rest);
                self.children.push((first.clone(), child));
            }
        }
    }

    fn child(&self, key: &str) -> Option<&Tree> {
        self.children.iter().find(|(segment, _)| segment.name() == key).map(|(_, child)| child)
    }

    fn project(&self, value: &Value) -> Option<Value> {
        match value {
            _ if self.whole => Some(value.clone()),
            Value::Object(entries) => Some(self.project_object(entries)),
            Value::Array(items) => Some(self.project_array(items)),
            _ => None,
        }
    }

    fn project_object(&self, entries: &[(String, Value)]) -> Value {
        let shown = |(key, value): &(String, Value)| Some((key.clone(), self.child(key)?.project(value)?));
        Value::Object(entries.iter().filter_map(shown).collect())
    }

    fn project_array(&self, items: &[Value]) -> Value {
        let has_names = self.children.iter().any(|(segment, _)| segment.index().is_none());
        let shown = |(position, item): (usize, &Value)| {
            let by_position = self.children.iter().find(|(segment, _)| segment.index() == Some(position));
            match (by_position, item) {
                (Some((_, child)), _) => child.project(item),
                (None, Value::Object(entries)) if has_names => Some(self.project_object(entries)),
                _ => None,
            }
        };
        Value::Array(items.iter().enumerate().filter_map(shown).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::value;

    #[track_caller]
    fn check(select: &str, document: &str, expected: &str) {
        assert_eq!(Select::parse(select).unwrap().apply(&value(document)), value(expected), "select={select}");
    }

    #[test]
    fn keeps_what_was_asked_for_in_the_order_of_the_document() {
        let document = r#"{"id":"1","b":{"d":4,"c":3},"a":1,"_revision":7,"_created_at":"t","e":[1]}"#;
        check("a,b.c", document, r#"{"id":"1","b":{"c":3},"a":1,"_revision":7}"#);
        check("b", document, r#"{"id":"1","b":{"d":4,"c":3},"_revision":7}"#);
        check("b.c,b", document, r#"{"id":"1","b":{"d":4,"c":3},"_revision":7}"#);
        check("_created_at,e", document, r#"{"id":"1","_revision":7,"_created_at":"t","e":[1]}"#);
        check("id", document, r#"{"id":"1","_revision":7}"#);
        check("id.x", document, r#"{"id":"1","_revision":7}"#);
        check("nothing,a.b", document, r#"{"id":"1","_revision":7}"#);
        check("b.nothing", document, r#"{"id":"1","b":{},"_revision":7}"#);
    }

    #[test]
    fn projects_each_object_of_an_array() {
        let document = r#"{"a":[{"b":1,"c":2},{"c":3},5,[{"b":9}],{"b":{"x":1},"c":4}]}"#;
        check("a.b", document, r#"{"a":[{"b":1},{},{"b":{"x":1}}]}"#);
        check("a.b.x", document, r#"{"a":[{},{},{"b":{"x":1}}]}"#);
        check("a.0", document, r#"{"a":[{"b":1,"c":2}]}"#);
        check("a.4.c,a.2", document, r#"{"a":[5,{"c":4}]}"#);
        check("a.0,a.c", document, r#"{"a":[{"b":1,"c":2},{"c":3},{"c":4}]}"#);
        check("a.3.b", document, r#"{"a":[[{"b":9}]]}"#);
        check("a.b", r#"{"a":[]}"#, r#"{"a":[]}"#);
        check("a.0", r#"{"a":{"0":1,"1":2}}"#, r#"{"a":{"0":1}}"#);
    }

    #[test]
    fn reads_both_forms_and_drops_duplicates() {
        let select = Select::from_value(&value(r#"["a","b.c","a"]"#)).unwrap();
        assert_eq!(select, Select::parse("a,b.c,a").unwrap());
        assert_eq!(select.paths().len(), 2);
    }

    #[test]
    fn refuses() {
        for text in ["", ",", "a,", "a,,b", "a..b", ".a", "$a"] {
            assert_eq!(Select::parse(text).unwrap_err().code(), "invalid_select", "{text}");
        }
        for json in ["[]", "{}", "\"a\"", "[1]", "[\"\"]", "null"] {
            assert!(Select::from_value(&value(json)).is_err(), "{json}");
        }
        let many = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
        assert!(Select::parse(&many(SELECT_PATHS_MAX)).is_ok());
        assert_eq!(Select::parse(&many(SELECT_PATHS_MAX + 1)), Err(Error::TooManyPaths));
    }
}
