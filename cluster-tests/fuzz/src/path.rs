//! A path, an order or a selection in the first line, a document behind it: JSON is read as it was written and written as
//! it is read, and paths reach what a naive walk reaches.

use aerodb_engine::json::{self, Path, Reached, Value};
use aerodb_engine::order::Order;
use aerodb_engine::prepare;
use aerodb_engine::select::Select;
use aerodb_engine::{Limits, fuzzing};

use crate::{naive, two_texts};

pub(crate) fn run(data: &[u8]) {
    let (text, document) = two_texts(data).unwrap_or((b"a", data));
    let (quick, parsed) = fuzzing::inserts(document, &Limits::default());
    assert!(quick.is_none() || quick == parsed.ok(), "two ways to read a body differ");
    let Ok(document) = prepare::body(document, &Limits::default()) else { return };
    reads_back(&document);
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(path) = Path::parse(text) {
        assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path));
        walks(&path, &document);
    }
    if let Ok(order) = Order::parse(text)
        && let Ok(key) = order.key(&document)
    {
        assert_eq!(key.len(), order.keys().len());
        let place = (&key[..], "id");
        assert!(order.compare(&place, &place).is_eq());
    }
    if let Ok(select) = Select::parse(text) {
        let selected = select.apply(&document);
        reads_back(&selected);
        // Elements that are left out make others change their places: what names places means something else then.
        let names_places = select.paths().iter().flat_map(Path::segments).any(|segment| segment.index().is_some());
        if !names_places {
            assert_eq!(select.apply(&selected).to_bytes(), selected.to_bytes(), "{text} of {document}, twice");
        }
    }
}

/// What is written reads back as the same, here and elsewhere.
fn reads_back(value: &Value) {
    let written = value.to_bytes();
    let back = json::parse(&written, &json::STORED).unwrap();
    assert_eq!(back.to_bytes(), written);
    assert!(back.equals(value));
    assert!(serde_json::from_slice::<serde_json::Value>(&written).is_ok(), "{value}");
}

fn walks(path: &Path, document: &Value) {
    let expected = naive::reached(path, document);
    let mut found = Vec::new();
    assert!(!path.any(document, &mut |value| {
        found.push(value);
        false
    }));
    assert!(found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| std::ptr::eq(*a, *b)));
    assert_eq!(path.reaches(document), !expected.is_empty());
    match path.single(document) {
        Reached::One(value) => assert!(expected.len() == 1 && std::ptr::eq(value, expected[0]), "{path} of {document}"),
        Reached::Missing => assert!(expected.is_empty(), "{path} of {document}"),
        Reached::Many => {}
    }
}
