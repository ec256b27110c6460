//! Every decision of a history, in order: drawn from a seed, or given.
//!
//! The decisions stand in sections: one for the server's options, one for each client, one for each turn of the loop.
//! A decision that is missing in its section is 0. So a history can lose a decision, a turn or a client, and the
//! others still mean what they meant: that is what shrinking needs.
//!
//! The sections stand in parts: the second one is about what comes behind the signal. So a history can have the signal
//! earlier, or a turn less before it, and what happens behind it still happens.

use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Where decisions come from.
#[derive(Clone, Debug)]
pub struct Choices {
    rng: Option<fastrand::Rng>,
    given: Decisions,
    /// Where in the given ones we are: the section, and the place in it.
    section: usize,
    place: usize,
    /// What was chosen so far, and out of how many.
    made: Vec<(u32, u32)>,
    /// Where in `made` each section begins, from the second on, and whether a part begins with it.
    begins: Vec<(usize, bool)>,
}

/// Decisions are no part of a state: they are how it came about.
impl Hash for Choices {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Choices {
    /// As a seed has it.
    pub fn from_seed(seed: u64) -> Self {
        let rng = Some(fastrand::Rng::with_seed(seed));
        Self { rng, ..Self::repeat(Decisions::default()) }
    }

    /// As they are given, in one section; behind the last of them always the first possibility, which is the calmest.
    pub fn given(given: Vec<u32>) -> Self {
        Self::repeat(Decisions(vec![given]))
    }

    /// As they were made in another history.
    pub fn repeat(given: Decisions) -> Self {
        let (made, begins) = (Vec::new(), Vec::new());
        Self { rng: None, given, section: 0, place: 0, made, begins }
    }

    /// One of `n` possibilities, from 0. By agreement 0 is the one in which least happens.
    pub fn pick(&mut self, n: usize) -> usize {
        let n = n.max(1) as u32;
        let choice = match &mut self.rng {
            Some(rng) if n > 1 => rng.u32(0..n),
            Some(_) => 0,
            None => self.next_given().min(n - 1),
        };
        self.made.push((choice, n));
        choice as usize
    }

    /// Whether something happens that happens so many times out of a thousand.
    pub fn happens(&mut self, per_mille: u32) -> bool {
        let possibilities = if per_mille == 0 { 1 } else { 2 };
        let choice = match &mut self.rng {
            Some(rng) => u32::from(per_mille > 0 && rng.u32(0..1000) < per_mille),
            None => self.next_given().min(possibilities - 1),
        };
        self.made.push((choice, possibilities));
        choice == 1
    }

    fn next_given(&mut self) -> u32 {
        if self.given.is_bar(self.section) {
            return 0;
        }
        let choice = self.given.0.get(self.section).and_then(|section| section.get(self.place));
        self.place += 1;
        choice.copied().unwrap_or(0)
    }

    /// What follows is about something else: what is left of the given section is of no use.
    pub fn next_section(&mut self) {
        // Where the part has no more sections, all is calm until the next part.
        self.section += usize::from(!self.given.is_bar(self.section));
        self.place = 0;
        self.begins.push((self.made.len(), false));
    }

    /// What follows comes behind the signal.
    pub fn next_part(&mut self) {
        let bar = (self.section..self.given.0.len()).find(|&section| self.given.is_bar(section));
        (self.section, self.place) = (bar.unwrap_or(self.given.0.len()) + 1, 0);
        self.begins.push((self.made.len(), true));
    }

    /// What was chosen, and out of how many.
    pub fn made(&self) -> &[(u32, u32)] {
        &self.made
    }

    /// What was chosen, to be given again.
    pub fn decisions(&self) -> Decisions {
        self.first_decisions(self.made.len())
    }

    /// The first `n` of them.
    pub fn first_decisions(&self, n: usize) -> Decisions {
        let mut sections = Vec::new();
        let mut from = 0;
        let mut section = |to| {
            let section = self.made[from..to].iter().map(|(choice, _)| *choice).collect();
            from = to;
            section
        };
        for &(begin, part) in self.begins.iter().take_while(|&&(begin, _)| begin <= n) {
            sections.push(section(begin));
            if part {
                sections.push(vec![BAR]);
            }
        }
        sections.push(section(n));
        Decisions(sections)
    }
}

/// The decisions of a history, section by section.
///
/// They can be written down: `1,3x0,2//4` has three sections. The first is 1, 0, 0, 0, 2; in the second everything is
/// calm. A bar between two sections is the end of a part: `1,3x0,2/|/4`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions(pub Vec<Vec<u32>>);

/// This choice, by itself in a section, is the bar between two parts.
const BAR: u32 = u32::MAX;

impl Decisions {
    /// How many sections there are before the first bar.
    pub fn first_part(&self) -> usize {
        (0..self.0.len()).find(|&section| self.is_bar(section)).unwrap_or(self.0.len())
    }

    fn is_bar(&self, section: usize) -> bool {
        self.0.get(section).is_some_and(|section| section[..] == [BAR])
    }

    /// The same without what is not needed: the calmest possibility at the end of a section, and calm sections at the
    /// end.
    pub fn trimmed(mut self) -> Self {
        for section in &mut self.0 {
            let used = section.iter().rposition(|&choice| choice != 0).map_or(0, |last| last + 1);
            section.truncate(used);
        }
        let used =
            self.0.iter().rposition(|section| !section.is_empty()).map_or(0, |last| last + 1);
        self.0.truncate(used);
        self
    }
}

impl Display for Decisions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, section) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            if self.is_bar(i) {
                f.write_str("|")?;
                continue;
            }
            for (i, run) in section.chunk_by(|a, b| a == b).enumerate() {
                if i > 0 {
                    f.write_str(",")?;
                }
                match run.len() {
                    1 => write!(f, "{}", run[0])?,
                    n => write!(f, "{n}x{}", run[0])?,
                }
            }
        }
        Ok(())
    }
}

/// The longest run that is read: a slip on the command line should not take the memory of the machine.
const LONGEST_RUN: usize = 1_000_000;

impl FromStr for Decisions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split('/').map(section).collect::<Result<_, _>>().map(Self)
    }
}

fn section(text: &str) -> Result<Vec<u32>, String> {
    if text == "|" {
        return Ok(vec![BAR]);
    }
    let mut section = Vec::new();
    for run in text.split(',').filter(|_| !text.is_empty()) {
        let (times, choice) = run.split_once('x').unwrap_or(("1", run));
        let times = times.parse().ok().filter(|&n: &usize| n <= LONGEST_RUN);
        let (Some(times), Ok(choice)) = (times, choice.parse::<u32>()) else {
            return Err(format!(
                "'{run}' is neither a choice, as in 2, nor a run of them, as in 3x0"
            ));
        };
        section.resize(section.len() + times, choice);
    }
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What choices could decide.
    fn decide(choices: &mut Choices) -> Vec<usize> {
        let mut chosen: Vec<_> = (0..20).map(|n| choices.pick(n)).collect();
        choices.next_section();
        choices.next_section();
        chosen.extend((0..20).map(|_| usize::from(choices.happens(300))));
        chosen
    }

    #[test]
    fn what_a_seed_has_chosen_can_be_given_again() {
        let mut first = Choices::from_seed(7);
        let chosen = decide(&mut first);
        for decisions in [first.decisions(), first.decisions().trimmed()] {
            let mut again = Choices::repeat(decisions);
            assert_eq!(decide(&mut again), chosen);
            assert_eq!(again.pick(10), 0, "behind the last one nothing happens");
            assert_eq!(again.made()[..first.made().len()], *first.made());
        }
    }

    #[test]
    fn the_first_decisions_end_in_the_middle_of_a_section_or_behind_it() {
        let mut choices = Choices::repeat("1,2//3".parse().unwrap());
        choices.pick(9);
        choices.pick(9);
        choices.next_section();
        choices.next_section();
        choices.pick(9);
        let first = |n| choices.first_decisions(n).to_string();
        assert_eq!((&*first(1), &*first(2), &*first(3)), ("1", "1,2//", "1,2//3"));
    }

    #[test]
    fn what_comes_behind_the_signal_stays_there() {
        for given in ["5/6/|/4,7", "5/|/4,7", "|/4,7", "5/6/6/6/|/4,7"] {
            let mut choices = Choices::repeat(given.parse().unwrap());
            choices.pick(9);
            choices.next_section();
            choices.pick(9);
            choices.next_section();
            choices.next_part();
            assert_eq!((choices.pick(9), choices.pick(9)), (4, 7), "{given}");
            let again = choices.decisions().to_string();
            assert!(again.ends_with("/|/4,7"), "{again}");
        }
    }

    #[test]
    fn a_part_that_is_not_there_is_calm() {
        let mut choices = Choices::repeat("5/6".parse().unwrap());
        choices.next_part();
        assert_eq!(choices.pick(9), 0);
        let mut choices = Choices::repeat("5/|/6".parse().unwrap());
        choices.next_section();
        choices.next_section();
        assert_eq!(choices.pick(9), 0);
    }

    #[test]
    fn a_choice_that_no_longer_fits_is_the_last_that_does() {
        assert_eq!(Choices::given(vec![9]).pick(3), 2);
        assert_eq!(Choices::given(vec![9]).pick(1), 0);
        assert!(!Choices::given(vec![9]).happens(0));
    }

    #[test]
    fn a_section_that_is_too_long_or_too_short_does_not_disturb_the_next() {
        for given in ["5,6,7/4", "5/4", "/4"] {
            let mut choices = Choices::repeat(given.parse().unwrap());
            choices.pick(9);
            choices.pick(9);
            choices.next_section();
            assert_eq!(choices.pick(9), 4, "{given}");
        }
    }

    #[test]
    fn decisions_are_written_as_they_are_read() {
        for text in ["", "0", "1,3x0,2//4", "//", "12x3/7", "1/|/2", "|"] {
            assert_eq!(text.parse::<Decisions>().unwrap().to_string(), text);
        }
        let spelled_out = Decisions(vec![vec![1, 0, 0, 0, 2], vec![], vec![4]]);
        assert_eq!(spelled_out, "1,3x0,2//4".parse().unwrap());
        assert_eq!("3x0,1,0/2x0//".parse::<Decisions>().unwrap().trimmed().to_string(), "3x0,1");
    }

    #[test]
    fn what_is_no_decision_is_named() {
        for text in ["1,,2", "x", "1,2x", "-1", "9999999999x0", "2x3x4"] {
            assert!(text.parse::<Decisions>().unwrap_err().contains("neither"), "{text}");
        }
    }
}
