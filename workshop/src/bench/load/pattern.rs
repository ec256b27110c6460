//! The bytes we send, such that each that comes back can be checked.

/// The period of the pattern: a prime, so that no buffer size and no message size divides it. A chunk
/// that is lost, doubled or out of place is then a mismatch, not another correct-looking chunk.
const PERIOD: usize = 65_521;

/// The longest piece that can be taken out of the pattern at once.
pub(crate) const LONGEST: usize = 64 * 1024 + 1;

/// An endless sequence of bytes. Every client sends it from another place on, so that bytes which reach
/// the wrong client are found out as well.
pub(crate) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        // xorshift64: any sequence without structure will do, and the same one in every run.
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bytes: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        // Repeated, so that a piece which starts near the end of the period is in one piece too.
        bytes.extend_from_within(..);
        bytes.extend_from_within(..LONGEST - PERIOD);
        Self { bytes }
    }

    /// `len` bytes, at most [`LONGEST`], from `position` on.
    pub(crate) fn piece(&self, position: u64, len: usize) -> &[u8] {
        let start = (position % PERIOD as u64) as usize;
        &self.bytes[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_goes_on_over_the_end_of_its_period() {
        let pattern = Pattern::new();
        let whole = pattern.piece(0, LONGEST).to_vec();
        assert_eq!(pattern.piece(PERIOD as u64, LONGEST), whole);
        assert_eq!(pattern.piece(PERIOD as u64 - 1, 2)[1], whole[0]);
        assert_eq!(pattern.piece(10, 100), &whole[10..110]);
    }
}
