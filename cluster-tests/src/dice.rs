//! Chance for tests that draw what they do.

/// Chance, the same each time for the same beginning.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`, which is not 0: splitmix64, by Steele, Lea and Flood (2014).
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}
