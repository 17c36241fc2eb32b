//! JSON as AeroDB understands it: documents, filters and patches are values of this module.
//!
//! Strict where other readers are generous, because a database that repairs its input in silence stores something else
//! than it was given: no duplicate keys, no number that does not fit, no half of a surrogate pair. Numbers keep their
//! kind (`1` and `1.0` are written back as they came) and are nevertheless compared by what they are worth.

mod members;
mod parse;
mod path;
mod splice;
mod stored;
mod value;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use members::{Members, MembersReader, parse_members};
pub use parse::{DEPTH_CEILING, Error, ErrorKind, Limits, STORED, parse};
pub use path::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX, Path, PathError, Reached, Segment};
pub use value::{Kind, Value};

pub(crate) use parse::number;
pub(crate) use splice::{Spliced, splice};
pub(crate) use write::write_string;
