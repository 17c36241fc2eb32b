//! Histories in Jepsen's own form (EDN), so that others' checkers can read them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Event, Kind, Process};

/// Writes one map a line, `{:index 0, :time 12, :process 3, :type :invoke, :f :get, :value {..}}`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_edn(events: &[Event], path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path).with_context(|| format!("creating {}", path.display()))?);
    for event in events {
        writeln!(out, "{}", line(event))?;
    }
    Ok(out.flush()?)
}

fn line(event: &Event) -> String {
    let mut out = String::new();
    let process = match event.process {
        Process::Client(number) => number.to_string(),
        Process::Nemesis => ":nemesis".to_owned(),
    };
    let kind = match event.kind {
        Kind::Invoke => "invoke",
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    };
    put(&mut out, format_args!("{{:index {}, :time {}, ", event.index, event.time_ns));
    put(&mut out, format_args!(":process {process}, :type :{kind}, :f {}, :value ", keyword(&event.f)));
    value(&event.value, &mut out);
    if let Some(error) = &event.error {
        put(&mut out, format_args!(", :error {}", string(error)));
    }
    if let Some(node) = event.node {
        put(&mut out, format_args!(", :node {node}"));
    }
    if let Some(revision) = event.revision {
        put(&mut out, format_args!(", :revision {revision}"));
    }
    out.push('}');
    out
}

/// Writing to a string does not fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

fn value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => put(out, format_args!("{value}")),
        Value::String(text) => out.push_str(&string(text)),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                self::value(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (place, (name, field)) in fields.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                out.push_str(&keyword(name));
                out.push(' ');
                self::value(field, out);
            }
            out.push('}');
        }
    }
}

/// A keyword where EDN can spell it, else a string.
fn keyword(name: &str) -> String {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let plain = first && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if plain { format!(":{name}") } else { string(name) }
}

/// EDN knows fewer escapes than Rust: these and `\uXXXX`.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => put(&mut out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_map() {
        let event = Event {
            index: 0,
            time_ns: 12,
            process: Process::Client(3),
            kind: Kind::Invoke,
            f: "read".into(),
            value: json!(["k", {"a": null, "$b": 1.5}, "x\"\n"]),
            error: None,
            node: None,
            revision: Some(7),
        };
        let expected = r#"{:index 0, :time 12, :process 3, :type :invoke, :f :read, :value ["k" {"$b" 1.5, :a nil} "x\"\n"], :revision 7}"#;
        assert_eq!(line(&event), expected);
    }
}
