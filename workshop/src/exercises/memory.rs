//! What we remember of the learner, in `.workshop/` at the root of the checkout: `cargo clean` does not take
//! it away, and it moves with the folder.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::page::{Exercise, Number};
use super::place::Place;
use super::predict::Prediction;
use super::screen::say;
use super::sources::{Sources, write};

/// No exercise takes longer. If it does, there was a night or a meal in between.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// The folder with a patch for each exercise that was finished.
const FINISHED: &str = "finished";

/// What we remember of an exercise that is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub(crate) struct Done {
    /// The day, as in 2025-06-30. An older version of this tool did not write it down.
    pub(crate) day: Option<String>,
    /// From when the task was shown, or first watched or checked. `None`: unknown.
    pub(crate) minutes: Option<u64>,
    /// How the test failed, and which: to be compared with the prediction.
    pub(crate) seen: Option<Prediction>,
    /// The sources were those of the patch, to the byte.
    pub(crate) is_the_patch: bool,
}

impl Place {
    /// A folder, or a file, of what we remember.
    pub(crate) fn kept(&self, what: &str) -> PathBuf {
        self.root.join(".workshop").join(what)
    }

    fn kept_of(&self, what: &str, number: Number) -> PathBuf {
        self.kept(what).join(number.to_string())
    }

    pub(crate) fn is_done(&self, number: Number) -> bool {
        self.kept_of("done", number).exists()
    }

    /// What we remember of it. `None`: it is not done.
    pub(crate) fn how_done(&self, number: Number) -> Option<Done> {
        let text = fs::read_to_string(self.kept_of("done", number)).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_default())
    }

    pub(crate) fn hints_shown(&self, number: Number) -> usize {
        self.recall("hints", number).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What was remembered last.
    pub(crate) fn recall(&self, what: &str, number: Number) -> Option<String> {
        fs::read_to_string(self.kept_of(what, number)).ok()
    }

    /// Remembers something about an exercise, or forgets it. What is done stays so: a test that is red later
    /// takes nothing back.
    pub(crate) fn remember(&self, what: &str, number: Number, text: Option<&str>) {
        match (what, text) {
            ("done", None) => {}
            ("done", Some(_)) => tell_if_forgotten(
                self.exercise(number).and_then(|exercise| self.write_done(&exercise, None)),
            ),
            (_, Some(text)) => tell_if_forgotten(write(&self.kept_of(what, number), text)),
            (_, None) => {
                let _ = fs::remove_file(self.kept_of(what, number));
            }
        }
    }

    /// Remembers that an exercise is done: the day, the minutes, what was seen, the learner's solution. The
    /// first time counts.
    pub(crate) fn done(&self, exercise: &Exercise, seen: Option<&Prediction>) {
        // One note is enough.
        let finished = self.write_finished(exercise);
        tell_if_forgotten(self.write_done(exercise, seen).and(finished));
    }

    /// Remembers the changes with which an exercise was finished last: they may still be there in the next one.
    fn write_finished(&self, exercise: &Exercise) -> anyhow::Result<()> {
        let (first, mine) = (self.first(exercise)?, Sources::read(&self.root, &exercise.sources)?);
        write(&self.kept_of(FINISHED, exercise.number), &first.patch_to(&mine))
    }

    /// For each exercise that was finished, the changes that did it.
    pub(crate) fn finished(&self) -> Vec<(Number, String)> {
        let entries = fs::read_dir(self.kept(FINISHED)).into_iter().flatten().flatten();
        let read = |entry: fs::DirEntry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_to_string(entry.path()).ok()?))
        };
        entries.filter_map(read).collect()
    }

    fn write_done(&self, exercise: &Exercise, seen: Option<&Prediction>) -> anyhow::Result<()> {
        let number = exercise.number;
        // One without a day was taken over.
        if self.how_done(number).is_some_and(|done| done.day.is_some()) {
            return Ok(());
        }
        let now = SystemTime::now();
        let mut done = Done {
            day: Some(timestamp(now)[..10].to_owned()),
            minutes: self.started(number).and_then(|started| minutes(started, now)),
            seen: seen.cloned(),
            is_the_patch: false,
        };
        let mine = Sources::read(&self.root, &exercise.sources);
        if let (Ok(first), Ok(mine)) = (self.first(exercise), mine) {
            let patch = fs::read_to_string(self.patch(number)).unwrap_or_default();
            done.is_the_patch = first.with(&patch).is_ok_and(|patched| patched == mine);
            write(&self.kept("done").join(format!("{number}.patch")), &first.patch_to(&mine))?;
        }
        write(&self.kept_of("done", number), &serde_json::to_string(&done)?)
    }

    /// The learner begins: now, unless that was a short while ago.
    pub(crate) fn begin(&self, number: Number) {
        let now = SystemTime::now();
        if self.started(number).and_then(|started| minutes(started, now)).is_none() {
            self.begin_again(number);
        }
    }

    /// The learner begins now.
    pub(crate) fn begin_again(&self, number: Number) {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        self.remember("started", number, Some(&now));
    }

    /// The learner begins with a check, which has more to say: if this cannot be remembered, it is no news until the
    /// exercise is done.
    pub(crate) fn begin_with_a_check(&self, number: Number) {
        if self.started(number).is_none() {
            let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let _ = write(&self.kept_of("started", number), &now);
        }
    }

    /// When the task was shown, or first watched or checked.
    pub(crate) fn started(&self, number: Number) -> Option<SystemTime> {
        humantime::parse_rfc3339(self.recall("started", number)?.trim()).ok()
    }

    /// What an older version of this tool remembers where cargo builds. Once: the old is deleted, so what is
    /// forgotten later does not come back.
    pub(crate) fn take_over_old_memory(&self) {
        for what in ["done", "hints"] {
            let old = self.memory().join(what);
            let Ok(entries) = fs::read_dir(&old) else { continue };
            let all_taken = entries.flatten().all(|entry| {
                let path = self.kept(what).join(entry.file_name());
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                path.exists() || write(&path, &text).is_ok()
            });
            if all_taken {
                let _ = fs::remove_dir_all(&old);
            }
        }
    }
}

/// A learner loses little if we forget something, so it is no error. It comes last, behind what there is to
/// see.
fn tell_if_forgotten(written: anyhow::Result<()>) {
    if let Err(error) = written {
        say!("(That cannot be remembered: {error:#})");
    }
}

/// A moment as a part of a file's name, which sorts as time does: 2025-06-30T12-05-59. In UTC.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.trim_end_matches('Z').replace(':', "-")
}

/// The minutes of work between two moments. `None`: there was a break, or the clock was set back.
fn minutes(from: SystemTime, to: SystemTime) -> Option<u64> {
    let time = to.duration_since(from).ok().filter(|time| *time <= LONGEST)?;
    Some(((time.as_secs() + 30) / 60).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_rounded_and_a_night_is_no_work() {
        let zero = SystemTime::UNIX_EPOCH;
        let after = |seconds| minutes(zero, zero + Duration::from_secs(seconds));
        assert_eq!([5, 89, 90, 4 * 3600].map(after), [Some(1), Some(1), Some(2), Some(240)]);
        assert_eq!(after(4 * 3600 + 1), None);
        assert_eq!(minutes(zero + Duration::from_secs(1), zero), None);
    }

    #[test]
    fn a_moment_is_part_of_a_file_name() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(timestamp(time), "2001-09-09T01-46-40");
    }
}
