//! The value itself and the one total order of all values.

use std::cmp::Ordering;

/// A JSON value. An object keeps its keys in the order in which they were given.
///
/// Invariants, kept by [`parse`](super::parse) and relied upon everywhere: the keys of an object are distinct, a float
/// is finite, [`Value::UInt`] holds only what [`Value::Int`] cannot, and nesting is bounded
/// ([`DEPTH_CEILING`](super::DEPTH_CEILING)), so that functions may recurse over a value.
///
/// `==` is structural: it tells `1` from `1.0` and minds the order of keys. What a filter means by equal is
/// [`Value::equals`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits 64 bits with a sign.
    Int(i64),
    /// An integer above [`i64::MAX`].
    UInt(u64),
    /// A number that was written with a fraction or an exponent, and `-0`.
    Float(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

/// The type of a value as JSON knows types: all numbers are one. Declared in sorting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// Any number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// All kinds, in sorting order.
    pub const ALL: [Kind; 6] = [Kind::Null, Kind::Boolean, Kind::Number, Kind::String, Kind::Array, Kind::Object];

    /// The name that users read and write.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }

    /// The kind that is called `name`.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Value {
    /// An empty object.
    pub const fn empty_object() -> Self {
        Value::Object(Vec::new())
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Boolean,
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => Kind::Number,
            Value::String(_) => Kind::String,
            Value::Array(_) => Kind::Array,
            Value::Object(_) => Kind::Object,
        }
    }

    /// Whether this is `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The integer, if it is one from 0.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Int(int) => u64::try_from(*int).ok(),
            Value::UInt(int) => Some(*int),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs, if it is an object.
    pub fn as_object(&self) -> Option<&[(String, Value)]> {
        match self {
            Value::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// How deep arrays and objects lie within each other; 0 for a scalar, 1 for `[]`.
    pub fn depth(&self) -> usize {
        match self {
            Value::Array(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Object(entries) => 1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether two values are the same to a filter: numbers by what they are worth, objects whatever the order of
    /// their keys.
    pub fn equals(&self, other: &Value) -> bool {
        self.compare(other) == Ordering::Equal
    }

    /// The total order by which everything is sorted: null < false < true < numbers < strings (by code point) < arrays
    /// (element by element) < objects (as pairs sorted by key). Numbers are compared exactly across integers and
    /// floats: 2^53 + 1 is above 2^53 as a float.
    pub fn compare(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            // UTF-8 was made so that the order of bytes is the order of code points.
            (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Array(a), Value::Array(b)) => compare_arrays(a, b),
            (Value::Object(a), Value::Object(b)) => compare_objects(a, b),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.compare(b),
                _ => a.kind().cmp(&b.kind()),
            },
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Value::Int(int) => Some(Number::Int(i128::from(*int))),
            Value::UInt(int) => Some(Number::Int(i128::from(*int))),
            Value::Float(float) => Some(Number::Float(*float)),
            _ => None,
        }
    }
}

/// A number while it is compared; every integer fits.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (Number::Float(a), Number::Float(b)) => compare_floats(a, b),
            (Number::Int(a), Number::Float(b)) => compare_int_float(a, b),
            (Number::Float(a), Number::Int(b)) => compare_int_float(b, a).reverse(),
        }
    }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    debug_assert!(a.is_finite() && b.is_finite(), "a float value is finite");
    a.partial_cmp(&b).unwrap_or_else(|| a.total_cmp(&b))
}

/// Compares without ever rounding the integer: the float is split into its whole part, which an `i128` holds exactly,
/// and its fraction, which decides when the whole parts are equal.
fn compare_int_float(int: i128, float: f64) -> Ordering {
    // 2^65: beyond every integer value, and far within the range where the conversion to `i128` is exact.
    const BEYOND: f64 = 36_893_488_147_419_103_232.0;
    if float >= BEYOND {
        return Ordering::Less;
    }
    if float <= -BEYOND {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    int.cmp(&(whole as i128)).then_with(|| compare_floats(whole, float))
}

fn compare_arrays(a: &[Value], b: &[Value]) -> Ordering {
    let unequal = a.iter().zip(b).map(|(a, b)| a.compare(b)).find(|ordering| ordering.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare_objects(a: &[(String, Value)], b: &[(String, Value)]) -> Ordering {
    let (a, b) = (sorted_pairs(a), sorted_pairs(b));
    let pairs = a.iter().zip(&b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| a.1.compare(&b.1)));
    let unequal = { pairs }.find(|ordering| ordering.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn sorted_pairs(entries: &[(String, Value)]) -> Vec<&(String, Value)> {
    let mut pairs: Vec<_> = entries.iter().collect();
    pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    pairs
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Value::UInt(value), Value::Int)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::String(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Value::Array(value)
    }
}
