//! A stage as the learner has changed it: put back to its first state, saved before, patched, compared.

use std::fmt;
use std::fs;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};

use super::TOOL;
use super::memory::timestamp;
use super::page::{Exercise, Kind, Number};
use super::place::Place;
use super::screen::{Screen, say};
use super::sources::{Sources, write};

/// Puts the stage into its first state.
pub(crate) fn reset(place: &Place, number: Number) -> anyhow::Result<ExitCode> {
    if let Some(name) = put_first(place, &place.exercise(number)?)? {
        say!("{}", is_saved_as(&name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Saves the learner's changes, and puts the stage into its first state. Returns under which name they are saved, if
/// there were any.
pub(crate) fn put_first(place: &Place, exercise: &Exercise) -> anyhow::Result<Option<String>> {
    let first = place.first(exercise)?;
    if let Some(left @ (Leftover::Patch(..) | Leftover::Among(..))) = place.leftovers(exercise) {
        say!("In {} {left}.", exercise.sources);
    }
    let saved = save(place, exercise, &first)?;
    first.put(&place.root, &exercise.sources)?;
    say!("{} is in its first state.", exercise.sources);
    Ok(saved)
}

/// How to get back what was saved.
pub(crate) fn is_saved_as(name: &str) -> String {
    format!("Your changes are saved. To bring them back: {TOOL} resume {name}")
}

/// Keeps what the stage holds beyond its first state. Returns its name.
fn save(place: &Place, exercise: &Exercise, first: &Sources) -> anyhow::Result<Option<String>> {
    let mine = Sources::read(&place.root, &exercise.sources)?;
    let patch = first.patch_to(&mine);
    if patch.is_empty() {
        return Ok(None);
    }
    // Saved before, brought back, and not changed since.
    let is_same = |(name, _): &&(String, Number)| {
        fs::read_to_string(place.kept("saved").join(name).join(PATCH)).is_ok_and(|old| old == patch)
    };
    let name = match saved(place).iter().rfind(is_same) {
        Some((name, _)) => name.clone(),
        None => save_as_new(place, exercise_of(place, exercise, first, &mine)?, &patch)?,
    };
    Ok(Some(name))
}

/// The file in a folder of `.workshop/saved`.
const PATCH: &str = "changes.patch";

fn save_as_new(place: &Place, number: Number, patch: &str) -> anyhow::Result<String> {
    let time = timestamp(SystemTime::now());
    // Two in one second: a script, or a test.
    let mut names = (0..).map(|n| match n {
        0 => format!("{time}-{number}"),
        n => format!("{time}.{n}-{number}"),
    });
    let name = names.find(|name| !place.kept("saved").join(name).exists());
    let name = name.context("no name is free")?;
    write(&place.kept("saved").join(&name).join(PATCH), patch)?;
    Ok(name)
}

/// The exercise that the changes are most likely made for: the one whose patch they are, or else the last
/// one that was begun before the last change.
fn exercise_of(
    place: &Place,
    exercise: &Exercise,
    first: &Sources,
    mine: &Sources,
) -> anyhow::Result<Number> {
    match place.leftovers(exercise) {
        Some(Leftover::Patch(number, _) | Leftover::Among(number, _)) => return Ok(number),
        Some(Leftover::Finished(finished)) => return Ok(finished.number),
        None => return Ok(exercise.number),
        Some(Leftover::Changes(_)) => {}
    }
    let changed = |file: &String| fs::metadata(place.root.join(file)).ok()?.modified().ok();
    let last_change = first.files_that_differ(mine).iter().filter_map(changed).max();
    let begun = in_the_same_sources(place, exercise)?
        .into_iter()
        .filter_map(|other| Some((place.started(other.number)?, other.number)))
        .filter(|(begun, _)| last_change.is_none_or(|last_change| *begun <= last_change))
        .max();
    Ok(begun.map_or(exercise.number, |(_, number)| number))
}

fn in_the_same_sources(place: &Place, exercise: &Exercise) -> anyhow::Result<Vec<Exercise>> {
    let mut exercises = place.exercises()?;
    exercises.retain(|other| other.sources == exercise.sources);
    Ok(exercises)
}

/// Brings back what was saved: what `which` names, or the last one of an exercise. Without a name it lists
/// what there is.
pub(crate) fn resume(place: &Place, which: Option<&str>) -> anyhow::Result<ExitCode> {
    let saved = saved(place);
    let Some(which) = which else {
        if saved.is_empty() {
            say!("Nothing is saved. `{TOOL} start` saves what it takes out of a stage.");
        }
        for (name, number) in &saved {
            let title = place.exercise(*number)?.title;
            say!("{TOOL} resume {name}   {title}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let fits = |(name, number): &&(String, Number)| name == which || number.to_string() == which;
    let found = saved.iter().rfind(fits);
    let (name, number) = found.with_context(|| {
        format!("nothing is saved as {which}; `{TOOL} resume` lists what there is")
    })?;
    let exercise = place.exercise(*number)?;
    let path = place.kept("saved").join(name).join(PATCH);
    let patch =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let first = place.first(&exercise)?;
    let saved = first.with(&patch).with_context(|| {
        format!("the first state has changed since; your changes are in {}", path.display())
    })?;
    if Sources::read(&place.root, &exercise.sources)? != saved {
        if let Some(name) = save(place, &exercise, &first)? {
            say!("{}", is_saved_as(&name));
        }
        saved.put(&place.root, &exercise.sources)?;
    }
    say!("Your changes of {name} are in {}.", exercise.sources);
    say!("Go on with: {TOOL} check {number}");
    Ok(ExitCode::SUCCESS)
}

/// The folders of what was saved, the oldest first, and the exercise of each.
fn saved(place: &Place) -> Vec<(String, Number)> {
    let entries = fs::read_dir(place.kept("saved")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let with_number = |name: String| Some((name.clone(), name.rsplit_once('-')?.1.parse().ok()?));
    let mut saved: Vec<_> = names.filter_map(with_number).collect();
    saved.sort();
    saved
}

/// Puts the solution or the fault in.
pub(crate) fn apply(place: &Place, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    let patch = patch(place, number)?;
    let mine = Sources::read(&place.root, &exercise.sources)?;
    let what = what(exercise.kind);
    if let Some(left @ (Leftover::Patch(..) | Leftover::Among(..))) = place.leftovers(&exercise) {
        bail!("{left}; `{TOOL} start {number}` saves that and begins again");
    }
    match mine.with(&patch) {
        Ok(patched) => patched.put(&place.root, &exercise.sources)?,
        Err(_) if mine.without(&patch).is_ok() => {
            say!("The {what} is in already.");
            return Ok(ExitCode::SUCCESS);
        }
        Err(why) => {
            let advice = match place.first(&exercise)?.with(&patch) {
                Ok(_) => format!("`{TOOL} start {number}` saves your changes and begins again"),
                Err(_) => place.first_is_stale(),
            };
            bail!("{} cannot take the {what}: {why:#}; {advice}", exercise.sources);
        }
    }
    say!("The {what} is in {}.", exercise.sources);
    say!("See what it does: {TOOL} check {number}");
    say!("Take it out:      {TOOL} reset {number}");
    Ok(ExitCode::SUCCESS)
}

fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Build => "solution",
        Kind::Break => "fault",
    }
}

fn patch(place: &Place, number: Number) -> anyhow::Result<String> {
    let path = place.patch(number);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Shows the learner's sources beside those with the solution.
pub(crate) fn diff(place: &Place, screen: &Screen, number: Number) -> anyhow::Result<ExitCode> {
    let exercise = place.exercise(number)?;
    let what = what(exercise.kind);
    let solved = place.first(&exercise)?.with(&patch(place, number)?);
    let solved = solved.map_err(|_| anyhow::anyhow!(place.first_is_stale()))?;
    let mine = Sources::read(&place.root, &exercise.sources)?;
    let patch = solved.patch_to(&mine);
    if patch.is_empty() {
        say!("{} is the first state with the {what} of {number} in.", exercise.sources);
        return Ok(ExitCode::SUCCESS);
    }
    let [theirs, yours] = [screen.bad("-", 0), screen.good("+", 0)];
    say!("{theirs} only with the {what} of {number}, {yours} only in your {}\n", exercise.sources);
    patch.lines().for_each(|line| say!("{}", screen.diff(line)));
    Ok(ExitCode::SUCCESS)
}

/// What a stage holds that is not of this exercise, as far as we can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// The patch of another exercise, and nothing else.
    Patch(Number, Kind),
    /// The patch of another exercise, among other changes.
    Among(Number, Kind),
    /// The changes with which another exercise was finished.
    Finished(Finished),
    /// Changes in these files. They may be for this exercise.
    Changes(Vec<String>),
}

/// The changes with which another exercise was finished: typed by hand, so that no page knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) number: Number,
    /// Which files they change.
    pub(crate) files: Vec<String>,
    /// What else is changed.
    pub(crate) beside: Vec<String>,
}

/// What there is, without what to do.
impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patch(number, kind) => write!(f, "the {} of {number} is still in", what(*kind)),
            Self::Among(number, kind) => {
                write!(f, "the {} of {number} is still in, among other changes", what(*kind))
            }
            Self::Finished(Finished { number, files, .. }) => {
                let files = files.join(", ");
                write!(f, "there are changes in {files}; with them you finished {number}")
            }
            Self::Changes(files) => write!(f, "there are changes in {}", files.join(", ")),
        }
    }
}

impl Place {
    /// What the stage of an exercise holds that is not of it. `None`: its first state, its own patch, or we
    /// cannot tell.
    pub(crate) fn leftovers(&self, exercise: &Exercise) -> Option<Leftover> {
        let first = self.first(exercise).ok()?;
        let mine = Sources::read(&self.root, &exercise.sources).ok()?;
        let all = in_the_same_sources(self, exercise).ok()?;
        let patches: Vec<_> =
            all.iter().filter_map(|other| Known::read(self, other).ok()).collect();
        let left = leftover(&first, &mine, exercise.number, &patches)?;
        if !matches!(left, Leftover::Changes(_)) {
            return Some(left);
        }
        let mut others = self.finished();
        let is_here = |number: &Number| all.iter().any(|other| other.number == *number);
        others.retain(|(number, _)| *number != exercise.number && is_here(number));
        Some(finished(&first, &mine, &others).map_or(left, Leftover::Finished).within(exercise))
    }

    /// What we can tell of the leftovers for sure. Changes of no exercise are the learner's own.
    pub(crate) fn known_leftovers(&self, exercise: &Exercise) -> Option<Leftover> {
        self.leftovers(exercise).filter(|left| !matches!(left, Leftover::Changes(_)))
    }
}

impl Leftover {
    /// The same, with files named from the folder of an exercise.
    fn within(mut self, exercise: &Exercise) -> Self {
        let of_changes = match &mut self {
            Self::Finished(Finished { files, beside, .. }) => vec![files, beside],
            Self::Changes(files) => vec![files],
            Self::Patch(..) | Self::Among(..) => vec![],
        };
        of_changes.into_iter().for_each(|files| *files = within(exercise, files));
        self
    }
}

fn within(exercise: &Exercise, files: &[String]) -> Vec<String> {
    let folder = format!("{}/", exercise.sources);
    files.iter().map(|name| name.strip_prefix(&folder).unwrap_or(name).to_owned()).collect()
}

/// The changes with which one of these exercises was finished, if they are in `mine`: all there is, or among others.
fn finished(first: &Sources, mine: &Sources, others: &[(Number, String)]) -> Option<Finished> {
    let with = |(number, patch): &(Number, String)| {
        let finished = first.with(patch).ok().filter(|finished| finished != first)?;
        // As for a patch of a page: it can be taken out, and cannot be put in.
        let is_in = mine.without(patch).is_ok() && mine.with(patch).is_err();
        (is_in || finished == *mine).then(|| Finished {
            number: *number,
            files: first.files_that_differ(&finished),
            beside: finished.files_that_differ(mine),
        })
    };
    others.iter().filter_map(with).min_by_key(|finished| finished.beside.len())
}

/// The files in which the learner's sources differ from the first state, or from the changes with which another
/// exercise was finished. `None`: they hold the patch of another exercise and nothing else, or we cannot tell.
pub(crate) fn changed(place: &Place, exercise: &Exercise) -> Option<Vec<String>> {
    match place.leftovers(exercise) {
        Some(Leftover::Patch(..)) => return None,
        Some(Leftover::Finished(finished)) => return Some(finished.beside),
        _ => {}
    }
    let first = place.first(exercise).ok()?;
    let mine = Sources::read(&place.root, &exercise.sources).ok()?;
    Some(within(exercise, &first.files_that_differ(&mine)))
}

/// A patch, and the exercise that it is of.
struct Known {
    number: Number,
    kind: Kind,
    patch: String,
}

impl Known {
    fn read(place: &Place, exercise: &Exercise) -> anyhow::Result<Self> {
        let Exercise { number, kind, .. } = *exercise;
        Ok(Self { number, kind, patch: patch(place, number)? })
    }
}

/// Which of the patches is in `mine`, if it is not the one of `own`.
fn leftover(first: &Sources, mine: &Sources, own: Number, patches: &[Known]) -> Option<Leftover> {
    if mine == first {
        return None;
    }
    let is_exactly = |patch: &str| first.with(patch).is_ok_and(|patched| patched == *mine);
    if let Some(known) = patches.iter().find(|known| is_exactly(&known.patch)) {
        return (known.number != own).then_some(Leftover::Patch(known.number, known.kind));
    }
    // It can be taken out, and cannot be put in. Where nothing is known of it the second is false.
    let is_among = |patch: &str| mine.without(patch).is_ok() && mine.with(patch).is_err();
    let mut others = patches.iter().filter(|known| known.number != own);
    Some(match others.find(|known| is_among(&known.patch)) {
        Some(known) => Leftover::Among(known.number, known.kind),
        None => Leftover::Changes(first.files_that_differ(mine)),
    })
}

/// Says what is in the stage that the task does not reckon with, and what to do about it.
pub(crate) fn tell_leftover(place: &Place, screen: &Screen, exercise: &Exercise) {
    if let Some(leftover) = place.leftovers(exercise) {
        tell(screen, exercise, &leftover);
    }
}

/// The same, of what is known to be of another exercise.
pub(crate) fn tell_known_leftover(place: &Place, screen: &Screen, exercise: &Exercise) {
    if let Some(leftover) = place.known_leftovers(exercise) {
        tell(screen, exercise, &leftover);
    }
}

fn tell(screen: &Screen, exercise: &Exercise, leftover: &Leftover) {
    let head = screen.strong(&format!("In {}", exercise.sources));
    say!("\n{head} {leftover}.");
    let begin = format!("{TOOL} start {}", exercise.number);
    match leftover {
        Leftover::Changes(_) | Leftover::Finished(_) => {
            say!("If they are not for this exercise, save them and begin: {begin}")
        }
        _ => say!("To save that and begin from the first state: {begin}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every folder with exercises in this checkout, and their patches.
    fn stages() -> Vec<(Sources, Vec<Known>)> {
        let place = Place::find().unwrap();
        let mut exercises = place.exercises().unwrap();
        exercises.sort_by(|a, b| a.sources.cmp(&b.sources));
        exercises
            .chunk_by(|a, b| a.sources == b.sources)
            .map(|group| {
                let sources = Sources::read(&place.root, &group[0].sources).unwrap();
                (sources, group.iter().map(|e| Known::read(&place, e).unwrap()).collect())
            })
            .collect()
    }

    #[test]
    fn of_each_exercise_the_leftover_is_told_from_that_of_every_other() {
        for (first, patches) in stages() {
            for Known { number: own, .. } in &patches {
                assert_eq!(leftover(&first, &first, *own, &patches), None);
            }
            for Known { number, kind, patch } in &patches {
                let mine = first.with(patch).unwrap();
                for Known { number: own, .. } in &patches {
                    let expected = (own != number).then_some(Leftover::Patch(*number, *kind));
                    assert_eq!(leftover(&first, &mine, *own, &patches), expected);
                }
            }
        }
    }

    /// A solution that is nearly the page's is not taken for the patch of another exercise.
    #[test]
    fn of_each_exercise_a_leftover_among_other_changes_is_its_own_and_no_other() {
        for (first, patches) in stages() {
            for Known { number, kind, patch } in &patches {
                let mut mine = first.with(patch).unwrap();
                mine.add("mine.rs", "// mine\n");
                for Known { number: own, .. } in &patches {
                    let expected = match own == number {
                        true => Leftover::Changes(first.files_that_differ(&mine)),
                        false => Leftover::Among(*number, *kind),
                    };
                    assert_eq!(leftover(&first, &mine, *own, &patches), Some(expected));
                }
            }
        }
    }

    #[test]
    fn changes_elsewhere_are_no_leftover_of_any_exercise() {
        for (first, patches) in stages() {
            let mut mine = first.clone();
            mine.add("mine.rs", "// mine\n");
            for Known { number, .. } in &patches {
                let expected = Leftover::Changes(vec!["mine.rs".to_owned()]);
                assert_eq!(leftover(&first, &mine, *number, &patches), Some(expected));
            }
        }
    }

    /// What the patch leaves behind stands in the first state as well, at another place.
    #[test]
    fn a_patch_that_can_still_be_put_in_is_not_in() {
        let sources = |text: &str| {
            let mut sources = Sources::default();
            sources.add("a.rs", text);
            sources
        };
        let first = sources("a\nx\nb\na\nb\n");
        let number = |text: &str| text.parse::<Number>().unwrap();
        let patch = "--- a/a.rs\n+++ b/a.rs\n@@ -1,3 +1,2 @@\n a\n-x\n b\n".to_owned();
        let patches = [Known { number: number("5.1"), kind: Kind::Break, patch }];
        let left = leftover(&first, &sources("a\nx\nb\na\nb\nc\n"), number("5.2"), &patches);
        assert_eq!(left, Some(Leftover::Changes(vec!["a.rs".to_owned()])));
    }

    #[test]
    fn the_changes_with_which_an_exercise_was_finished_are_known_also_among_others() {
        let sources = |a: &str, b: &str| {
            let mut sources = Sources::default();
            sources.add("a.rs", a);
            sources.add("b.rs", b);
            sources
        };
        let first = sources("a\n", "b\n");
        let number = |text: &str| text.parse::<Number>().unwrap();
        let patch = |number: &str, mine: &Sources| (number.parse().unwrap(), first.patch_to(mine));
        let done = sources("by hand\n", "b\n");
        let others = [patch("5.3", &done), patch("5.4", &first)];
        let found = |mine: &Sources| finished(&first, mine, &others);
        assert_eq!(found(&first), None);
        assert_eq!(found(&sources("something else\n", "b\n")), None);
        let files = vec!["a.rs".to_owned()];
        let all = Finished { number: number("5.3"), files, beside: vec![] };
        assert_eq!(found(&done), Some(all.clone()));
        let more = Finished { beside: vec!["b.rs".to_owned()], ..all };
        assert_eq!(found(&sources("by hand\n", "more\n")), Some(more));
    }

    #[test]
    fn a_leftover_is_told_in_a_sentence() {
        let number = "5.1".parse().unwrap();
        let files = vec!["a.rs".to_owned(), "b.rs".to_owned()];
        let said = [
            Leftover::Patch(number, Kind::Break),
            Leftover::Among(number, Kind::Build),
            Leftover::Finished(Finished { number, files: files.clone(), beside: vec![] }),
            Leftover::Changes(files),
        ];
        let expected = [
            "the fault of 5.1 is still in",
            "the solution of 5.1 is still in, among other changes",
            "there are changes in a.rs, b.rs; with them you finished 5.1",
            "there are changes in a.rs, b.rs",
        ];
        assert_eq!(said.map(|leftover| leftover.to_string()), expected);
    }
}
