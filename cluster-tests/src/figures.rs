//! How much a test does, and the figures that it measured, in a form that others can read.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

/// How many rounds a test runs: `ci` usually, `full` with `AERODB_TEST_FULL=1`, else what `AERODB_TEST_ROUNDS` says.
pub fn rounds(ci: usize, full: usize) -> usize {
    let asked = std::env::var("AERODB_TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    let all = std::env::var("AERODB_TEST_FULL").is_ok_and(|text| text == "1");
    asked.unwrap_or(if all { full } else { ci })
}

/// Prints `FIGURE {"name":…}` as one line, and appends it to the file that `AERODB_TEST_FIGURES` names, if it does.
pub fn figure(name: &str, mut figures: Value) {
    figures["name"] = name.into();
    eprintln!("FIGURE {figures}");
    if let Some(path) = std::env::var_os("AERODB_TEST_FIGURES") {
        // A figure that cannot be kept is no reason for a test to fail: it was printed.
        let file = std::fs::File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{figures}"));
    }
}

/// The median; zero of nothing. Of an even number, the upper one of the two in the middle.
pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The longest; zero of nothing.
pub fn longest(times: &[Duration]) -> Duration {
    times.iter().max().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let ms = |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(median(&[]), Duration::ZERO);
        assert_eq!(median(&ms(&[9, 1, 5])), Duration::from_millis(5));
        assert_eq!(median(&ms(&[9, 1, 5, 7])), Duration::from_millis(7));
        assert_eq!(longest(&ms(&[9, 1, 5])), Duration::from_millis(9));
    }
}
