//! Update operators: `{"$set": {"address.city": "Oslo"}, "$inc": {"visits": 1}}`.
//!
//! Unlike a merge patch, an update says what to do with what it finds, so that callers need not read first. A path leads
//! through objects by name and through arrays by position, and makes the objects that it misses. No two edits of an
//! update may touch the same place, so their order does not matter.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::filter::{self, ElemMatch};
use crate::index::encode;
use crate::json::{Path, Segment, Value};

/// The most edits of an update.
pub const UPDATE_EDITS_MAX: usize = 256;

/// What stands in an update.
const OPERATORS: [&str; 8] = ["$set", "$unset", "$inc", "$min", "$max", "$push", "$pull", "$addToSet"];

/// Integers up to here, and down to its negative, are floats without being rounded.
const EXACT_FLOAT_MAX: i128 = 1 << 53;

/// Edits of a document, all of which are done or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    edits: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq)]
struct Edit {
    path: Path,
    operation: Operation,
}

#[derive(Clone, Debug, PartialEq)]
enum Operation {
    Set(Value),
    Unset,
    /// The operand is a number.
    Inc(Value),
    Min(Value),
    Max(Value),
    Push(Vec<Value>),
    Pull(Unwanted),
    AddToSet(Vec<Value>),
}

/// Which elements `$pull` removes.
#[derive(Clone, Debug, PartialEq)]
enum Unwanted {
    Equal(Value),
    Matching(ElemMatch),
}

/// Why a value is no update. The code is `invalid_update`, unless a name, a path or a filter in it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// A stable word of the published list.
    pub code: &'static str,
    /// Where in the update: a JSON pointer.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why an update cannot be applied to a document: it met something else than it can work on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Unfit {
    /// The path of the edit at fault.
    pub path: String,
    /// What it met.
    pub message: String,
}

impl Update {
    /// Whether an object is meant as an update rather than as a merge patch: no field begins with `$`.
    pub fn is_meant(fields: &[(String, Value)]) -> bool {
        fields.iter().any(|(name, _)| name.starts_with('$'))
    }

    /// Reads an update.
    ///
    /// # Errors
    /// When an operator is unknown, its operand is none that it takes, or two edits touch the same place.
    pub fn parse(fields: &[(String, Value)]) -> Result<Self, Error> {
        let mut edits = Vec::new();
        for (operator, operands) in fields {
            if !OPERATORS.contains(&operator.as_str()) {
                let shown: String = operator.chars().take(64).collect();
                let known = OPERATORS.join(" ");
                return Err(match operator.starts_with('$') {
                    // It may be meant as a field, and no field is called so.
                    true => Error {
                        code: "invalid_field_name",
                        ..invalid(operator, None, format!("`{shown}` is no update operator; there are {known}"))
                    },
                    false => {
                        let message =
                            format!("`{shown}` stands beside update operators: send a merge patch, or `$set` it");
                        invalid(operator, None, message)
                    }
                });
            }
            let Value::Object(operands) = operands else {
                return Err(invalid(operator, None, format!("{operator} takes an object of paths")));
            };
            for (path, operand) in operands {
                if edits.len() == UPDATE_EDITS_MAX {
                    let message = format!("an update has at most {UPDATE_EDITS_MAX} edits");
                    return Err(invalid(operator, Some(path), message));
                }
                edits.push(Edit {
                    operation: Operation::parse(operator, path, operand)?,
                    path: Path::parse(path).map_err(|error| Error {
                        code: error.code(),
                        ..invalid(operator, Some(path), error.to_string())
                    })?,
                });
            }
        }
        check_apart(&edits)?;
        Ok(Self { edits })
    }

    /// The paths that the edits write to, and what new values they bring there.
    pub fn writes(&self) -> impl Iterator<Item = (&Path, &[Value])> {
        self.edits.iter().map(|edit| {
            let values = match &edit.operation {
                Operation::Set(value) | Operation::Inc(value) | Operation::Min(value) | Operation::Max(value) => {
                    std::slice::from_ref(value)
                }
                Operation::Push(values) | Operation::AddToSet(values) => values,
                Operation::Unset | Operation::Pull(_) => &[],
            };
            (&edit.path, values)
        })
    }

    /// Does all edits. After an error `document` may have been changed in part.
    ///
    /// # Errors
    /// When an edit meets what it cannot work on.
    pub fn apply(&self, document: &mut Value) -> Result<(), Unfit> {
        for edit in &self.edits {
            edit.apply(document).map_err(|message| Unfit { path: edit.path.to_string(), message })?;
        }
        Ok(())
    }
}

fn invalid(operator: &str, path: Option<&str>, message: impl Into<String>) -> Error {
    let escape = |name: &str| name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1");
    let below = path.map_or_else(String::new, |path| format!("/{}", escape(path)));
    Error { code: "invalid_update", path: format!("/{}{below}", escape(operator)), message: message.into() }
}

/// No path may be another, or lead into what another writes.
fn check_apart(edits: &[Edit]) -> Result<(), Error> {
    let mut paths: Vec<&Path> = edits.iter().map(|edit| &edit.path).collect();
    // Sorted segment by segment, whatever leads into a path stands right behind it.
    paths.sort_unstable();
    match paths.windows(2).find(|pair| pair[1].segments().starts_with(pair[0].segments())) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("`{}` and `{}` touch the same place: the order would matter", pair[0], pair[1]);
            Err(Error { code: "invalid_update", path: String::new(), message })
        }
    }
}

impl Operation {
    fn parse(operator: &str, path: &str, operand: &Value) -> Result<Self, Error> {
        let wrong = |message: &str| invalid(operator, Some(path), format!("{operator} {message}"));
        Ok(match operator {
            "$set" => Operation::Set(operand.clone()),
            "$unset" => Operation::Unset,
            "$inc" => match operand {
                Value::Int(_) | Value::UInt(_) | Value::Float(_) => Operation::Inc(operand.clone()),
                _ => return Err(wrong("takes a number")),
            },
            "$min" => Operation::Min(operand.clone()),
            "$max" => Operation::Max(operand.clone()),
            "$push" => Operation::Push(each(operand).ok_or_else(|| wrong("takes `$each` alone, with an array"))?),
            "$addToSet" => {
                Operation::AddToSet(each(operand).ok_or_else(|| wrong("takes `$each` alone, with an array"))?)
            }
            _ => Operation::Pull(match operand {
                Value::Object(_) => {
                    Unwanted::Matching(ElemMatch::parse(operand).map_err(|error| filter_error(operator, path, error))?)
                }
                value => Unwanted::Equal(value.clone()),
            }),
        })
    }
}

/// A value, or the values behind `$each`.
fn each(operand: &Value) -> Option<Vec<Value>> {
    match operand {
        Value::Object(entries) if entries.iter().any(|(name, _)| name.starts_with('$')) => match &entries[..] {
            [(name, Value::Array(values))] if name == "$each" => Some(values.clone()),
            _ => None,
        },
        value => Some(vec![value.clone()]),
    }
}

fn filter_error(operator: &str, path: &str, error: filter::Error) -> Error {
    let place = invalid(operator, Some(path), error.message.clone());
    Error { code: error.code(), path: format!("{}{}", place.path, error.path), ..place }
}

impl Edit {
    fn apply(&self, document: &mut Value) -> Result<(), String> {
        let segments = self.path.segments();
        match &self.operation {
            Operation::Unset => {
                unset(segments, document);
                Ok(())
            }
            Operation::Pull(unwanted) => match find(segments, document) {
                None => Ok(()),
                Some(Value::Array(items)) => {
                    items.retain(|item| !unwanted.matches(item));
                    Ok(())
                }
                Some(other) => Err(format!("$pull works on an array, and this is {}", a(other))),
            },
            Operation::Set(value) => place(segments, document, &mut |found| {
                *found = Some(value.clone());
                Ok(())
            }),
            Operation::Inc(by) => place(segments, document, &mut |found| {
                *found = Some(match found {
                    None => by.clone(),
                    Some(number) => add(number, by)?,
                });
                Ok(())
            }),
            Operation::Min(value) => place(segments, document, &mut |found| {
                replace_if(found, value, Ordering::Less);
                Ok(())
            }),
            Operation::Max(value) => place(segments, document, &mut |found| {
                replace_if(found, value, Ordering::Greater);
                Ok(())
            }),
            Operation::Push(values) => place(segments, document, &mut |found| {
                array(found, "$push")?.extend(values.iter().cloned());
                Ok(())
            }),
            Operation::AddToSet(values) => place(segments, document, &mut |found| {
                let items = array(found, "$addToSet")?;
                // Equal values have equal encodings: a long list and a long array must not multiply.
                let mut known: HashSet<Vec<u8>> = items.iter().map(encoded).collect();
                items.extend(values.iter().filter(|value| known.insert(encoded(value))).cloned());
                Ok(())
            }),
        }
    }
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::encode(value, &mut bytes);
    bytes
}

impl Unwanted {
    fn matches(&self, element: &Value) -> bool {
        match self {
            Unwanted::Equal(value) => element.equals(value),
            Unwanted::Matching(wanted) => wanted.matches(element),
        }
    }
}

fn replace_if(found: &mut Option<Value>, value: &Value, wanted: Ordering) {
    if found.as_ref().is_none_or(|found| value.compare(found) == wanted) {
        *found = Some(value.clone());
    }
}

/// The array that stands there; an empty one where nothing does.
fn array<'v>(found: &'v mut Option<Value>, operator: &str) -> Result<&'v mut Vec<Value>, String> {
    match found.get_or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(items) => Ok(items),
        other => Err(format!("{operator} works on an array, and this is {}", a(other))),
    }
}

/// The sum of two numbers, exactly: whole numbers stay whole, and nothing is rounded in silence but what floats round.
fn add(number: &Value, by: &Value) -> Result<Value, String> {
    if let (Some(a), Some(b)) = (whole(number), whole(by)) {
        let sum = a + b;
        return match (i64::try_from(sum), u64::try_from(sum)) {
            (Ok(int), _) => Ok(Value::Int(int)),
            (_, Ok(int)) => Ok(Value::UInt(int)),
            _ => Err(format!("{sum} does not fit 64 bits")),
        };
    }
    let sum = float(number)? + float(by)?;
    if sum.is_finite() { Ok(Value::Float(sum)) } else { Err("the sum is beyond what a 64-bit float holds".into()) }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::UInt(int) => Some(i128::from(*int)),
        _ => None,
    }
}

fn float(value: &Value) -> Result<f64, String> {
    match (value, whole(value)) {
        (Value::Float(float), _) => Ok(*float),
        (_, Some(int)) if int.abs() <= EXACT_FLOAT_MAX => Ok(int as f64),
        (_, Some(int)) => Err(format!("{int} cannot be added to a float without rounding it")),
        (other, None) => Err(format!("$inc works on a number, and this is {}", a(other))),
    }
}

/// A kind of value with its article.
fn a(value: &Value) -> String {
    let name = value.kind().name();
    match name.starts_with(['a', 'o']) {
        true => format!("an {name}"),
        false => format!("a {name}"),
    }
}

/// Hands over what stands at the end of the path (`None`: nothing) and puts back what is left there. Objects that are
/// missing on the way are made.
fn place(
    segments: &[Segment],
    value: &mut Value,
    change: &mut dyn FnMut(&mut Option<Value>) -> Result<(), String>,
) -> Result<(), String> {
    let Some((first, rest)) = segments.split_first() else {
        // Only the path's own segments lead here, and it has at least one.
        let mut found = Some(std::mem::replace(value, Value::Null));
        change(&mut found)?;
        *value = found.unwrap_or(Value::Null);
        return Ok(());
    };
    match value {
        Value::Object(entries) => match entries.iter().position(|(name, _)| name == first.name()) {
            Some(at) => place(rest, &mut entries[at].1, change),
            None => {
                entries.push((first.name().to_owned(), make(rest, change)?));
                Ok(())
            }
        },
        Value::Array(items) => match first.index() {
            Some(index) if index < items.len() => place(rest, &mut items[index], change),
            Some(index) if index == items.len() => {
                items.push(make(rest, change)?);
                Ok(())
            }
            Some(index) => Err(format!("the array has {} elements: there is no place {index}", items.len())),
            None => Err(format!("`{}` names no place in an array: give a number", first.name())),
        },
        other => Err(format!("`{}` would lie within {}", first.name(), a(other))),
    }
}

/// What `change` makes of nothing, within the objects that lead there.
fn make(
    segments: &[Segment],
    change: &mut dyn FnMut(&mut Option<Value>) -> Result<(), String>,
) -> Result<Value, String> {
    let mut found = None;
    change(&mut found)?;
    let innermost = found.unwrap_or(Value::Null);
    Ok(segments.iter().rev().fold(innermost, |value, segment| Value::Object(vec![(segment.name().to_owned(), value)])))
}

fn find<'v>(segments: &[Segment], value: &'v mut Value) -> Option<&'v mut Value> {
    segments.iter().try_fold(value, |value, segment| match value {
        Value::Object(entries) => entries.iter_mut().find(|(name, _)| name == segment.name()).map(|(_, value)| value),
        Value::Array(items) => segment.index().and_then(|index| items.get_mut(index)),
        _ => None,
    })
}

/// Removes a field. An element of an array becomes null: the others keep their places.
fn unset(segments: &[Segment], document: &mut Value) {
    let Some((last, parents)) = segments.split_last() else { return };
    match find(parents, document) {
        Some(Value::Object(entries)) => entries.retain(|(name, _)| name != last.name()),
        Some(Value::Array(items)) => {
            if let Some(item) = last.index().and_then(|index| items.get_mut(index)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::value;

    fn parse(update: &str) -> Result<Update, Error> {
        Update::parse(value(update).as_object().unwrap())
    }

    #[track_caller]
    fn check(document: &str, update: &str, expected: &str) {
        let mut document = value(document);
        let applied = parse(update).unwrap().apply(&mut document);
        match expected.strip_prefix("! ") {
            None => {
                assert_eq!(applied, Ok(()), "{update}");
                assert_eq!(String::from_utf8(document.to_bytes()).unwrap(), expected, "{update}");
            }
            Some(problem) => assert_eq!(applied.unwrap_err().to_string(), problem, "{update}"),
        }
    }

    #[test]
    fn sets_and_unsets() {
        check(r#"{"a":1,"b":2}"#, r#"{"$set":{"a":3,"c.d":4}}"#, r#"{"a":3,"b":2,"c":{"d":4}}"#);
        check(r#"{"a":[1,2]}"#, r#"{"$set":{"a.1":9}}"#, r#"{"a":[1,9]}"#);
        check(r#"{"a":[1,2]}"#, r#"{"$set":{"a.2":9}}"#, r#"{"a":[1,2,9]}"#);
        check(r#"{"a":[1,2]}"#, r#"{"$set":{"a.3":9}}"#, "! a.3: the array has 2 elements: there is no place 3");
        check(r#"{"a":[1,2]}"#, r#"{"$set":{"a.x":9}}"#, "! a.x: `x` names no place in an array: give a number");
        check(r#"{"a":1}"#, r#"{"$set":{"a.x":9}}"#, "! a.x: `x` would lie within a number");
        check(r#"{"a":{"0":1}}"#, r#"{"$set":{"a.0":2,"b.0":3}}"#, r#"{"a":{"0":2},"b":{"0":3}}"#);
        check(r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"$unset":{"a":1,"b.c":"","x.y":1}}"#, r#"{"b":{"d":3}}"#);
        check(r#"{"a":[1,2,3]}"#, r#"{"$unset":{"a.1":1,"a.7":1}}"#, r#"{"a":[1,null,3]}"#);
    }

    #[test]
    fn adds_exactly() {
        check(r#"{"n":1}"#, r#"{"$inc":{"n":2,"m":-5}}"#, r#"{"n":3,"m":-5}"#);
        check(r#"{"n":1}"#, r#"{"$inc":{"n":0.5}}"#, r#"{"n":1.5}"#);
        check(r#"{"n":9223372036854775807}"#, r#"{"$inc":{"n":1}}"#, r#"{"n":9223372036854775808}"#);
        check(r#"{"n":18446744073709551615}"#, r#"{"$inc":{"n":1}}"#, "! n: 18446744073709551616 does not fit 64 bits");
        check(
            r#"{"n":9007199254740993}"#,
            r#"{"$inc":{"n":0.5}}"#,
            "! n: 9007199254740993 cannot be added to a float without rounding it",
        );
        check(r#"{"n":1e308}"#, r#"{"$inc":{"n":1e308}}"#, "! n: the sum is beyond what a 64-bit float holds");
        check(r#"{"n":null}"#, r#"{"$inc":{"n":1}}"#, "! n: $inc works on a number, and this is a null");
        check(r#"{"n":"1"}"#, r#"{"$inc":{"n":1}}"#, "! n: $inc works on a number, and this is a string");
    }

    #[test]
    fn keeps_the_least_and_the_greatest() {
        check(r#"{"a":5,"b":5}"#, r#"{"$min":{"a":3,"c":7},"$max":{"b":3}}"#, r#"{"a":3,"b":5,"c":7}"#);
        check(r#"{"a":5}"#, r#"{"$min":{"a":5.0}}"#, r#"{"a":5}"#);
        check(r#"{"a":5}"#, r#"{"$max":{"a":"x"}}"#, r#"{"a":"x"}"#);
    }

    #[test]
    fn changes_arrays() {
        check(r#"{"a":[1]}"#, r#"{"$push":{"a":1,"b":{"x":1}}}"#, r#"{"a":[1,1],"b":[{"x":1}]}"#);
        check(r#"{"a":[1]}"#, r#"{"$push":{"a":{"$each":[2,[3]]}}}"#, r#"{"a":[1,2,[3]]}"#);
        check(r#"{"a":[1]}"#, r#"{"$addToSet":{"a":{"$each":[1.0,2,2]}}}"#, r#"{"a":[1,2]}"#);
        check(r#"{"a":[1,2,1.0,"1"]}"#, r#"{"$pull":{"a":1,"z":1}}"#, r#"{"a":[2,"1"]}"#);
        check(r#"{"a":[1,2,3]}"#, r#"{"$pull":{"a":{"$gte":2}}}"#, r#"{"a":[1]}"#);
        check(r#"{"a":[{"x":1,"y":2},{"x":2},3]}"#, r#"{"$pull":{"a":{"x":1}}}"#, r#"{"a":[{"x":2},3]}"#);
        check(r#"{"a":1}"#, r#"{"$push":{"a":1}}"#, "! a: $push works on an array, and this is a number");
        check(r#"{"a":{}}"#, r#"{"$pull":{"a":1}}"#, "! a: $pull works on an array, and this is an object");
    }

    #[test]
    fn refuses_what_is_no_update() {
        for (update, code, path) in [
            (r#"{"$set":{"a":1},"b":2}"#, "invalid_update", "/b"),
            (r#"{"$rename":{"a":"b"}}"#, "invalid_field_name", "/$rename"),
            (r#"{"$set":3}"#, "invalid_update", "/$set"),
            (r#"{"$set":{"a..b":3}}"#, "invalid_path", "/$set/a..b"),
            (r#"{"$set":{"$a":3}}"#, "invalid_path", "/$set/$a"),
            (r#"{"$inc":{"a":"1"}}"#, "invalid_update", "/$inc/a"),
            (r#"{"$push":{"a":{"$each":1}}}"#, "invalid_update", "/$push/a"),
            (r#"{"$push":{"a":{"$each":[1],"$slice":1}}}"#, "invalid_update", "/$push/a"),
            (r#"{"$pull":{"a":{"$near":1}}}"#, "unknown_operator", "/$pull/a/$near"),
            (r#"{"$set":{"a":1},"$inc":{"a":1}}"#, "invalid_update", ""),
            (r#"{"$set":{"a":1,"a-b":1,"a.b":1}}"#, "invalid_update", ""),
        ] {
            let error = parse(update).unwrap_err();
            assert_eq!((error.code, error.path.as_str()), (code, path), "{update}: {error}");
        }
        assert!(parse(r#"{"$set":{"a.b":1,"a.c":1}}"#).is_ok());
        let many: Vec<String> = (0..=UPDATE_EDITS_MAX).map(|n| format!(r#""f{n}":1"#)).collect();
        assert!(parse(&format!(r#"{{"$set":{{{}}}}}"#, many.join(","))).is_err());
    }
}
