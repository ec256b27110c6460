//! What is printed, and how: colours on a terminal, plain text elsewhere.

use std::io::{self, IsTerminal};

use super::page::Exercise;

/// `println!` for a stdout that may have no reader: `workshop list | head -1`.
macro_rules! say {
    ($($line:tt)*) => { common::print(format_args!($($line)*)) };
}
pub(crate) use say;

/// Where we print.
pub(crate) struct Screen {
    colours: bool,
}

impl Screen {
    /// stdout.
    pub(crate) fn new() -> Self {
        Self::on(&io::stdout())
    }

    /// Whatever we print on.
    pub(crate) fn on(stream: &impl IsTerminal) -> Self {
        Self { colours: common::wants_colour(stream) }
    }

    /// Without colours, whatever the terminal can do.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colours: false }
    }

    /// An empty terminal. What is printed elsewhere is read as a whole, so there it is a line between.
    pub(crate) fn clear(&self) {
        match self.colours {
            true => say!("\x1b[2J\x1b[H"),
            false => say!("\n----"),
        }
    }

    pub(crate) fn headline(&self, exercise: &Exercise) {
        let Exercise { number, title, minutes, kind, sources, .. } = exercise;
        say!("{}", self.strong(&format!("Exercise {number}: {title}")));
        say!("{kind}, {minutes} minutes, in {sources}");
    }

    pub(crate) fn strong(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For what stands beside the text and is not the text.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Green, and at least `width` wide.
    pub(crate) fn good(&self, text: &str, width: usize) -> String {
        self.paint("32", &format!("{text:<width$}"))
    }

    pub(crate) fn bad(&self, text: &str, width: usize) -> String {
        self.paint("31", &format!("{text:<width$}"))
    }

    /// A line of a patch.
    pub(crate) fn diff(&self, line: &str) -> String {
        match line.as_bytes().first() {
            Some(b'+') => self.good(line, 0),
            Some(b'-') => self.bad(line, 0),
            _ => line.to_owned(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// 48213 as people read it: 48,213.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let examples = [(0, "0"), (999, "999"), (1_000, "1,000"), (48_213, "48,213")];
        for (n, expected) in examples {
            assert_eq!(grouped(n), expected);
        }
    }
}
