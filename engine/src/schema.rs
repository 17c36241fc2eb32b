//! What documents of a collection must look like: JSON Schema 2020-12, by the `jsonschema` crate.
//!
//! A schema is about the caller's fields: neither `id` nor the system's fields are in what it sees, so that
//! `additionalProperties: false` means what it says. Patterns are matched in linear time, formats are asserted, and
//! nothing is fetched from anywhere: a `$ref` stays within the schema.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aerodb_proto::{self as proto, NewDocument, Validation, Violation};
use bytes::Bytes;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::prepare::SYSTEM_FIELDS;

/// The longest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Violations that are told of one document.
const VIOLATIONS_MAX: usize = 20;

/// The longest message about a violation, its place and its keyword, in characters: they quote what was found.
const TEXT_CHARS_MAX: usize = 200;

/// Of a document that is longer, in bytes, one violation is told: the crate finds all of them before it tells the first, and
/// whoever decides waits for it.
const LISTED_BYTES_MAX: usize = 4 << 10;

/// Memory that a compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A schema of a collection, compiled when it is first asked.
pub struct Schema {
    /// What the catalog says of it.
    pub definition: proto::Schema,
    /// `Err`: in words, why it cannot be compiled, though it could when it was set.
    compiled: OnceLock<Result<Validator, String>>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.definition.fmt(f)
    }
}

/// Why something is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where in the schema, a JSON pointer.
    pub(crate) path: String,
    /// What is wrong, for a person.
    pub(crate) message: String,
}

/// Checks that `json` is a schema that can be used.
pub(crate) fn check(json: &[u8]) -> Result<(), Malformed> {
    compile(json).map(|_| ())
}

fn compile(json: &[u8]) -> Result<Validator, Malformed> {
    let at = |path: &str, message: String| Malformed { path: path.to_owned(), message };
    let schema: Value = serde_json::from_slice(json).map_err(|error| at("", error.to_string()))?;
    if let Some(dialect) = schema.get("$schema")
        && dialect.as_str().map(|dialect| dialect.trim_end_matches('#')) != Some(DIALECT)
    {
        return Err(at(
            "/$schema",
            format!("schemas are JSON Schema 2020-12: leave `$schema` out, or write {DIALECT}"),
        ));
    }
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::draft202012::options().with_pattern_options(patterns).should_validate_formats(true);
    options.build(&schema).map_err(|error| at(error.instance_path().as_str(), message(&error)))
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn message(error: &ValidationError<'_>) -> String {
    let text = error.to_string();
    // The crate's own words are about how it was built.
    match text.contains("retrieving it failed") {
        true => "a `$ref` stays within the schema: nothing is fetched from anywhere".to_owned(),
        false => cut(&text),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn violation(error: &ValidationError<'_>) -> Violation {
    Violation {
        path: cut(error.instance_path().as_str()),
        keyword: cut(error.schema_path().as_str().rsplit('/').next().unwrap_or_default()),
        message: message(error),
    }
}

impl Schema {
    pub(crate) fn new(definition: proto::Schema) -> Self {
        Self { definition, compiled: OnceLock::new() }
    }

    /// True when documents that do not fit are refused.
    pub fn is_strict(&self) -> bool {
        self.definition.validation() == Validation::Strict
    }

    /// In what a document's fields, which are JSON, do not fit, up to [`VIOLATIONS_MAX`] of them and only the first one of a
    /// long document; empty when they fit.
    ///
    /// # Errors
    /// When the schema or the fields cannot be read, in words.
    pub(crate) fn violations(&self, fields: &[u8]) -> Result<Vec<Violation>, String> {
        let (validator, value) = (self.validator()?, read(fields)?);
        match validator.validate(&value) {
            Ok(()) => Ok(Vec::new()),
            Err(error) if fields.len() > LISTED_BYTES_MAX => Ok(vec![violation(&error)]),
            Err(_) => Ok(validator.iter_errors(&value).take(VIOLATIONS_MAX).map(|error| violation(&error)).collect()),
        }
    }

    /// The first thing in which a document, as it is stored, does not fit.
    ///
    /// # Errors
    /// As [`Schema::violations`].
    pub(crate) fn first_violation_of(&self, body: &[u8]) -> Result<Option<Violation>, String> {
        let mut document = read(body)?;
        if let Value::Object(members) = &mut document {
            members.retain(|name, _| name != "id" && !SYSTEM_FIELDS.contains(&name.as_str()));
        }
        Ok(self.validator()?.validate(&document).err().map(|error| violation(&error)))
    }

    fn validator(&self) -> Result<&Validator, String> {
        let compile = || compile(&self.definition.json).map_err(|malformed| malformed.message);
        self.compiled.get_or_init(compile).as_ref().map_err(Clone::clone)
    }

    /// Whether a document's fields fit; false also when that cannot be said.
    pub(crate) fn fits(&self, fields: &[u8]) -> bool {
        self.validator().is_ok_and(|validator| read(fields).is_ok_and(|fields| validator.is_valid(&fields)))
    }
}

fn read(json: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// The schemas of a collection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas {
    /// The one in force.
    pub(crate) current: Option<Arc<Schema>>,
    /// The one that takes its place once all documents are found to fit.
    pub(crate) next: Option<Arc<Schema>>,
    /// The version given last. What fits all that binds under one version fits it as long as that is the last.
    pub(crate) version: u64,
}

impl Schemas {
    /// The schemas of `collection`, those of `former` used again where they are the same.
    pub(crate) fn of(collection: &proto::Collection, former: Option<&Self>) -> Option<Self> {
        let known = former.into_iter().flat_map(|former| former.current.iter().chain(&former.next));
        let known: Vec<_> = known.collect();
        let schema = |definition: &proto::Schema| {
            let same = known.iter().find(|known| known.definition == *definition);
            same.map_or_else(|| Arc::new(Schema::new(definition.clone())), |same| Arc::clone(same))
        };
        let (current, next) = (collection.schema.as_deref().map(schema), collection.next_schema.as_deref().map(schema));
        let any = current.is_some() || next.is_some();
        any.then_some(Self { current, next, version: collection.schema_version })
    }

    /// The schemas that every write must fit: while a new one is being checked, both.
    pub(crate) fn binding(&self) -> impl Iterator<Item = &Arc<Schema>> {
        let next = self.next.iter().filter(|next| !next.definition.failed);
        self.current.iter().chain(next).filter(|schema| schema.is_strict())
    }

    /// The schema that waits for its check.
    pub(crate) fn unchecked(&self) -> Option<&Arc<Schema>> {
        self.next.as_ref().filter(|next| !next.definition.failed)
    }
}

impl Catalog {
    /// The version of a collection's schemas, and the places of those `documents` that were not found to fit whatever binds.
    /// Decide refuses what does not fit: it knows the schemas that are in force there. Version 0 without a schema.
    pub fn checked(&self, collection: &str, documents: &[NewDocument]) -> (u64, Vec<u32>) {
        let schemas = self.get(collection).and_then(|collection| self.schemas(collection.id));
        let Some(schemas) = schemas else { return (0, Vec::new()) };
        let fits = |document: &NewDocument| schemas.binding().all(|schema| schema.fits(&document.fields));
        let unfit = documents.iter().zip(0..).filter(|(document, _)| !fits(document)).map(|(_, place)| place);
        (schemas.version, unfit.collect())
    }

    /// In what documents, as they are stored, do not fit a schema that only warns: the first violation of each.
    pub fn warnings(&self, collection: u32, bodies: &[Bytes]) -> Vec<Violation> {
        let schema = self.schemas(collection).and_then(|schemas| schemas.current.as_ref());
        let warning = schema.filter(|schema| schema.definition.validation() == Validation::Warn);
        let Some(schema) = warning else { return Vec::new() };
        bodies.iter().filter_map(|body| schema.first_violation_of(body).unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(json: &str) -> Schema {
        check(json.as_bytes()).unwrap_or_else(|malformed| panic!("{json}: {malformed:?}"));
        Schema::new(proto::Schema { json: json.as_bytes().to_vec().into(), ..proto::Schema::default() })
    }

    fn found(schema: &Schema, fields: &str) -> Vec<(String, String)> {
        let violations = schema.violations(fields.as_bytes()).unwrap();
        violations.into_iter().map(|violation| (violation.path, violation.keyword)).collect()
    }

    #[test]
    fn violations_are_named_with_their_place() {
        let schema = schema(
            r##"{"type":"object","required":["name"],"additionalProperties":false,"properties":{
                "name":{"type":"string","pattern":"^[a-z]+$"},"age":{"type":"integer","minimum":0},
                "mail":{"format":"email"},"at":{"format":"date-time"},
                "tags":{"type":"array","items":{"$ref":"#/$defs/tag"}}},"$defs":{"tag":{"maxLength":3}}}"##,
        );
        let place = |path: &str, keyword: &str| (path.to_owned(), keyword.to_owned());
        assert_eq!(found(&schema, r#"{"name":"ann","age":3,"mail":"a@b.de","at":"2026-01-01T00:00:00Z"}"#), []);
        assert_eq!(found(&schema, r#"{"age":-1}"#), [place("/age", "minimum"), place("", "required")]);
        assert_eq!(found(&schema, r#"{"name":"A","tags":["abc","abcd"]}"#).len(), 2);
        assert_eq!(found(&schema, r#"{"name":"a","mail":"x"}"#), [place("/mail", "format")]);
        assert_eq!(found(&schema, r#"{"name":"a","x":1}"#), [place("", "additionalProperties")]);
        assert!(schema.fits(br#"{"name":"a"}"#) && !schema.fits(b"{}"));
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        for (json, path) in [
            (r#"{"type":"objec"}"#, "/type"),
            (r#"{"properties":{"a":{"minimum":"x"}}}"#, "/properties/a/minimum"),
            (r#"{"properties":{"a":{"pattern":"(?=a)b"}}}"#, "/properties/a/pattern"),
            (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, "/$schema"),
        ] {
            assert_eq!(check(json.as_bytes()).unwrap_err().path, path, "{json}");
        }
        for foreign in
            [r#"{"$ref":"http://localhost:1/x"}"#, r#"{"$ref":"file:///etc/passwd"}"#, r##"{"$ref":"#/no"}"##]
        {
            assert!(check(foreign.as_bytes()).is_err(), "{foreign}");
        }
        schema(r#"{"$schema":"https://json-schema.org/draft/2020-12/schema"}"#);
    }

    /// Each of these would be walked for ever by a validator that follows references as they come.
    #[test]
    fn schemas_that_lead_in_circles_end() {
        for json in [
            r##"{"$ref":"#"}"##,
            r##"{"allOf":[{"$ref":"#"}]}"##,
            r##"{"$dynamicAnchor":"x","allOf":[{"$dynamicRef":"#x"}]}"##,
            r##"{"anyOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"allOf":[{"$ref":"#/$defs/a"}]}}}"##,
        ] {
            let _ = schema(json).violations(br#"{"a":{"b":[{}]}}"#);
        }
        let tree = schema(r##"{"properties":{"c":{"type":"array","items":{"$ref":"#"}}}}"##);
        assert_eq!(found(&tree, r#"{"c":[{"c":[{"c":1}]}]}"#), [("/c/0/c/0/c".to_owned(), "type".to_owned())]);
    }

    #[test]
    fn messages_and_violations_are_bounded() {
        let schema = schema(r#"{"additionalProperties":{"type":"integer"}}"#);
        let long = "ä".repeat(5_000);
        let fields: Vec<String> = (0..100).map(|n| format!(r#""f{n}":"{long}""#)).collect();
        let violations = schema.violations(format!("{{{}}}", fields.join(",")).as_bytes()).unwrap();
        assert_eq!(violations.len(), 1, "the document is long");
        let short: Vec<String> = (0..100).map(|n| format!(r#""{n}":"x""#)).collect();
        let many = schema.violations(format!("{{{}}}", short.join(",")).as_bytes()).unwrap();
        assert_eq!(many.len(), VIOLATIONS_MAX);
        let long_name = schema.violations(format!(r#"{{"{long}":"x"}}"#).as_bytes()).unwrap();
        for violation in violations.iter().chain(&long_name) {
            let texts = [&violation.path, &violation.keyword, &violation.message];
            assert!(texts.iter().all(|text| text.chars().count() <= TEXT_CHARS_MAX + 1), "{violation:?}");
        }
    }
}
