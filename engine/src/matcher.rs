//! Asks a filter about stored documents, one after the other, reading of each only what the filter names.

use crate::body;
use crate::error::Error;
use crate::filter::Filter;
use crate::json::Members;

/// A filter and the memory to ask it with.
pub struct Matcher<'f> {
    filter: &'f Filter,
    reader: body::Reader,
}

impl<'f> Matcher<'f> {
    /// Asks `filter`.
    pub fn new(filter: &'f Filter) -> Self {
        let mut members = Members::default();
        filter.each_path(&mut |path| members.add(path));
        Self { filter, reader: body::Reader::new(members) }
    }

    /// Whether the filter matches a document, which is as it is stored.
    ///
    /// # Errors
    /// When the document is damaged.
    pub fn matches(&mut self, body: &[u8]) -> Result<bool, Error> {
        let document = self.reader.read(body).map_err(|e| Error::malformed("a document", e))?;
        Ok(self.filter.matches(document))
    }
}
