//! Sums of floats that do not depend on the order of their terms: exact while they are made, and rounded once. By the
//! superaccumulators of Neal, "Fast exact summation using small and large superaccumulators" (2015), as the crate `xsum` has them.

use xsum::{Xsum, XsumSmall};

/// What one takes in memory, bytes, about.
pub(crate) const EXACT_SUM_BYTES: usize = 640;
/// A power of two that is not much less than the greatest float.
const LARGE: f64 = f64::from_bits(2_046 << 52);

/// An exact sum of finite floats.
pub(crate) struct ExactSum(Box<XsumSmall>);

impl ExactSum {
    pub(crate) fn new() -> Self {
        Self(Box::new(XsumSmall::new()))
    }

    pub(crate) fn add(&mut self, term: f64) {
        self.0.add(term);
    }

    /// Adds a whole number.
    pub(crate) fn add_whole(&mut self, mut whole: i128) {
        while whole != 0 {
            // The float that is nearest, and then what is left: each time some fifty bits fewer.
            let part = whole as f64;
            self.0.add(part);
            whole = whole.saturating_sub(part as i128);
        }
    }

    /// Takes in what another has: all of it.
    pub(crate) fn add_sum(&mut self, mut other: Self) {
        loop {
            let mut part = other.0.sum();
            if part == 0.0 {
                break;
            }
            if part.is_infinite() {
                // It holds more than a float does: that goes over in pieces.
                part = LARGE.copysign(part);
            }
            self.0.add(part);
            other.0.add(-part);
        }
    }

    /// The float that is nearest to the sum.
    pub(crate) fn rounded(mut self) -> f64 {
        // The empty sum is a negative zero there.
        self.0.sum() + 0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> ExactSum {
        let mut sum = ExactSum::new();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        assert_eq!(sum(&[1e300, 1.0, -1e300]).rounded(), 1.0);
        assert_eq!(sum(&[0.1; 10]).rounded(), 1.0);
        assert_eq!(sum(&[1e308, 1e308]).rounded(), f64::INFINITY);
        let mut parts = sum(&[1e308, 1e308, 0.5]);
        parts.add_sum(sum(&[-1e308; 3]));
        parts.add_sum(sum(&[1e308]));
        assert_eq!(parts.rounded(), 0.5);
        let mut mixed = sum(&[1.0]);
        mixed.add_whole((1 << 53) + 1);
        assert_eq!(mixed.rounded(), ((1_u64 << 53) + 2) as f64);
        let mut mixed = sum(&[-f64::MAX]);
        [i128::from(u64::MAX) << 40, i128::from(i64::MIN), 7].into_iter().for_each(|whole| mixed.add_whole(whole));
        mixed.add(f64::MAX);
        assert_eq!(mixed.rounded(), ((i128::from(u64::MAX) << 40) + i128::from(i64::MIN) + 7) as f64);
        assert_eq!(sum(&[]).rounded().to_bits(), 0);
        assert_eq!(sum(&[-0.0]).rounded().to_bits(), 0);
    }

    proptest! {
        #[test]
        fn parts_and_orders_come_to_the_same(
            mut terms in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = sum(&terms).rounded();
            let cut = if terms.is_empty() { 0 } else { cut.index(terms.len()) };
            let mut parts = sum(&terms[cut..]);
            parts.add_sum(sum(&terms[..cut]));
            prop_assert_eq!(parts.rounded().to_bits(), whole.to_bits());
            terms.reverse();
            prop_assert_eq!(sum(&terms).rounded().to_bits(), whole.to_bits());
        }
    }
}
