//! Random draws for the tests that kill: another seed for every run, and the same one on demand.

use std::time::SystemTime;

/// splitmix64: the draws depend on the seed alone.
pub struct Draws(u64);

impl Draws {
    /// Takes the seed from `PIPELINE_KILLS` or the clock, and prints how to repeat it.
    pub fn new() -> Draws {
        let seed = std::env::var("PIPELINE_KILLS").ok().map_or_else(
            || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
            |seed| seed.parse().expect("PIPELINE_KILLS is a number"),
        );
        println!("the same again: PIPELINE_KILLS={seed}");
        Draws(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}
