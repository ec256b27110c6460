//! `summary`: what a learner has done, as a page to print and to talk about.

use std::path::PathBuf;
use std::process::ExitCode;

use super::memory::Done;
use super::page::{Exercise, Kind};
use super::place::Place;
use super::predict::{self, Prediction};
use super::screen::say;
use super::sources::write;

/// Everything about one exercise that is done.
struct Entry {
    exercise: Exercise,
    done: Done,
    hints: usize,
    predicted: Option<Prediction>,
}

impl Entry {
    /// The prediction, beside what was seen. `None`: one of the two is missing.
    fn compared(&self) -> Option<(&Prediction, &Prediction)> {
        Some((self.predicted.as_ref()?, self.done.seen.as_ref()?))
    }

    fn was_wrong(&self) -> bool {
        self.compared().is_some_and(|(predicted, seen)| !self.is_right(predicted, seen))
    }

    /// Right in all that was predicted. A prediction need not name a test.
    fn is_right(&self, predicted: &Prediction, seen: &Prediction) -> bool {
        let (how, test) = predicted.agrees(&self.exercise, seen);
        how && (test || predicted.test.is_none())
    }

    /// "12 min (planned: 15)"
    fn time(&self) -> String {
        let minutes = self.done.minutes.map_or("?".to_owned(), |minutes| minutes.to_string());
        format!("{minutes} min (planned: {})", self.exercise.minutes)
    }

    fn help(&self) -> String {
        // A fault is planted as the page says it; that is no help.
        let is_solution = self.done.is_the_patch && self.exercise.kind == Kind::Build;
        let solution = if is_solution { ", the page's solution" } else { "" };
        match self.hints {
            0 => format!("no hint{solution}"),
            1 => format!("1 hint{solution}"),
            n => format!("{n} hints{solution}"),
        }
    }
}

/// Prints the summary, and writes it as a page.
pub(crate) fn summary(place: &Place, path: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let exercises = place.exercises()?;
    let all = exercises.len();
    let entry = |exercise: Exercise| {
        let done = place.how_done(exercise.number)?;
        let (number, hints) = (exercise.number, place.hints_shown(exercise.number));
        Some(Entry { exercise, done, hints, predicted: predict::of(place, number) })
    };
    let entries: Vec<_> = exercises.into_iter().filter_map(entry).collect();
    text(&entries, all).iter().for_each(|line| say!("{line}"));
    let path = path.unwrap_or_else(|| place.kept("summary.html"));
    write(&path, &page(&entries, all))?;
    say!("\nAs a page: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// What it took, and what the pages say of the same exercises: those whose time is known.
fn sum(entries: &[Entry]) -> (u64, u32) {
    let known = entries.iter().filter_map(|entry| Some((entry.done.minutes?, entry)));
    known.fold((0, 0), |(took, planned), (minutes, entry)| {
        (took + minutes, planned + entry.exercise.minutes)
    })
}

fn sum_in_words(entries: &[Entry]) -> String {
    let (took, planned) = sum(entries);
    let unknown = entries.iter().filter(|entry| entry.done.minutes.is_none()).count();
    let unknown = match unknown {
        0 => String::new(),
        n => format!(", and {n} of unknown time"),
    };
    format!("{took} min (planned: {planned}){unknown}")
}

fn chapters(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|a, b| a.exercise.number.chapter == b.exercise.number.chapter)
}

/// The lines on the terminal. The questions are on the page: they need room.
fn text(entries: &[Entry], all: usize) -> Vec<String> {
    let mut lines =
        vec![format!("{} of {all} exercises done, {}.", entries.len(), sum_in_words(entries))];
    let wrong: Vec<_> = entries.iter().filter(|entry| entry.was_wrong()).collect();
    if !wrong.is_empty() {
        lines.push("\nPredictions that were wrong:".to_owned());
    }
    for (entry, (predicted, seen)) in wrong.iter().filter_map(|e| Some((e, e.compared()?))) {
        lines.push(format!("{:>5}  {}", entry.exercise.number.to_string(), entry.exercise.title));
        lines.push(format!("       predicted: {predicted}"));
        lines.push(format!("       seen:      {seen}"));
    }
    for chapter in chapters(entries) {
        let number = chapter[0].exercise.number.chapter;
        lines.push(format!("\nChapter {number}: {}", sum_in_words(chapter)));
        for entry in chapter {
            let (number, title) = (entry.exercise.number.to_string(), &entry.exercise.title);
            let predicted = match entry.compared() {
                Some((predicted, seen)) if entry.is_right(predicted, seen) => ", predicted: right",
                Some(_) => ", predicted: wrong",
                None if entry.predicted.is_some() => ", predicted",
                None => "",
            };
            let (time, help) = (entry.time(), entry.help());
            lines.push(format!("{number:>5}  {title}: {time}, {help}{predicted}"));
        }
    }
    lines
}

/// One file without anything from elsewhere: it can be sent by mail, and printed.
fn page(entries: &[Entry], all: usize) -> String {
    let (count, sum) = (entries.len(), sum_in_words(entries));
    let mut body =
        format!("<h1>What I have done</h1>\n<p>{count} of {all} exercises, {sum}.</p>\n");
    let wrong: Vec<_> = entries.iter().filter(|entry| entry.was_wrong()).collect();
    if !wrong.is_empty() {
        body += "<section class=\"wrong\">\n<h2>Predictions that were wrong</h2>\n";
        body += "<p>These are worth a talk: what did you expect the server to do, and why?</p>\n";
        wrong.iter().for_each(|entry| body += &article(entry));
        body += "</section>\n";
    }
    for chapter in chapters(entries) {
        let number = chapter[0].exercise.number.chapter;
        body +=
            &format!("<section>\n<h2>Chapter {number}</h2>\n<p>{}</p>\n", sum_in_words(chapter));
        chapter.iter().for_each(|entry| body += &article(entry));
        body += "</section>\n";
    }
    include_str!("summary.html").replace("<!-- body -->", &body)
}

fn article(entry: &Entry) -> String {
    let Exercise { number, title, kind, body, .. } = &entry.exercise;
    let mut html = format!("<article>\n<h3>{number} {}</h3>\n", inline(title));
    let day = entry.done.day.iter().map(|day| format!("{}, ", escaped(day)));
    let facts = format!("{}, {}", entry.time(), entry.help());
    html += &format!("<p class=\"facts\">{}{kind}, {facts}</p>\n", day.collect::<String>());
    if let Some((predicted, seen)) = entry.compared() {
        let (mark, word) =
            if entry.is_right(predicted, seen) { ("good", "right") } else { ("bad", "wrong") };
        html += &format!(
            "<table><tr><th>predicted</th><td>{}</td><td rowspan=\"2\" class=\"{mark}\">{word}</td></tr>\
             <tr><th>seen</th><td>{}</td></tr></table>\n",
            escaped(&predicted.to_string()),
            escaped(&seen.to_string()),
        );
    }
    let questions = questions(body);
    if !questions.is_empty() {
        html += "<ul>\n";
        questions.iter().for_each(|question| html += &format!("<li>{}</li>\n", inline(question)));
        html += "</ul>\n";
    }
    html + "</article>\n"
}

/// The list below "What you should now be able to explain", an item each.
fn questions(body: &str) -> Vec<String> {
    let behind =
        body.split("## What you should now be able to explain\n").nth(1).unwrap_or_default();
    let section = behind.split("\n## ").next().unwrap_or_default();
    let mut questions: Vec<String> = Vec::new();
    for line in section.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("- "), questions.last_mut()) {
            (Some(first), _) => questions.push(first.to_owned()),
            // The item goes on.
            (None, Some(question)) => *question += &format!(" {line}"),
            (None, None) => questions.push(line.to_owned()),
        }
    }
    questions
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(i, part)| match i % 2 {
        1 => format!("<code>{}</code>", escaped(part)),
        _ => emphasized(part),
    });
    parts.collect()
}

/// Text with *emphasis* in it. A star alone is a star.
fn emphasized(text: &str) -> String {
    let mut parts: Vec<_> = text.split('*').map(escaped).collect();
    let lonely = if parts.len() % 2 == 0 { parts.pop() } else { None };
    let mut html: String = parts
        .iter()
        .enumerate()
        .map(|(i, part)| if i % 2 == 1 { format!("<em>{part}</em>") } else { part.clone() })
        .collect();
    html.extend(lonely.map(|rest| format!("*{rest}")));
    html
}

/// Titles and names come from files: on a page they are text and nothing else.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAK: &str = include_str!("../../../docs/src/exercises/5.1.md");

    fn entry(number: &str, predicted: Option<&str>, minutes: Option<u64>) -> Entry {
        let page = BREAK.replace("# Exercise 5.1: ", &format!("# Exercise {number}: <b>&"));
        let seen = Some("silence:right_test".parse().unwrap());
        let done = Done { day: Some("2025-06-30".to_owned()), minutes, seen, is_the_patch: false };
        let exercise = Exercise::parse(&page).unwrap();
        Entry { exercise, done, hints: 1, predicted: predicted.map(|text| text.parse().unwrap()) }
    }

    #[test]
    fn wrong_predictions_come_first() {
        let entries = [
            entry("5.1", Some("silence:right_test"), Some(7)),
            entry("5.2", Some("spin:right_test"), None),
            entry("6.1", Some("silence:other"), Some(5)),
            entry("6.2", Some("silence"), Some(5)),
            entry("6.3", None, Some(5)),
        ];
        let text = text(&entries, 30).join("\n");
        assert!(
            text.starts_with(
                "5 of 30 exercises done, 22 min (planned: 40), and 1 of unknown time."
            ),
            "{text}"
        );
        let (wrong, chapters) = text.split_once("\nChapter 5: 7 min (planned: 10)").unwrap();
        let is_wrong = |number: &str| wrong.contains(&format!("\n  {number}  "));
        assert_eq!(
            ["5.1", "5.2", "6.1", "6.2", "6.3"].map(is_wrong),
            [false, true, true, false, false]
        );
        assert!(
            wrong.contains(
                "predicted: a spin in right_test\n       seen:      silence in right_test"
            )
        );
        assert!(
            chapters.contains("Last words: 7 min (planned: 10), 1 hint, predicted: right\n"),
            "{text}"
        );
        assert!(
            chapters.contains("Last words: ? min (planned: 10), 1 hint, predicted: wrong\n"),
            "{text}"
        );
        let page = page(&entries, 30);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}: {page}"));
        let order = [
            at("Predictions that were wrong"),
            at("<h3>5.2 "),
            at("<h3>6.1 "),
            at("Chapter 5"),
            at("<h3>5.1 "),
            at("Chapter 6"),
        ];
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn what_comes_from_files_is_text_on_the_page() {
        let page = page(&[entry("5.1", Some("spin:<script>"), Some(1))], 30);
        assert!(
            page.contains("5.1 &lt;b&gt;&amp;Last words")
                && page.contains("a spin in &lt;script&gt;")
        );
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&[entry("5.1", None, Some(1))], 30);
        assert!(
            !page.contains("http") && !page.contains("src=") && !page.contains("@import"),
            "{page}"
        );
        assert!(page.contains("td.good, td.bad { white-space: nowrap; }"), "words stay whole");
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    }

    #[test]
    fn the_questions_of_an_exercise_are_its_list() {
        let body = Exercise::parse(BREAK).unwrap().body;
        let questions = questions(&body);
        assert_eq!(questions[0], "Why does `mark` not read, write or close?");
        assert!(questions.len() == 3 && questions.iter().all(|question| question.ends_with('?')));
        assert_eq!(inline("a *b* `c*d` e < *"), "a <em>b</em> <code>c*d</code> e &lt; *");
        assert_eq!(inline(&questions[0]), "Why does <code>mark</code> not read, write or close?");
        assert_eq!(
            super::questions("## What you should now be able to explain\n- a\n  b\n\n- c\n## D\n"),
            ["a b", "c"]
        );
    }
}
