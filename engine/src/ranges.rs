//! A set of numbers as inclusive ranges: small while the numbers are mostly consecutive.

use aerodb_proto::NumberRange;

/// Disjoint, ascending, never adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// The set that `ranges` describe, in any order.
    pub fn from_proto(ranges: &[NumberRange]) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range.first, range.last);
        }
        set
    }

    /// The set as messages carry it.
    pub fn to_proto(&self) -> Vec<NumberRange> {
        self.ranges.iter().map(|&(first, last)| NumberRange { first, last }).collect()
    }

    /// Adds `first..=last`; nothing when `first > last`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // The ranges that overlap or touch the new one are those from `from` up to, not including, `to`.
        let from = self.ranges.partition_point(|&(_, end)| end.saturating_add(1) < first);
        let to = self.ranges.partition_point(|&(begin, _)| begin <= last.saturating_add(1));
        let merged = self.ranges[from..to].iter().fold((first, last), |(a, b), &(c, d)| (a.min(c), b.max(d)));
        self.ranges.splice(from..to, [merged]);
    }

    /// Adds `first..=last` and gives the parts of it that were not in the set before.
    pub fn insert_new(&mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut next = first;
        let from = self.ranges.partition_point(|&(_, end)| end < first);
        for &(begin, end) in self.ranges[from..].iter().take_while(|&&(begin, _)| begin <= last) {
            if next < begin {
                gaps.push((next, begin - 1));
            }
            next = end.saturating_add(1);
        }
        if next <= last && gaps.last().is_none_or(|&(_, end)| end < last) && !self.contains(last) {
            gaps.push((next, last));
        }
        self.insert(first, last);
        gaps
    }

    /// The number up to which all from 1 on are in the set; 0 when 1 is not.
    pub fn full_until(&self) -> u64 {
        self.ranges.first().filter(|&&(begin, _)| begin <= 1).map_or(0, |&(_, end)| end)
    }

    /// True when `number` is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end < number);
        self.ranges.get(at).is_some_and(|&(begin, _)| begin <= number)
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// True when nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges it takes.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::RangeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set(inserts in prop::collection::vec((0u64..40, 0u64..6), 0..20)) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (first, span) in inserts {
                let new: Vec<u64> = set.insert_new(first, first + span).into_iter().flat_map(|(a, b)| a..=b).collect();
                let expected: Vec<u64> = (first..=first + span).filter(|number| model.insert(*number)).collect();
                prop_assert_eq!(new, expected);
            }
            for number in 0..50 {
                prop_assert_eq!(set.contains(number), model.contains(&number));
            }
            prop_assert_eq!(set.full_until(), (1..).take_while(|number| model.contains(number)).last().unwrap_or(0));
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ranges);
            prop_assert_eq!(RangeSet::from_proto(&set.to_proto()), set);
        }
    }

    #[test]
    fn the_ends_of_the_range_of_numbers_are_safe() {
        let mut set = RangeSet::default();
        set.insert(u64::MAX, u64::MAX);
        set.insert(0, 0);
        set.insert(5, 4);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, 0), (u64::MAX, u64::MAX)]);
    }
}
