//! What happened, in order: a hash over all of it, so that two runs can be compared, and the last events in words.
//!
//! Everything of a simulation runs on one thread, so this is a thread's own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use xxhash_rust::xxh3::Xxh3;

/// Events kept in words.
const EVENTS_MAX: usize = 400;

struct Trace {
    now: Duration,
    hash: Xxh3,
    events: u64,
    last: VecDeque<String>,
    /// Print each event as it comes.
    aloud: bool,
    /// Log lines of the nodes that none of them may ever write.
    alarms: Vec<String>,
}

thread_local! {
    static TRACE: RefCell<Trace> = const { RefCell::new(Trace::new()) };
}

impl Trace {
    const fn new() -> Self {
        Self {
            now: Duration::ZERO,
            hash: Xxh3::new(),
            events: 0,
            last: VecDeque::new(),
            aloud: false,
            alarms: Vec::new(),
        }
    }
}

/// Begins anew. `aloud`: print each event as it comes.
pub fn begin(aloud: bool) {
    TRACE.with_borrow_mut(|trace| {
        *trace = Trace { aloud, ..Trace::new() };
    });
}

/// The simulated time is `now`.
pub fn set_now(now: Duration) {
    TRACE.with_borrow_mut(|trace| trace.now = now);
}

/// The simulated time.
pub fn now() -> Duration {
    TRACE.with_borrow(|trace| trace.now)
}

/// Adds an event to the hash only.
pub fn fold(words: &[u64]) {
    TRACE.with_borrow_mut(|trace| {
        let now = trace.now.as_micros() as u64;
        trace.hash.update(&now.to_le_bytes());
        words.iter().for_each(|word| trace.hash.update(&word.to_le_bytes()));
        trace.events += 1;
    });
}

/// Adds an event to the hash and to the last events.
pub fn note(event: String) {
    TRACE.with_borrow_mut(|trace| {
        trace.hash.update(event.as_bytes());
        trace.events += 1;
        trace.keep(event);
    });
}

/// Prints an event where each is printed; it is part of nothing else.
pub fn detail(event: impl FnOnce() -> String) {
    let aloud = TRACE.with_borrow(|trace| trace.aloud.then_some(trace.now));
    if let Some(now) = aloud {
        eprintln!("{:>10.3} ms      {}", now.as_secs_f64() * 1_000.0, event());
    }
}

/// The hash of all events so far, and their number.
pub fn hash() -> (u64, u64) {
    TRACE.with_borrow(|trace| (trace.hash.digest(), trace.events))
}

/// The last events.
pub fn last() -> Vec<String> {
    TRACE.with_borrow(|trace| trace.last.iter().cloned().collect())
}

/// Log lines that no node may ever write.
pub fn alarms() -> Vec<String> {
    TRACE.with_borrow(|trace| trace.alarms.clone())
}

impl Trace {
    fn keep(&mut self, event: String) {
        let line = format!("{:>10.3} ms  {event}", self.now.as_secs_f64() * 1_000.0);
        if self.aloud {
            eprintln!("{line}");
        }
        if self.last.len() == EVENTS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// Lines by which the product says that it found itself in the wrong.
const ALARMS: [&str; 1] = ["an entry was void without a refusal before it"];

/// Keeps the nodes' log lines among the last events. They are no part of the hash: words may change, behaviour not.
pub struct Lines;

impl<S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::span::Id, context: Context<'_, S>) {
        let mut name = Words::default();
        attributes.record(&mut name);
        if let Some(span) = context.span(id).filter(|span| span.name() == "node") {
            span.extensions_mut().insert(name);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let node = context.event_scope(event).and_then(|scope| {
            scope.from_root().find_map(|span| span.extensions().get::<Words>().map(|words| words.0.clone()))
        });
        let line = format!("{:<8}{} {}", node.unwrap_or_default(), event.metadata().level(), words.0);
        // A log line written while the trace itself is at work would find it borrowed; there is none today.
        TRACE.with(|trace| {
            if let Ok(mut trace) = trace.try_borrow_mut() {
                if ALARMS.iter().any(|alarm| line.contains(alarm)) {
                    trace.alarms.push(line.clone());
                }
                trace.keep(line);
            }
        });
    }
}

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => format!("{value:?} "),
            "name" => format!("{value:?}"),
            name => format!("{name}={value:?} "),
        };
        if field.name() == "message" { self.0.insert_str(0, &text) } else { self.0.push_str(&text) }
    }
}

#[cfg(test)]
mod tests {
    /// An alarm whose words nobody writes any more never rings.
    #[test]
    fn the_alarms_are_words_of_the_product() {
        let product = include_str!("../../../raft/src/propose/epoch.rs");
        for alarm in super::ALARMS {
            assert!(product.contains(&format!("\"{alarm}\"")), "nobody says {alarm:?}");
        }
    }
}
