//! Every decision of a history, in order: drawn from a seed, or given.

/// Where decisions come from.
#[derive(Clone, Debug)]
pub struct Choices {
    rng: Option<fastrand::Rng>,
    given: Vec<u32>,
    /// What was chosen so far, and out of how many.
    made: Vec<(u32, u32)>,
}

impl Choices {
    /// As a seed has it.
    pub fn from_seed(seed: u64) -> Self {
        Self { rng: Some(fastrand::Rng::with_seed(seed)), given: Vec::new(), made: Vec::new() }
    }

    /// As they are given; behind the last of them always the first possibility, which is the calmest.
    pub fn given(given: Vec<u32>) -> Self {
        Self { rng: None, given, made: Vec::new() }
    }

    /// One of `n` possibilities, from 0. By agreement 0 is the one in which least happens.
    pub fn pick(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let n = n as u32;
        let choice = match &mut self.rng {
            Some(rng) => rng.u32(0..n),
            None => self.given.get(self.made.len()).map_or(0, |&choice| choice.min(n - 1)),
        };
        self.made.push((choice, n));
        choice as usize
    }

    /// Whether something happens that happens so many times out of a thousand.
    pub fn happens(&mut self, per_mille: u32) -> bool {
        if per_mille == 0 {
            return false;
        }
        // The first possibility must be that nothing happens.
        self.pick(1000) >= 1000 - per_mille as usize
    }

    /// What was chosen, and out of how many.
    pub fn made(&self) -> &[(u32, u32)] {
        &self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_seed_has_chosen_can_be_given_again() {
        let mut first = Choices::from_seed(7);
        let chosen: Vec<_> = (2..100).map(|n| first.pick(n)).collect();
        let made = first.made().iter().map(|(choice, _)| *choice).collect();
        let mut again = Choices::given(made);
        assert_eq!((2..100).map(|n| again.pick(n)).collect::<Vec<_>>(), chosen);
        assert_eq!(again.pick(10), 0, "behind the last one nothing happens");
    }

    #[test]
    fn a_choice_that_no_longer_fits_is_the_last_that_does() {
        assert_eq!(Choices::given(vec![9]).pick(3), 2);
        assert_eq!(Choices::given(vec![9]).pick(1), 0);
    }
}
