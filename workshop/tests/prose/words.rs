//! Texts as words, so that neither a space nor the end of a line makes two expressions different.

use std::collections::HashSet;

/// A text that can be asked for a sequence of words: names and numbers, and each other sign as a word of its own.
#[derive(Default)]
pub(crate) struct Words {
    /// All of them, each between two spaces.
    text: String,
    names: HashSet<String>,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Self::default();
        words.add(text);
        words
    }

    pub(crate) fn add(&mut self, text: &str) {
        let from = self.text.len();
        self.text += &spaced(text);
        self.names.extend(self.text[from..].split(' ').filter(|w| is_name(w)).map(str::to_owned));
    }

    /// Whether an expression stands here. `…` stands for any words, so each piece between two of them has to be found.
    pub(crate) fn have(&self, code: &str) -> bool {
        code.split('…').map(spaced).all(|piece| self.have_piece(&piece))
    }

    /// Whether a name has this in it. Of a path only the last name counts.
    pub(crate) fn have_part(&self, path: &str) -> bool {
        let part = path.rsplit("::").next().unwrap_or(path);
        self.names.iter().any(|name| name.contains(part))
    }

    fn have_piece(&self, piece: &str) -> bool {
        match piece.trim() {
            name if is_name(name) => self.names.contains(name),
            _ => self.text.contains(piece),
        }
    }

    /// The same for a line of a session: the pieces stand in it one behind the other.
    pub(crate) fn have_in_order(&self, code: &str) -> bool {
        let mut rest = Some(&*self.text);
        for piece in code.split('…').map(spaced) {
            // The last space of one piece is the first of the next.
            rest = rest
                .and_then(|rest| rest.find(&piece).map(|at| &rest[at + piece.len().max(1) - 1..]));
        }
        rest.is_some()
    }
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(is_part_of_name)
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of a text, each between two spaces.
fn spaced(text: &str) -> String {
    let mut spaced = " ".to_owned();
    let mut inside = false;
    for c in text.chars() {
        if inside && !is_part_of_name(c) {
            spaced.push(' ');
        }
        inside = is_part_of_name(c);
        if !c.is_whitespace() {
            spaced.push(c);
        }
        if !inside && !c.is_whitespace() {
            spaced.push(' ');
        }
    }
    if inside {
        spaced.push(' ');
    }
    spaced
}

/// A Rust source without its comments: what is only mentioned there does not exist. The strings stay, since they are what
/// a program says.
pub(crate) fn without_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut in_string = false;
    for line in source.lines() {
        let mut before = ' ';
        let mut end = line.len();
        for (at, c) in line.char_indices() {
            match c {
                '"' if before != '\\' && !(before == '\'' && line[at + 1..].starts_with('\'')) => {
                    in_string = !in_string;
                }
                '/' if !in_string && line[at + 1..].starts_with('/') => {
                    end = at;
                    break;
                }
                _ => {}
            }
            before = if before == '\\' && c == '\\' { ' ' } else { c };
        }
        let line = &line[..end];
        // In a string this joins the two lines.
        code += line.strip_suffix('\\').unwrap_or(line);
        code.push('\n');
    }
    code
}

#[test]
fn an_expression_is_found_whatever_its_spaces_are() {
    let words =
        Words::of("if self . is_full() {\n    return(self)\n        .now + self.interval;\n}");
    for code in ["self.is_full()", "return (self).now", "self.now".trim_start_matches("self")] {
        assert!(words.have(code), "{code}");
    }
    for code in ["is_ful", "full", "self.now + self", "is_full(self)", "now + self.status_interval"]
    {
        assert!(!words.have(code), "{code}");
    }
    assert!(words.have("if … { … }") && !words.have("if … else"));
}

#[test]
fn the_pieces_of_a_line_have_an_order() {
    let line = Words::of("101 accept4(3, {sa_family=AF_INET}, [16], SOCK_CLOEXEC) = 4");
    for code in ["accept4(3, …", "accept4(…, SOCK_CLOEXEC)", "accept4(…) = 4", "…"] {
        assert!(line.have_in_order(code), "{code}");
    }
    for code in ["accept4(…) = -1 EAGAIN", "accept4(4, …", "= 4 … accept4"] {
        assert!(!line.have_in_order(code), "{code}");
    }
}

#[test]
fn what_is_only_mentioned_in_a_comment_is_no_code() {
    let source =
        "let a = \"http://b\"; // c\n/// d\nlet e = '\"'; // f\nlet g = \"h \\\n    i\";\n";
    let words = Words::of(&without_comments(source));
    let there: Vec<_> = ["a", "b", "e", "g", "h i"].map(|code| words.have(code)).into();
    assert_eq!(there, [true; 5]);
    assert!(["c", "d", "f"].iter().all(|code| !words.have(code)));
}
