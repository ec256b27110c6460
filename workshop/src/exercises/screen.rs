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
    /// A terminal, which cuts a long line anywhere.
    is_terminal: bool,
    /// A person presses keys here, and so need not type commands.
    has_keys: bool,
}

/// Narrower is no terminal to read on, or one that does not know its width.
const NARROW: usize = 20;

impl Screen {
    /// stdout.
    pub(crate) fn new() -> Self {
        Self::on(&io::stdout())
    }

    /// Whatever we print on.
    pub(crate) fn on(stream: &impl IsTerminal) -> Self {
        let colours = common::wants_colour(stream);
        Self { colours, is_terminal: stream.is_terminal(), has_keys: false }
    }

    /// Without colours, whatever the terminal can do.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colours: false, is_terminal: false, has_keys: false }
    }

    /// The same, where hints and the solution are a key away: see `watch`.
    pub(crate) fn with_keys(&self, has_keys: bool) -> Self {
        Self { has_keys, ..*self }
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// An empty terminal. What is printed elsewhere is read as a whole, so there it is a line between.
    pub(crate) fn clear(&self) {
        match self.colours {
            true => say!("\x1b[2J\x1b[H"),
            false => say!("\n----"),
        }
    }

    /// Prose of a page, as wide as the terminal at most. Code and tables stay as they are.
    pub(crate) fn prose(&self, text: &str) -> String {
        self.width().map_or(text.to_owned(), |width| wrapped(text, width))
    }

    /// Lines that are a paragraph each. One with a command is to be copied.
    pub(crate) fn lines(&self, text: &str) -> String {
        let line = |line: &str| match line.contains("cargo ") {
            true => line.to_owned(),
            false => self.prose(line),
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// In columns. `None`: it is no terminal. It is asked each time, since windows are resized.
    fn width(&self) -> Option<usize> {
        let (columns, _) = self.is_terminal.then(crossterm::terminal::size)?.ok()?;
        Some(columns.into()).filter(|columns| *columns >= NARROW)
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

/// Markdown in which no paragraph has a line wider than that, as far as its words allow.
fn wrapped(text: &str, width: usize) -> String {
    let (mut lines, mut paragraph) = (Vec::new(), Vec::new());
    let mut is_code = false;
    for line in text.lines() {
        let start = line.trim_start();
        let is_fence = start.starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence || start.is_empty() || start.starts_with(['|', '#', '<']) {
            lines.extend(filled(&paragraph, width));
            paragraph.clear();
            lines.push(line.to_owned());
            continue;
        }
        if marker(line) > 0 {
            lines.extend(filled(&paragraph, width));
            paragraph.clear();
        }
        paragraph.push(line);
    }
    lines.extend(filled(&paragraph, width));
    lines.join("\n")
}

/// How many characters begin an item of a list: `- ` or `1. `. 0: it is no item.
fn marker(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    let digits = line[indent..].bytes().take_while(u8::is_ascii_digit).count();
    match &line[indent + digits..] {
        rest if digits == 0 && (rest.starts_with("- ") || rest.starts_with("* ")) => indent + 2,
        rest if digits > 0 && rest.starts_with(". ") => indent + digits + 2,
        _ => 0,
    }
}

/// A paragraph, or an item. As it is, if it fits.
fn filled(paragraph: &[&str], width: usize) -> Vec<String> {
    if paragraph.iter().all(|line| line.chars().count() <= width) {
        return paragraph.iter().map(|line| (*line).to_owned()).collect();
    }
    let indent = " ".repeat(marker(paragraph[0]));
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(&paragraph.join("\n")) {
        let is_first = line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            line += &word;
        } else {
            line += if is_first { "" } else { " " };
            line += &word;
        }
    }
    lines.push(line);
    lines
}

/// The words of a text. Code with spaces in it is one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_code = false;
    for word in text.split_whitespace() {
        match words.last_mut().filter(|_| is_code) {
            Some(last) => *last += &format!(" {word}"),
            None => words.push(word.to_owned()),
        }
        is_code ^= word.matches('`').count() % 2 == 1;
    }
    words
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
    fn prose_is_as_wide_as_the_terminal_and_code_and_tables_are_left_alone() {
        let code = "```console\ncargo run -p workshop -- check 5.2\n```";
        let table = "| What the test says | Likely cause |";
        let text = format!(
            "## A heading that is longer than that\n\none two three four five\nsix\n\n{code}\n\n{table}"
        );
        let expected = format!(
            "## A heading that is longer than that\n\none two three four\nfive six\n\n{code}\n\n{table}"
        );
        assert_eq!(wrapped(&text, 20), expected);
        assert_eq!(wrapped(&text, 80), text);
    }

    #[test]
    fn items_hang_and_code_in_prose_is_not_broken() {
        let text = "- one two three four five six\n  seven\n- eight\n10. and `nine ten ten` twelve";
        let expected = "- one two three four\n  five six seven\n- eight\n\
                        10. and\n    `nine ten ten`\n    twelve";
        assert_eq!(wrapped(text, 20), expected);
    }

    #[test]
    fn where_there_is_no_terminal_lines_stay_as_they_are() {
        let long = "long ".repeat(100);
        assert_eq!(Screen::plain().prose(&long), long);
    }

    #[test]
    fn large_numbers_are_grouped() {
        let examples = [(0, "0"), (999, "999"), (1_000, "1,000"), (48_213, "48,213")];
        for (n, expected) in examples {
            assert_eq!(grouped(n), expected);
        }
    }
}
