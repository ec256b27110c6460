//! `watch`: checks again at every save.
//!
//! Two threads bring news: notify's, of files, and ours, of keys. The main thread waits for both on one
//! channel. What it does with them is in [`follow`], which knows neither files nor keys.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use notify::{Config, PollWatcher, RecursiveMode, Watcher};

use super::check::Checked;
use super::page::{Exercise, Kind, Number};
use super::place::Place;
use super::screen::{Screen, say};
use super::sources::rust_files;
use super::{TOOL, hint, predict, predict_and_check, solution, stage};

/// An editor writes a file in several steps, and a formatter writes it again. When there was no news for
/// this long, that is over.
const QUIET: Duration = Duration::from_millis(100);

/// How often we look where the system does not say when a file is saved.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Checks an exercise each time one of its sources is saved.
pub(crate) fn watch(
    place: &Place,
    screen: &Screen,
    number: Number,
    until_done: bool,
) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    // What is there before the exercise begins is not for it, or is the begin of it: the learner knows.
    if place.started(number).is_none() && place.known_leftovers(&exercise).is_none() {
        stage::tell_leftover(place, screen, &exercise);
    }
    place.begin(number);
    // Now: later the keys are ours.
    predict::ask(place, screen, &exercise, None)?;
    let (tell, news) = mpsc::channel();
    let _watcher = tell_of_saves(&place.root.join(&exercise.sources), tell.clone())?;
    let has_keys = io::stdin().is_terminal() && io::stdout().is_terminal();
    if has_keys {
        thread::spawn(move || tell_of_keys(&tell));
    }
    let screen = &screen.with_keys(has_keys);
    let mut work = OnTheExercise { place, screen, exercise, checked: None, came: None, raw: None };
    follow(&mut work, &news, until_done);
    Ok(ExitCode::SUCCESS)
}

/// What the main thread waits for.
enum News {
    /// Something has happened to a source: it was written, perhaps only read.
    Source,
    Key(char),
    /// Ctrl-C, or the terminal is closed.
    End,
}

/// Says when something happens in a folder, as long as what it returns lives.
fn tell_of_saves(folder: &Path, tell: Sender<News>) -> anyhow::Result<Box<dyn Watcher>> {
    let handler = move |_: notify::Result<notify::Event>| {
        let _ = tell.send(News::Source);
    };
    let watch = |watcher: &mut dyn Watcher| watcher.watch(folder, RecursiveMode::Recursive);
    let started = notify::recommended_watcher(handler.clone())
        .and_then(|mut watcher| watch(&mut watcher).map(|()| watcher));
    match started {
        Ok(watcher) => Ok(Box::new(watcher)),
        // All that inotify(7) may watch is watched already, by an editor for example.
        Err(error) => {
            say!("({error}; so we look at the files once a second.)");
            let config = Config::default().with_poll_interval(LOOK_EVERY);
            let mut watcher = PollWatcher::new(handler, config)?;
            watch(&mut watcher).with_context(|| format!("cannot watch {}", folder.display()))?;
            Ok(Box::new(watcher))
        }
    }
}

/// Reads keys until the terminal or the receiver has gone.
fn tell_of_keys(tell: &Sender<News>) {
    loop {
        let news = match event::read() {
            Ok(Event::Key(key)) => pressed(key),
            Ok(_) => None,
            Err(_) => Some(News::End),
        };
        let is_last = matches!(news, Some(News::End));
        if news.is_some_and(|news| tell.send(news).is_err()) || is_last {
            return;
        }
    }
}

/// In raw mode Ctrl-C is a key, and no signal. Windows says of each key when it is released as well.
fn pressed(key: KeyEvent) -> Option<News> {
    match key.code {
        _ if key.kind == KeyEventKind::Release => None,
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            Some(News::End)
        }
        KeyCode::Char(key) => Some(News::Key(key)),
        _ => None,
    }
}

/// What there is to be done when there is news.
trait Work {
    /// To see whether there is something to check.
    type Sources: PartialEq;
    fn sources(&self) -> Self::Sources;
    /// True: done.
    fn check(&mut self) -> bool;
    fn hint(&mut self);
    fn ask_for_solution(&mut self);
    fn solution(&mut self);
    fn wrong_key(&mut self, key: char);
    /// Waits for news, no longer than until then. `None`: it is then.
    fn wait(&mut self, news: &Receiver<News>, until: Option<Instant>) -> Option<News>;
}

/// Checks, and checks again when the sources have changed, until there is an end. A check that runs is
/// finished: what was saved meanwhile is checked once, after it.
fn follow(work: &mut impl Work, news: &Receiver<News>, until_done: bool) {
    loop {
        let checked = work.sources();
        if work.check() && until_done {
            return;
        }
        match until_changed(work, news, &checked) {
            Next::Check => {}
            Next::End => return,
        }
    }
}

enum Next {
    Check,
    End,
}

fn until_changed<W: Work>(work: &mut W, news: &Receiver<News>, checked: &W::Sources) -> Next {
    let (mut quiet_at, mut asked) = (None, false);
    loop {
        match work.wait(news, quiet_at) {
            Some(News::Source) => quiet_at = Some(Instant::now() + QUIET),
            Some(News::Key('q')) | Some(News::End) => return Next::End,
            Some(News::Key('r')) => return Next::Check,
            Some(News::Key(key)) => {
                match key {
                    'h' => work.hint(),
                    's' if asked => work.solution(),
                    's' => work.ask_for_solution(),
                    _ => work.wrong_key(key),
                }
                asked = key == 's' && !asked;
            }
            None if work.sources() != *checked => return Next::Check,
            None => quiet_at = None,
        }
    }
}

/// The real thing.
struct OnTheExercise<'a> {
    place: &'a Place,
    screen: &'a Screen,
    exercise: Exercise,
    /// What was checked last.
    checked: Option<Files>,
    /// What came of it. `None`: it could not be checked.
    came: Option<Checked>,
    /// While we wait. What is printed needs the terminal as it was, and a check needs its Ctrl-C.
    raw: Option<RawMode>,
}

/// Each file, when it was written, and what is in it: a clock may be coarse.
type Files = Vec<(PathBuf, Option<SystemTime>, Vec<u8>)>;

impl Work for OnTheExercise<'_> {
    type Sources = Files;

    fn sources(&self) -> Files {
        // Between two steps of an editor there may be nothing to read. There will be more news.
        let paths = rust_files(&self.place.root.join(&self.exercise.sources)).unwrap_or_default();
        let stamp = |path: PathBuf| {
            let written = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            let text = fs::read(&path).unwrap_or_default();
            (path, written, text)
        };
        paths.into_iter().map(stamp).collect()
    }

    fn check(&mut self) -> bool {
        self.raw = None;
        self.screen.clear();
        let sources = Some(self.sources());
        let is_saved = self.checked.is_some() && self.checked != sources;
        say!("{}building …", if is_saved { "saved; " } else { "" });
        self.checked = sources;
        let checked = predict_and_check(self.place, self.screen, self.exercise.number, None, None);
        // A manifest that cannot be read for example. The learner will save it again.
        self.came = checked.inspect_err(|error| say!("Error: {error:#}")).ok();
        let done = self.came.as_ref().is_some_and(|checked| checked.done);
        if done {
            self.tell_what_is_next();
        }
        self.tell_keys();
        done
    }

    fn hint(&mut self) {
        self.raw = None;
        say!("");
        let _ = hint(self.place, self.screen, self.exercise.number);
        self.tell_keys();
    }

    fn ask_for_solution(&mut self) {
        self.raw = None;
        say!("s once more shows the solution.");
    }

    fn solution(&mut self) {
        self.raw = None;
        say!("");
        if let Err(error) = solution(self.place, self.screen, self.exercise.number) {
            say!("Error: {error:#}");
        }
        self.tell_keys();
    }

    fn wrong_key(&mut self, key: char) {
        self.raw = None;
        say!("{key:?} is none of the keys.");
        self.tell_keys();
    }

    fn wait(&mut self, news: &Receiver<News>, until: Option<Instant>) -> Option<News> {
        if self.screen.has_keys() {
            self.raw.get_or_insert_with(RawMode::on);
        }
        let received = match until {
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => news.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match received {
            Ok(news) => Some(news),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(News::End),
        }
    }
}

impl OnTheExercise<'_> {
    /// The fault of a drill comes out first: the next exercise begins with the stage as it was given.
    fn tell_what_is_next(&self) {
        let Exercise { number, kind, .. } = self.exercise;
        match kind {
            Kind::Build => {
                say!("\n{} is done.", self.screen.good(&format!("Green: {number}"), 0));
                say!("The first one that is not done:      {TOOL} next");
            }
            Kind::Break => {
                let head = self.screen.good("Red, as it should be:", 0);
                say!("\n{head} {number} is done.");
                say!("First take the fault out:            {TOOL} reset {number}");
                say!("Then the first one that is not done: {TOOL} next");
            }
        }
    }

    /// The last line. What is above it may have left the screen.
    fn tell_keys(&self) {
        let sources = &self.exercise.sources;
        let came = match &self.came {
            None => String::new(),
            Some(came) if came.is_green => format!(": {}", self.screen.good("green", 0)),
            Some(_) => format!(": {}", self.screen.bad("red", 0)),
        };
        match self.screen.has_keys() {
            true => say!("\nWatching {sources}{came}.  h hint  s solution  r check again  q quit"),
            false => say!("\nWatching {sources}{came}. Ctrl-C ends it."),
        }
    }
}

/// A terminal that passes each key on at once and does not show it. Dropping this restores the terminal, also
/// when we panic.
struct RawMode;

impl RawMode {
    fn on() -> Self {
        // Without it keys come when Enter is pressed: still of use.
        let _ = enable_raw_mode();
        Self
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that writes down what is done. The sources are a number: how often they were saved.
    struct Scripted {
        saved: u32,
        tell: Sender<News>,
        /// Saves that come while we check, for each check.
        while_checking: Vec<u32>,
        /// From which check on it is done.
        done_from: usize,
        log: Vec<&'static str>,
    }

    impl Work for Scripted {
        type Sources = u32;

        fn sources(&self) -> u32 {
            self.saved
        }

        fn check(&mut self) -> bool {
            self.log.push("check");
            let checks = self.log.iter().filter(|what| **what == "check").count();
            let saves = self.while_checking.get(checks - 1).copied().unwrap_or(0);
            self.saved += saves;
            (0..saves).for_each(|_| self.tell.send(News::Source).unwrap());
            checks >= self.done_from
        }

        fn hint(&mut self) {
            self.log.push("hint");
        }

        fn ask_for_solution(&mut self) {
            self.log.push("sure?");
        }

        fn solution(&mut self) {
            self.log.push("solution");
        }

        fn wrong_key(&mut self, _: char) {
            self.log.push("which?");
        }

        /// All the news that there will be has come: time passes at once.
        fn wait(&mut self, news: &Receiver<News>, until: Option<Instant>) -> Option<News> {
            match news.try_recv() {
                Ok(news) => Some(news),
                Err(_) if until.is_some() => None,
                Err(_) => Some(News::End),
            }
        }
    }

    #[track_caller]
    fn check_log(news: Vec<News>, while_checking: &[u32], expected: &[&str]) {
        let (tell, received) = mpsc::channel();
        news.into_iter().for_each(|news| tell.send(news).unwrap());
        let while_checking = while_checking.to_vec();
        let mut work =
            Scripted { saved: 0, tell, while_checking, done_from: usize::MAX, log: Vec::new() };
        follow(&mut work, &received, false);
        assert_eq!(work.log, expected);
    }

    #[test]
    fn saves_that_come_while_a_check_runs_are_checked_once_more() {
        check_log(vec![], &[], &["check"]);
        check_log(vec![], &[1], &["check", "check"]);
        check_log(vec![], &[5], &["check", "check"]);
        check_log(vec![], &[5, 1], &["check", "check", "check"]);
    }

    #[test]
    fn news_of_files_that_are_as_before_is_no_reason_to_check() {
        check_log(vec![News::Source, News::Source], &[], &["check"]);
    }

    #[test]
    fn the_solution_is_shown_when_it_was_asked_for_twice_in_a_row() {
        let keys = |text: &str| text.chars().map(News::Key).collect();
        check_log(keys("ss"), &[], &["check", "sure?", "solution"]);
        check_log(keys("shs"), &[], &["check", "sure?", "hint", "sure?"]);
        check_log(keys("sss"), &[], &["check", "sure?", "solution", "sure?"]);
        check_log(keys("sxs"), &[], &["check", "sure?", "which?", "sure?"]);
    }

    #[test]
    fn a_key_checks_again_and_a_key_ends() {
        let keys = |text: &str| text.chars().map(News::Key).collect();
        check_log(keys("rhqh"), &[], &["check", "check", "hint"]);
        check_log(vec![News::End, News::Key('h')], &[], &["check"]);
    }

    #[test]
    fn it_ends_when_the_exercise_is_done_if_it_was_told_to() {
        let (tell, news) = mpsc::channel();
        let while_checking = vec![1, 1, 1, 1];
        let mut work = Scripted { saved: 0, tell, while_checking, done_from: 2, log: Vec::new() };
        follow(&mut work, &news, true);
        assert_eq!(work.log, ["check", "check"]);
    }
}
