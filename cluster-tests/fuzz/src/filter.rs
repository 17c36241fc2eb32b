//! A filter in the first line, a document behind it: reading never panics, what is printed reads back as the same filter,
//! and evaluation says what the naive one says.

use aerodb_engine::Limits;
use aerodb_engine::filter::Filter;
use aerodb_engine::json::{self, Value};
use aerodb_engine::prepare;

use crate::{naive, two_texts};

pub(crate) fn run(data: &[u8]) {
    let (text, document) = two_texts(data).unwrap_or((data, b"{}"));
    let limits = Limits::default();
    let Ok(value) = prepare::body(text, &limits) else { return };
    let Ok(filter) = Filter::parse(&value) else { return };
    let printed = filter.to_string();
    let back = json::parse(printed.as_bytes(), &json::STORED).unwrap();
    assert_eq!(Filter::parse(&back).as_ref(), Ok(&filter), "printed as {printed}");
    let document = prepare::body(document, &limits).unwrap_or(Value::Null);
    for document in [&document, &value] {
        assert_eq!(filter.matches(document), naive::matches(&filter, document), "{printed} of {document}");
    }
}
