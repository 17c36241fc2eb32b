//! The pattern behind `$regex`.
//!
//! Compiled by the `regex` crate: finite automata, so that the time of a search is the length of the pattern times the
//! length of the text, whatever both are, and no pattern can make it explode. That is also why there are no
//! back-references and no look-around.

use regex_syntax::hir::{Hir, HirKind, Look};

/// The longest pattern, in bytes.
pub const REGEX_PATTERN_BYTES_MAX: usize = 1000;

/// The most patterns of a filter.
pub const REGEXES_PER_FILTER_MAX: usize = 16;

/// The most memory that a compiled pattern may take, in bytes: some Unicode classes such as `\w`. It bounds the time of
/// compiling too, which is spent once more where a bulk write is decided: a millisecond or two.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// What a search may remember of the states that it has met, in bytes.
const SEARCH_BYTES_MAX: usize = 1 << 20;

/// How deep groups and repetitions of a pattern may lie within each other.
const NESTING_MAX: u32 = 32;

/// A compiled regular expression; equal to another one if both were written alike.
#[derive(Clone, Debug)]
pub struct Regex(regex::Regex);

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// When it is no regular expression, or one past the bounds; in words for whoever wrote it, on one line.
    pub fn compile(pattern: &str) -> Result<Self, String> {
        let compiled = regex::RegexBuilder::new(pattern)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(SEARCH_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build();
        compiled.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large: repeat less, or use fewer classes".to_owned(),
            // The crate draws the pattern with a mark under the place, over several lines; the last one says why.
            error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the pattern is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// What every text begins with in which the pattern is found, where the pattern says so: `^Os[lt]` has `Os`.
    pub fn start(&self) -> Option<String> {
        let hir = regex_syntax::parse(self.as_str()).ok()?;
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let [begin, literals @ ..] = parts.as_slice() else { return None };
        if *begin.kind() != HirKind::Look(Look::Start) {
            return None;
        }
        let literal = |part: &Hir| match part.kind() {
            HirKind::Literal(literal) => Some(literal.0.to_vec()),
            _ => None,
        };
        let bytes = literals.iter().map_while(literal).collect::<Vec<_>>().concat();
        String::from_utf8(bytes).ok().filter(|start| !start.is_empty())
    }
}
