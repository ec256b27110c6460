//! A strip: the key moments of a scene, one below the other, as SVG.
//!
//! In the style of the book's pictures: a panel of its own, so that it is readable on a light and on a dark page, and
//! lines and words beside the colours, so that it is readable on paper.

use std::fmt::Write;

use super::data::{Buffer, Queue, Run, Scene};

/// The size of the drawing; on the page it is as wide as there is room for.
const WIDTH: usize = 640;
const MARGIN: usize = 24;
/// In a column.
const MOST_MOMENTS: usize = 6;
/// From one run to the other beside it.
const COLUMN: usize = WIDTH - MARGIN;
/// The buffers stand behind the client's name and how it fares.
const BARS: usize = 214;
const GAP: usize = 6;
/// From one client to the next, and from one line of text to the next.
const ROW: usize = 34;
const LINE: usize = 25;
/// So many letters of 20 px are a line, and so many of a title's.
const LETTERS: usize = 62;
const TITLE_LETTERS: usize = 46;
/// A buffer is drawn no wider, and so many bytes fill it at least: five bytes do not fill a buffer, even if the scene has
/// no more.
const WIDEST: usize = 100;
const LEAST_CAPACITY: u64 = 4096;

const STYLE: &str = "<style>text{font:20px Helvetica,Arial,'Liberation Sans',sans-serif;fill:#1d2329}\
    .panel{fill:#faf8f2;stroke:#a39d8d;stroke-width:2}.title{font-size:25px;font-weight:bold}\
    .step{font-weight:bold}.small{font-size:18px;fill:#5a5548}\
    .head{font-size:14px;fill:#5a5548}.mid{text-anchor:middle}\
    .server{font-size:18px;fill:#2a5a27}.fares{font-size:17px}.bytes{font-size:15px}.box{fill:#fff;stroke:#77705e;stroke-width:1.5}\
    .kernel,.outbox{fill:#d8d0bb;stroke:#77705e}.outbox{fill:#bfe0b8}.trouble{fill:#a63c1c;font-weight:bold}.line{stroke:#a39d8d;stroke-width:2}\
    .card{fill:#fff;stroke:#a39d8d}.silent{fill:#2b5f98;fill-opacity:.5}.stuck{fill:#2b5f98}.served{fill:#3b7a37}\
    .wait{fill:#fff;stroke:#a63c1c;stroke-width:2}</style>";

/// The strip of a scene. What happens with the fault stands beside what was recorded, so that the two can be compared, and
/// so that the strip fits a sheet of paper.
pub(super) fn draw(scene: &Scene) -> String {
    let what_if = scene.what_if.as_ref();
    let fault = what_if.map(|what_if| (format!("What if: {}", what_if.title), &what_if.run));
    let runs = [(scene.title.clone(), &scene.run)].into_iter().chain(fault);
    let columns: Vec<_> = runs.flat_map(|(title, run)| columns(title, run)).collect();
    let mut strip = Drawing::new();
    strip.width += (columns.len() - 1) * COLUMN;
    let mut bottom = 0;
    for (n, (title, run, moments)) in columns.iter().enumerate() {
        strip.put(&format!("<g transform=\"translate({} 0)\">", n * COLUMN));
        strip.column(scene, title, run, moments);
        strip.put("</g>");
        bottom = bottom.max(strip.y);
    }
    strip.y = bottom;
    let captions: Vec<_> =
        columns.iter().flat_map(|(_, run, moments)| run.captions(moments)).collect();
    strip.finish(&scene.title, &captions.join(" "))
}

/// A run in as many columns as it takes.
fn columns(title: String, run: &Run) -> Vec<(String, &Run, &[usize])> {
    let columns = run.moments.len().div_ceil(MOST_MOMENTS).max(1);
    let most = run.moments.len().div_ceil(columns).max(1);
    run.moments.chunks(most).map(|moments| (title.clone(), run, moments)).collect()
}

/// A drawing that grows downwards.
pub(super) struct Drawing {
    svg: String,
    width: usize,
    /// Where the next line of text stands.
    pub(super) y: usize,
}

impl Drawing {
    pub(super) fn new() -> Self {
        Self { svg: String::new(), width: WIDTH, y: 0 }
    }

    pub(super) fn put(&mut self, text: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.svg, "{text}");
    }

    pub(super) fn text(&mut self, x: usize, class: &str, text: &str) {
        let (y, text) = (self.y, escaped(text));
        self.put(&format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"));
    }

    /// One run from top to bottom.
    fn column(&mut self, scene: &Scene, title: &str, run: &Run, moments: &[usize]) {
        self.y = 12;
        for line in wrapped(title, TITLE_LETTERS) {
            self.y += 30;
            self.text(MARGIN, "title", &line);
        }
        self.heads(scene);
        for moment in moments {
            self.moment(scene, run, *moment);
        }
    }

    /// What the buffers are.
    fn heads(&mut self, scene: &Scene) {
        self.y += 30;
        let buffers = scene.buffers();
        let bar = bar(buffers.len());
        for line in [0, 1] {
            for (n, buffer) in buffers.iter().enumerate() {
                let words = scene.run.to_peers(buffer.words[line]);
                self.text(BARS + n * (bar + GAP) + bar / 2, "head mid", &words);
            }
            self.y += 18;
        }
    }

    fn moment(&mut self, scene: &Scene, run: &Run, index: usize) {
        let step = &run.steps[index];
        self.put(&format!(
            "<path class=\"line\" d=\"M{MARGIN} {}H{}\"/>",
            self.y - 6,
            WIDTH - MARGIN
        ));
        self.y += 22;
        let who = if step.who == "server" { "server: " } else { "" };
        let who = run.to_peers(who);
        self.text(MARGIN, "step", &format!("{}. {who}{}", index + 1, step.event()));
        for client in scene.clients.iter().filter(|client| run.is_here(index, &client.name)) {
            self.y += ROW;
            self.client(scene, run, index, &client.name);
        }
        self.y += LINE + 5;
        self.text(MARGIN, "server", &run.server(index));
        for line in wrapped(&step.caption, LETTERS) {
            self.y += LINE;
            self.text(MARGIN, "", &line);
        }
        self.y += LINE + 4;
    }

    /// A client: its name, how it fares, and its bytes in each buffer.
    fn client(&mut self, scene: &Scene, run: &Run, index: usize, name: &str) {
        let fares = run.fares(index, name, &scene.clients);
        let is_trouble = fares.starts_with("waits") || fares == "cut off";
        self.text(MARGIN, "step", name);
        self.text(MARGIN + 22, if is_trouble { "fares trouble" } else { "fares" }, &fares);
        let buffers = scene.buffers();
        let width = bar(buffers.len());
        for (n, buffer) in buffers.iter().enumerate() {
            let bytes = run.held(index, name, buffer.queue);
            self.buffer((BARS + n * (width + GAP), width), buffer, bytes);
        }
    }

    fn buffer(&mut self, (x, width): (usize, usize), buffer: &Buffer, bytes: u64) {
        let y = self.y - 20;
        let place = format!("x=\"{x}\" y=\"{y}\" height=\"27\"");
        self.put(&format!("<rect class=\"box\" {place} width=\"{width}\"/>"));
        if bytes == 0 {
            return;
        }
        // A few bytes are to be seen too.
        let filled = (bytes * width as u64 / buffer.capacity.max(LEAST_CAPACITY)).max(4);
        let class =
            if matches!(buffer.queue, Queue::Hand | Queue::Outbox) { "outbox" } else { "kernel" };
        self.put(&format!("<rect class=\"{class}\" {place} width=\"{filled}\"/>"));
        self.text(x + width / 2, "bytes mid", &grouped(bytes));
    }

    /// The picture, with what it says for those who listen.
    pub(super) fn finish(self, title: &str, says: &str) -> String {
        let (title, says, width, height) = (escaped(title), escaped(says), self.width, self.y);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"title desc\">\n\
             <title id=\"title\">{title}</title>\n<desc id=\"desc\">{says}</desc>\n{STYLE}\n\
             <rect class=\"panel\" x=\"2\" y=\"2\" width=\"{}\" height=\"{}\" rx=\"14\"/>\n{}</svg>\n",
            width - 4,
            height - 4,
            self.svg
        )
    }
}

/// How wide a buffer is if there are so many.
fn bar(columns: usize) -> usize {
    ((WIDTH - MARGIN - BARS) / columns.max(1) - GAP).min(WIDEST)
}

/// A text in lines that fit the strip.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < letters => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// 16384 as 16,384.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A waits for its turn with its bytes in the server's receive queue, behind a client that the server reads from.
    const SCENE: &str = r#"scene({"name": "n", "title": "A & B", "program": "stage1-blocking", "what_if": null,
        "clients": [{"name": "A"}, {"name": "B"}], "moments": [1],
        "capacity": {"client_out": 1, "server_in": 10000, "server_out": 1, "client_in": 0},
        "steps": [
            {"who": "server", "call": "recvfrom(B, …)", "asleep": true, "connections": {}, "backlog": [], "caption": "c"},
            {"who": "A", "does": "sends 5000 bytes", "backlog": ["A"], "caption": "B is silent, so A waits.",
             "connections": {"A": {"connected": true, "client_out": 0, "server_in": 5000, "server_out": 0,
                "client_in": 0, "returned": 0, "fin": "none", "reset": false}}}
        ]});"#;

    #[test]
    fn a_strip_says_who_waits_for_whom_and_what_the_server_does() {
        let svg = draw(&Scene::read(SCENE).unwrap());
        for said in [
            ">A &amp; B<",
            ">2. A sends 5000 bytes<",
            ">waits for B<",
            ">server sleeps in recvfrom · backlog: A<",
            ">B is silent, so A waits.<",
        ] {
            assert!(svg.contains(said), "{said} is not in {svg}");
        }
        // Half of the receive queue is full, and there is no column for an outbox.
        assert!(svg.contains(&format!("height=\"27\" width=\"{}\"", bar(3) / 2)), "{svg}");
        assert!(!svg.contains("outbox<"));
        // B has not connected.
        assert!(!svg.contains(">B<"));
    }

    #[test]
    fn a_strip_shows_what_happens_with_the_fault_too() {
        let what_if = r#""what_if": {"title": "A is <forgotten>", "moments": [0], "steps": [
            {"who": "clock", "does": "a second passes", "connections": {}, "backlog": [], "caption": "A waits forever."}]}"#;
        let text = SCENE.replace(r#""what_if": null"#, what_if);
        let svg = draw(&Scene::read(&text).unwrap());
        for said in
            [">What if: A is &lt;forgotten&gt;<", ">1. a second passes<", ">A waits forever.<"]
        {
            assert!(svg.contains(said), "{said} is not in {svg}");
        }
    }

    #[test]
    fn of_a_peer_the_strip_says_in_which_state_the_program_is_with_it() {
        let text = SCENE.replace(r#"{"name": "A"}"#, r#"{"name": "A", "peer": true}"#).replace(
            r#""caption": "B is silent"#,
            r#""server": {"state": {"A": "ExpectingAck"}}, "caption": "B is silent"#,
        );
        let svg = draw(&Scene::read(&text).unwrap());
        for said in [">expecting ack<", ">program<", ">program sleeps in recvfrom"] {
            assert!(svg.contains(said), "{said} is not in {svg}");
        }
    }

    #[test]
    fn a_strip_that_is_too_long_has_two_columns() {
        let text = SCENE.replace(r#""moments": [1]"#, r#""moments": [0, 0, 0, 0, 1, 1, 1]"#);
        let svg = draw(&Scene::read(&text).unwrap());
        assert_eq!(svg.matches("<g transform").count(), 2);
        assert_eq!(svg.matches(">2. A sends 5000 bytes<").count(), 3);
    }

    #[test]
    fn a_strip_is_readable_on_any_page_since_it_has_a_background_of_its_own() {
        let svg = draw(&Scene::read(SCENE).unwrap());
        assert!(svg.contains("viewBox") && svg.contains("<rect class=\"panel\""));
    }

    #[test]
    fn a_caption_is_broken_between_words() {
        let lines = wrapped(&"word ".repeat(30), LETTERS);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= LETTERS && line.starts_with("word")));
    }

    #[test]
    fn numbers_have_a_comma_for_each_thousand() {
        assert_eq!([5, 999, 16_384, 1_000_000].map(grouped), ["5", "999", "16,384", "1,000,000"]);
    }
}
