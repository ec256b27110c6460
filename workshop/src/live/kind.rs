//! What a client does. Each kind has a key.

use std::str::FromStr;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Talk,
    Silent,
    Flood,
    NeverRead,
    Dribble,
    HalfClose,
    Reset,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Talk,
        Self::Silent,
        Self::Flood,
        Self::NeverRead,
        Self::Dribble,
        Self::HalfClose,
        Self::Reset,
    ];

    pub(super) fn key(self) -> char {
        match self {
            Self::Talk => 't',
            Self::Silent => 's',
            Self::Flood => 'f',
            Self::NeverRead => 'n',
            Self::Dribble => 'd',
            Self::HalfClose => 'h',
            Self::Reset => 'r',
        }
    }

    pub(super) fn of(key: char) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key() == key)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Talk => "talk",
            Self::Silent => "silent",
            Self::Flood => "flood",
            Self::NeverRead => "never reads",
            Self::Dribble => "dribble",
            Self::HalfClose => "half-close",
            Self::Reset => "reset",
        }
    }

    /// What stands behind the key in the help.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Talk => "sends a line a second, and reads it back",
            Self::Silent => "connects, and says nothing",
            Self::Flood => "sends and reads as fast as it can",
            Self::NeverRead => "sends, and never reads",
            Self::Dribble => "sends a byte five times a second",
            Self::HalfClose => "sends, says so (FIN), reads the rest, leaves",
            Self::Reset => "sends, and closes with a reset (RST)",
        }
    }

    /// Whether it waits for each answer, so that there is a round trip to show.
    pub(super) fn has_round_trips(self) -> bool {
        matches!(self, Self::Talk | Self::Dribble)
    }
}

/// How many clients `c` adds.
pub(super) const HUNDRED: usize = 100;

/// Kinds by their keys, as in `t,s,f`. `c` stands for a hundred that are silent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kinds(pub(super) Vec<Kind>);

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut kinds = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match Kind::ALL.into_iter().find(|kind| word.chars().eq([kind.key()])) {
                Some(kind) => kinds.push(kind),
                None if word == "c" => kinds.extend([Kind::Silent; HUNDRED]),
                None => {
                    let keys = Kind::ALL.map(|kind| kind.key().to_string()).join(", ");
                    return Err(format!("'{word}' is none of the kinds {keys}, c"));
                }
            }
        }
        Ok(Self(kinds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_by_their_keys_and_c_stands_for_a_hundred() {
        assert_eq!("t, s,f".parse(), Ok(Kinds(vec![Kind::Talk, Kind::Silent, Kind::Flood])));
        assert_eq!("c".parse(), Ok(Kinds(vec![Kind::Silent; 100])));
        assert_eq!("".parse(), Ok(Kinds(Vec::new())));
        let error = "'talk' is none of the kinds t, s, f, n, d, h, r, c".to_owned();
        assert_eq!("t,talk".parse::<Kinds>(), Err(error));
    }

    #[test]
    fn each_key_is_for_one_kind() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::of(kind.key()) == Some(kind)));
    }
}
