//! What a person sees of a program that draws all over its terminal.

/// The terminal, as far as `live` uses one: it goes to a place, clears, and writes.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The screen that hides the other one until the program ends.
    pub(crate) is_alternate: bool,
}

impl Screen {
    /// What is on it after all that a program has written.
    pub(crate) fn after(written: &str) -> Self {
        let mut screen = Self::default();
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            match c {
                '\x1b' if rest.as_str().starts_with('[') => {
                    let is_end = |c: char| c.is_ascii_alphabetic();
                    let command: String =
                        rest.by_ref().skip(1).take_while(|c| !is_end(*c)).collect();
                    let end = written[..written.len() - rest.as_str().len()].chars().next_back();
                    screen.obey(&command, end.unwrap_or_default());
                }
                '\r' => screen.column = 0,
                '\n' => screen.row += 1,
                c => screen.write(c),
            }
        }
        screen
    }

    fn obey(&mut self, command: &str, end: char) {
        match (command, end) {
            ("?1049", 'h' | 'l') => {
                *self = Self { is_alternate: end == 'h', ..Self::default() };
            }
            (place, 'H') => {
                let (row, column) = place.split_once(';').unwrap_or(("1", "1"));
                let number = |text: &str| text.parse::<usize>().map_or(0, |n| n.saturating_sub(1));
                (self.row, self.column) = (number(row), number(column));
            }
            ("2", 'J') => self.rows.clear(),
            _ => {}
        }
    }

    fn write(&mut self, c: char) {
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        let row = &mut self.rows[self.row];
        if row.len() <= self.column {
            row.resize(self.column + 1, ' ');
        }
        row[self.column] = c;
        self.column += 1;
    }

    /// Its rows, each with one space between two words.
    pub(crate) fn rows(&self) -> Vec<String> {
        let text = |row: &Vec<char>| row.iter().collect::<String>();
        let words = |row| text(row).split_whitespace().collect::<Vec<_>>().join(" ");
        self.rows.iter().map(words).collect()
    }
}
