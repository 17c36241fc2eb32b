//! Sums of floats that do not depend on the order of their terms: exact while they are made, and rounded once. By the
//! superaccumulators of Neal, "Fast exact summation using small and large superaccumulators" (2015), as the crate `xsum` has them.

use xsum::{Xsum, XsumSmall};

/// What one takes in memory, bytes, about.
pub(crate) const EXACT_SUM_BYTES: usize = 640;
/// Floats that an exact sum can always be told in, each of which is less than half of the last place of the one before it.
const PARTS_MAX: usize = 64;

/// An exact sum of finite floats.
pub(crate) struct ExactSum(Box<XsumSmall>);

impl ExactSum {
    pub(crate) fn new() -> Self {
        Self(Box::new(XsumSmall::new()))
    }

    pub(crate) fn add(&mut self, term: f64) {
        self.0.add(term);
    }

    /// Takes in what another has: all of it.
    pub(crate) fn add_sum(&mut self, mut other: Self) {
        for _ in 0..PARTS_MAX {
            let part = other.0.sum();
            // Beyond what a float holds there is nothing more exact to be had.
            self.0.add(part);
            if part == 0.0 || !part.is_finite() {
                break;
            }
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
        assert_eq!(sum(&[]).rounded().to_bits(), 0);
        assert_eq!(sum(&[-0.0]).rounded().to_bits(), 0);
    }

    proptest! {
        #[test]
        fn parts_and_orders_come_to_the_same(
            mut terms in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            // Partial sums beyond what a float holds are told apart from others below.
            terms.iter_mut().for_each(|term| *term /= 64.0);
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
