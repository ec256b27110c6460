//! What a learner expects before the first check: how the test will fail, and which one.

use std::fmt;
use std::str::FromStr;

/// How a test fails, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Other bytes than those that were sent, or other words than were promised.
    WrongAnswer,
    /// The connection or the server ends too early.
    End,
    /// The server takes a core and gets nowhere.
    Spin,
    /// The server sleeps, and the test waits for something that never comes.
    Silence,
    /// Of memory, descriptors, system calls, log lines or time: more than was promised.
    TooMuch,
}

impl How {
    pub(crate) const ALL: [Self; 5] =
        [Self::WrongAnswer, Self::End, Self::Spin, Self::Silence, Self::TooMuch];

    /// In one word, as an option of the command line has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::WrongAnswer => "wrong-answer",
            Self::End => "end",
            Self::Spin => "spin",
            Self::Silence => "silence",
            Self::TooMuch => "too-much",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WrongAnswer => "a wrong answer",
            Self::End => "an end",
            Self::Spin => "a spin",
            Self::Silence => "silence",
            Self::TooMuch => "too much",
        })
    }
}

impl FromStr for How {
    type Err = String;

    /// Reads the word, or what [`How`] displays.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|how| how.word() == text || how.to_string() == text);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            format!("{text:?} is no way to fail; expected one of {words}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_fail_is_read_as_a_word_and_as_it_is_displayed() {
        for how in How::ALL {
            assert_eq!(how.word().parse(), Ok(how));
            assert_eq!(how.to_string().parse(), Ok(how));
        }
        let error = "crash".parse::<How>().unwrap_err();
        assert!(error.contains("wrong-answer, end, spin, silence, too-much"), "{error}");
    }
}
