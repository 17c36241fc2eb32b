//! Where the records of an import come from.

use aerodb_records::{Csv, JsonArray, Jsonl, Position, Source, Unusable, Values, names_of};

use super::options::{Format, ImportCommand, Input};
use crate::exit::Advice;

/// Opens the source of an import at a position.
pub(super) fn open(input: &Input, command: &ImportCommand, at: Position) -> Result<Box<dyn Source>, Advice> {
    let id_field = command.id_field.clone();
    Ok(match input.format {
        Format::Jsonl => Box::new(Jsonl::new(input.bytes_from(at.offset)?, at, id_field)),
        Format::Json => Box::new(JsonArray::new(input.bytes_from(at.offset)?, at, id_field)),
        Format::Csv => {
            let values = if command.csv_strings { Values::Texts } else { Values::Inferred };
            // The names stand in the first row, wherever the records are read from.
            let names = if at.offset > 0 { Some(names_of(input.bytes_from(0)?)?) } else { None };
            Box::new(Csv::new(input.bytes_from(at.offset)?, at, names, values, id_field)?)
        }
    })
}

impl From<Unusable> for Advice {
    fn from(unusable: Unusable) -> Self {
        Advice::usage(unusable.what).why(unusable.why)
    }
}
