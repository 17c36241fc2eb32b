//! Which document a request is about.

use rand::{Rng, RngExt};

/// How uneven the zipfian distribution is: the value of YCSB, which others are measured with.
const THETA: f64 = 0.99;

/// How documents are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// A few documents most of the time, as real users do.
    Zipfian,
    /// All alike.
    Uniform,
}

/// Draws the numbers of documents.
#[derive(Clone, Debug)]
pub(crate) enum KeyChooser {
    /// All alike.
    Uniform { documents: u64 },
    /// By rank, as in Gray et al., "Quickly generating billion-record synthetic databases".
    Zipfian { documents: u64, zeta: f64, alpha: f64, eta: f64 },
}

impl KeyChooser {
    /// A chooser among so many documents.
    pub(crate) fn new(keys: Keys, documents: u64) -> Self {
        match keys {
            Keys::Uniform => Self::Uniform { documents },
            Keys::Zipfian => {
                let zeta_of = |n: u64| (1..=n).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
                let zeta = zeta_of(documents);
                let eta = (1.0 - (2.0 / documents as f64).powf(1.0 - THETA)) / (1.0 - zeta_of(2) / zeta);
                Self::Zipfian { documents, zeta, alpha: 1.0 / (1.0 - THETA), eta }
            }
        }
    }

    /// The number of a document, from 0.
    pub(crate) fn choose(&self, rng: &mut impl Rng) -> u64 {
        match self {
            Self::Uniform { documents } => rng.random_range(0..*documents),
            Self::Zipfian { documents, .. } => scatter(self.rank(rng.random())) % documents,
        }
    }

    /// The rank of a document, from 0, for a number between 0 and 1.
    fn rank(&self, u: f64) -> u64 {
        let Self::Zipfian { documents, zeta, alpha, eta } = self else {
            return 0;
        };
        let uz = u * zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(documents - 1);
        }
        let rank = (*documents as f64 * (eta * u - eta + 1.0).powf(*alpha)) as u64;
        rank.min(documents - 1)
    }
}

/// Spreads ranks over the collection, so that what is popular is not all in one place. (The end of MurmurHash3.)
fn scatter(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipfian_favours_few_and_reaches_many() {
        let chooser = KeyChooser::new(Keys::Zipfian, 1_000);
        let mut rng = rand::rng();
        let mut counts = vec![0u32; 1_000];
        for _ in 0..100_000 {
            counts[chooser.choose(&mut rng) as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // zeta(1000, 0.99) is about 7.7: the first has 13 % of the draws.
        assert!((10_000..17_000).contains(&counts[0]), "{}", counts[0]);
        assert!(counts.iter().filter(|count| **count > 0).count() > 500);
    }

    #[test]
    fn uniform_reaches_all_alike_and_one_document_is_enough() {
        let chooser = KeyChooser::new(Keys::Uniform, 10);
        let mut rng = rand::rng();
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            counts[chooser.choose(&mut rng) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        for documents in [1, 2, 3] {
            assert!(KeyChooser::new(Keys::Zipfian, documents).choose(&mut rng) < documents);
        }
    }
}
