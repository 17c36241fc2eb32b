//! Reading a filter.

use super::{Condition, ElemMatch, Filter, REGEX_PATTERN_BYTES_MAX, REGEXES_PER_FILTER_MAX, Regex, Test, ValueSet};
use crate::json::{Kind, Path, Value};

/// How deep `$and`, `$or`, `$nor`, `$not` and `$elemMatch` may lie within each other.
pub const FILTER_DEPTH_MAX: usize = 16;

/// The most operators of a filter. Implicit `$eq` counts as one, and so does an empty filter within another.
pub const FILTER_NODES_MAX: usize = 256;

/// The longest list behind `$in`, `$nin` and `$all`.
pub const FILTER_LIST_LEN_MAX: usize = 1000;

/// How deep a value may be that documents are compared with. Chosen so that the deepest filter, printed, is still
/// within the depth that JSON may have by default.
pub const FILTER_OPERAND_DEPTH_MAX: usize = 24;

/// What stands at the top of a filter or between fields.
const LOGICAL_OPERATORS: [&str; 4] = ["$and", "$or", "$nor", "$not"];

/// What stands on a field.
const FIELD_OPERATORS: [&str; 17] = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$type",
    "$not",
    "$all",
    "$elemMatch",
    "$size",
    "$contains",
    "$startsWith",
    "$regex",
];

/// What is wrong with a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not the shape that a filter or an operator needs.
    InvalidFilter,
    /// A name with `$` that is no operator.
    UnknownOperator,
    /// A field that no document can have.
    InvalidPath,
    /// Deeper than [`FILTER_DEPTH_MAX`] or [`FILTER_OPERAND_DEPTH_MAX`].
    TooDeep,
    /// More than [`FILTER_NODES_MAX`], [`FILTER_LIST_LEN_MAX`], [`REGEXES_PER_FILTER_MAX`] or
    /// [`REGEX_PATTERN_BYTES_MAX`].
    TooLarge,
}

impl ErrorKind {
    /// The stable word for this error.
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::InvalidFilter => "invalid_filter",
            ErrorKind::UnknownOperator => "unknown_operator",
            ErrorKind::InvalidPath => "invalid_path",
            ErrorKind::TooDeep => "filter_too_deep",
            ErrorKind::TooLarge => "filter_too_large",
        }
    }
}

/// Why a value is not a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", place(path))]
pub struct Error {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// The place within the filter, as a JSON pointer (RFC 6901); empty for the filter as a whole.
    pub path: String,
    /// What is wrong, for a person.
    pub message: String,
}

fn place(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" (at `{path}`)") }
}

impl Error {
    /// The stable word for this error.
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl Filter {
    /// Reads a filter: an object of fields and logical operators, all of which must hold.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn parse(value: &Value) -> Result<Self, Error> {
        Parser::default().filter(value)
    }
}

impl ElemMatch {
    /// Reads what stands behind `$elemMatch`: operators for an element, or a filter on an element that is an object.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn parse(value: &Value) -> Result<Self, Error> {
        Parser::default().elem_match(value)
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// Reads from the outside in, keeping account of where it is and what it has met.
#[derive(Default)]
struct Parser {
    nodes: usize,
    regexes: usize,
    depth: usize,
    at: Vec<String>,
}

impl Parser {
    fn filter(&mut self, value: &Value) -> Result<Filter> {
        let Value::Object(entries) = value else {
            return Err(self.invalid(format!("a filter is an object, not {}", value.kind().name())));
        };
        if entries.is_empty() {
            self.count()?;
        }
        let mut conditions = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            conditions.push(self.within(key, |parser| parser.condition(key, value))?);
        }
        Ok(Filter { conditions })
    }

    fn condition(&mut self, key: &str, value: &Value) -> Result<Condition> {
        match key {
            "$and" => self.filters(key, value).map(Condition::And),
            "$or" => self.filters(key, value).map(Condition::Or),
            "$nor" => self.filters(key, value).map(Condition::Nor),
            "$not" => {
                self.count()?;
                self.deeper(|parser| parser.filter(value)).map(Condition::Not)
            }
            _ if key.starts_with('$') => Err(self.not_an_operator(key, "at the top of a filter")),
            _ => {
                let path = Path::parse(key).map_err(|error| self.error(ErrorKind::InvalidPath, error.to_string()))?;
                let tests = self.tests(value)?;
                Ok(Condition::Field { path, tests })
            }
        }
    }

    /// The list behind `$and`, `$or` and `$nor`.
    fn filters(&mut self, operator: &str, value: &Value) -> Result<Vec<Filter>> {
        self.count()?;
        let items = match value {
            Value::Array(items) if !items.is_empty() => items,
            _ => return Err(self.invalid(format!("{operator} takes an array of at least one filter"))),
        };
        self.deeper(|parser| {
            let filters = items.iter().enumerate();
            filters.map(|(position, item)| parser.within(&position.to_string(), |parser| parser.filter(item))).collect()
        })
    }

    /// What stands on a field: an object of operators, or a value that it must equal.
    fn tests(&mut self, value: &Value) -> Result<Vec<Test>> {
        match value {
            Value::Object(entries) if entries.iter().any(|(key, _)| key.starts_with('$')) => self.operators(entries),
            _ => {
                self.count()?;
                Ok(vec![Test::Eq(self.operand(value)?)])
            }
        }
    }

    fn operators(&mut self, entries: &[(String, Value)]) -> Result<Vec<Test>> {
        let mut tests = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            tests.push(self.within(key, |parser| parser.test(key, value))?);
        }
        Ok(tests)
    }

    fn test(&mut self, operator: &str, value: &Value) -> Result<Test> {
        self.count()?;
        Ok(match operator {
            "$eq" => Test::Eq(self.operand(value)?),
            "$ne" => Test::Ne(self.operand(value)?),
            "$gt" => Test::Gt(self.operand(value)?),
            "$gte" => Test::Gte(self.operand(value)?),
            "$lt" => Test::Lt(self.operand(value)?),
            "$lte" => Test::Lte(self.operand(value)?),
            "$in" => Test::In(self.list(operator, value)?),
            "$nin" => Test::Nin(self.list(operator, value)?),
            "$exists" => match value {
                Value::Bool(wanted) => Test::Exists(*wanted),
                _ => return Err(self.invalid("$exists takes true or false")),
            },
            "$type" => Test::Type(self.kinds(value)?),
            "$not" => Test::Not(self.negated(value)?),
            "$all" => match self.list(operator, value)? {
                values if values.as_slice().is_empty() => return Err(self.invalid("$all takes at least one value")),
                values => Test::All(values),
            },
            "$elemMatch" => Test::ElemMatch(self.elem_match(value)?),
            "$size" => Test::Size(self.size(value)?),
            "$contains" => Test::Contains(self.string(operator, value)?),
            "$startsWith" => Test::StartsWith(self.string(operator, value)?),
            "$regex" => Test::Regex(self.regex(value)?),
            "$options" => return Err(self.invalid("options of a $regex stand in its pattern: `(?i)` for any case")),
            _ if operator.starts_with('$') => return Err(self.not_an_operator(operator, "on a field")),
            _ => return Err(self.invalid(format!("`{}` stands beside operators and is none", shown(operator)))),
        })
    }

    /// A value that documents are compared with.
    fn operand(&self, value: &Value) -> Result<Value> {
        if value.depth() > FILTER_OPERAND_DEPTH_MAX {
            let message = format!("a value in a filter is at most {FILTER_OPERAND_DEPTH_MAX} deep");
            return Err(self.error(ErrorKind::TooDeep, message));
        }
        Ok(value.clone())
    }

    fn list(&mut self, operator: &str, value: &Value) -> Result<ValueSet> {
        let Value::Array(items) = value else {
            return Err(self.invalid(format!("{operator} takes an array")));
        };
        if items.len() > FILTER_LIST_LEN_MAX {
            let message = format!("{operator} takes at most {FILTER_LIST_LEN_MAX} values");
            return Err(self.error(ErrorKind::TooLarge, message));
        }
        let mut values = Vec::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            values.push(self.within(&position.to_string(), |parser| parser.operand(item))?);
        }
        Ok(ValueSet::new(values))
    }

    fn kinds(&self, value: &Value) -> Result<Vec<Kind>> {
        let names = match value {
            Value::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let kind = |name: &Value| name.as_str().and_then(Kind::from_name);
        match names.iter().map(kind).collect::<Option<Vec<_>>>() {
            Some(mut kinds) if !kinds.is_empty() => {
                kinds.sort_unstable();
                kinds.dedup();
                Ok(kinds)
            }
            _ => {
                let known = Kind::ALL.map(Kind::name).join(", ");
                Err(self.invalid(format!("$type takes a type or an array of types, of {known}")))
            }
        }
    }

    fn negated(&mut self, value: &Value) -> Result<Vec<Test>> {
        match value {
            Value::Object(entries) if !entries.is_empty() => self.deeper(|parser| parser.operators(entries)),
            _ => Err(self.invalid("$not on a field takes an object of operators; for a value there is $ne")),
        }
    }

    fn elem_match(&mut self, value: &Value) -> Result<ElemMatch> {
        let entries = match value {
            Value::Object(entries) if !entries.is_empty() => entries,
            _ => return Err(self.invalid("$elemMatch takes an object of operators or a filter, not an empty one")),
        };
        self.deeper(|parser| match tests_the_element_itself(entries) {
            true => parser.operators(entries).map(ElemMatch::Value),
            false => parser.filter(value).map(ElemMatch::Object),
        })
    }

    fn size(&self, value: &Value) -> Result<u64> {
        value.as_u64().ok_or_else(|| self.invalid("$size takes an integer from 0"))
    }

    fn string(&self, operator: &str, value: &Value) -> Result<String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.invalid(format!("{operator} takes a string"))),
        }
    }

    fn regex(&mut self, value: &Value) -> Result<Regex> {
        let Value::String(pattern) = value else {
            return Err(self.invalid("$regex takes a pattern as a string; flags stand in it, as in `(?i)oslo`"));
        };
        self.regexes += 1;
        if self.regexes > REGEXES_PER_FILTER_MAX {
            let message = format!("a filter has at most {REGEXES_PER_FILTER_MAX} patterns");
            return Err(self.error(ErrorKind::TooLarge, message));
        }
        if pattern.len() > REGEX_PATTERN_BYTES_MAX {
            let message = format!("a pattern has at most {REGEX_PATTERN_BYTES_MAX} bytes");
            return Err(self.error(ErrorKind::TooLarge, message));
        }
        Regex::compile(pattern).map_err(|error| self.invalid(format!("the pattern cannot be used: {error}")))
    }

    /// Counts one more operator.
    fn count(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > FILTER_NODES_MAX {
            return Err(self.error(ErrorKind::TooLarge, format!("a filter has at most {FILTER_NODES_MAX} operators")));
        }
        Ok(())
    }

    /// Reads what lies one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == FILTER_DEPTH_MAX {
            return Err(self.error(ErrorKind::TooDeep, format!("a filter is at most {FILTER_DEPTH_MAX} deep")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Reads what lies behind `key`. After an error the place stays as it is: it is the place of the error.
    fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.at.push(key.to_owned());
        let read = read(self)?;
        self.at.pop();
        Ok(read)
    }

    fn not_an_operator(&self, name: &str, place: &str) -> Error {
        if LOGICAL_OPERATORS.contains(&name) || FIELD_OPERATORS.contains(&name) {
            return self.invalid(format!("{name} does not stand {place}"));
        }
        let only_logical = LOGICAL_OPERATORS.into_iter().filter(|operator| !FIELD_OPERATORS.contains(operator));
        let known: Vec<_> = FIELD_OPERATORS.into_iter().chain(only_logical).collect();
        let message = format!("`{}` is not an operator; there are {}", shown(name), known.join(" "));
        self.error(ErrorKind::UnknownOperator, message)
    }

    fn invalid(&self, message: impl Into<String>) -> Error {
        self.error(ErrorKind::InvalidFilter, message)
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        let mut path = String::new();
        for token in &self.at {
            path.push('/');
            path.push_str(&shown(token).replace('~', "~0").replace('/', "~1"));
        }
        Error { kind, path, message: message.into() }
    }
}

/// As much of a user's text as an error message quotes.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Whether what stands behind `$elemMatch` are operators for the element itself rather than a filter for an object.
/// `$not` can be both; then what else is there decides, and if nothing is, what `$not` is about.
fn tests_the_element_itself(entries: &[(String, Value)]) -> bool {
    if let Some((key, _)) = entries.iter().find(|(key, _)| key != "$not") {
        return key.starts_with('$') && !LOGICAL_OPERATORS.contains(&key.as_str());
    }
    let negated = entries.first().and_then(|(_, negated)| negated.as_object());
    negated.is_some_and(|entries| !entries.is_empty() && tests_the_element_itself(entries))
}
