//! Histories with each of the anomalies, beside ones that only look like it.

use super::*;

/// A transaction from one moment to another: `+k1` appends 1 to k, `k:1,2` saw 1 and 2 in k.
fn seen(began: u64, ended: u64, fate: Fate, what: &str) -> Seen {
    let mut one = Seen {
        began: Duration::from_millis(began),
        ended: Duration::from_millis(ended),
        fate,
        strict: true,
        appends: Vec::new(),
        lists: Vec::new(),
    };
    for word in what.split_whitespace() {
        match word.strip_prefix('+') {
            Some(append) => one.appends.push((append[..1].to_owned(), append[1..].parse().unwrap())),
            None => {
                let elements = word[2..].split(',').filter(|element| !element.is_empty());
                one.lists.push((word[..1].to_owned(), elements.map(|element| element.parse().unwrap()).collect()));
            }
        }
    }
    one
}

/// Those that all overlap.
fn at_once(whats: &[&str]) -> Vec<Seen> {
    whats.iter().map(|what| seen(0, 10, Fate::Done, what)).collect()
}

#[track_caller]
fn finds(word: &str, history: &[Seen]) {
    let wrong = judge(history);
    assert!(wrong.iter().any(|wrong| wrong.contains(word)), "{word}: {wrong:?}");
}

#[track_caller]
fn holds(history: &[Seen]) {
    assert_eq!(judge(history), Vec::<String>::new());
}

#[test]
fn what_is_in_order_is_right() {
    holds(&at_once(&["+x1 +y2 x:1 y:2", "+x3 x:1,3", "x:1,3 y:2", "x: y:"]));
    holds(&[seen(0, 1, Fate::Done, "+x1"), seen(2, 3, Fate::Unknown, "+x2"), seen(4, 5, Fate::Done, "x:1")]);
    holds(&[seen(0, 1, Fate::Not, "+x1"), seen(2, 3, Fate::Done, "x:")]);
}

#[test]
fn nothing_is_lost_invented_or_there_twice() {
    finds("lost 1", &at_once(&["+x1", "x:"]));
    finds("nobody has appended", &at_once(&["x:7"]));
    finds("twice", &at_once(&["+x1", "x:1,1"]));
    finds("G1a", &[seen(0, 1, Fate::Not, "+x1"), seen(0, 1, Fate::Done, "x:1")]);
    finds("G1b", &at_once(&["+x1 +x2", "x:1", "x:1,2"]));
    finds("was seen as", &at_once(&["+x1", "+x2", "x:1,2", "x:2"]));
}

#[test]
fn nothing_goes_in_a_circle() {
    finds("G0", &at_once(&["+x1 +y1", "+x2 +y2", "x:1,2 y:2,1"]));
    finds("G1c", &at_once(&["+x1 y:2 x:1", "+y2 x:1 y:2"]));
    finds("G-single", &at_once(&["+x1 +y2", "x: y:2", "x:1"]));
    finds("G2", &at_once(&["+x1 y: x:1", "+y2 x: y:2"]));
}

#[test]
fn what_was_answered_is_seen_by_what_is_asked_for_later() {
    let stale = [seen(0, 1, Fate::Done, "+x1"), seen(2, 3, Fate::Done, "x:"), seen(2, 3, Fate::Done, "x:1")];
    finds("in real time", &stale);
    let mut allowed = stale.to_vec();
    allowed[1].strict = false;
    holds(&allowed);
}
