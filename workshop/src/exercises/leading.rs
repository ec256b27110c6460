//! The plans of a workshop: their minutes must add up.

use super::page::Exercise;

/// How long it takes to start one exercise: the stage is put back and built, and the task is read.
const START: u32 = 2;

/// What is wrong with the plans in `leading.md`.
///
/// A plan is a table below a heading that ends in its minutes, `## Half a day: 210 minutes`. Its first
/// column counts minutes; a row about exercises names them, `Exercises 5.1, 5.2`, and takes as long. The row in
/// front of it starts them, `` `start 5.1`, then `start 5.2` ``. A row about a scene, `Scene 3`, takes as long as
/// the heading of the scene says: `### Scene 3, stage 3: the price of asking (5 minutes)`.
pub(crate) fn faults(text: &str, exercises: &[Exercise]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut plans = 0;
    for section in text.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap_or_default();
        let Some(promised) = promised_minutes(heading) else { continue };
        plans += 1;
        let (mut sum, mut before) = (0, "");
        for (minutes, what) in section.lines().filter_map(row) {
            sum += minutes;
            let theirs = minutes_of_exercises(what, exercises)
                .and_then(|theirs| Ok(theirs.or(minutes_of_scene(what, text)?)));
            match theirs.map(|theirs| theirs.or_else(|| minutes_of_starts(what))) {
                Ok(None) => {}
                Ok(Some(theirs)) if theirs == minutes => {}
                Ok(Some(theirs)) => {
                    faults.push(format!(
                        "{heading}: {what}: {minutes} minutes, the pages say {theirs}"
                    ));
                }
                Err(unknown) => faults.push(format!("{heading}: there is no {unknown}")),
            }
            if what.contains("Exercise") && numbers(what).ne(numbers(before)) {
                faults.push(format!("{heading}: {what}: the row in front does not start them"));
            }
            before = what;
        }
        if sum != promised {
            faults.push(format!("{heading}: the rows are {sum} minutes"));
        }
    }
    if plans == 0 {
        faults.push("there is no plan".to_owned());
    }
    faults
}

fn promised_minutes(heading: &str) -> Option<u32> {
    heading.strip_suffix(" minutes")?.rsplit_once(' ')?.1.parse().ok()
}

fn row(line: &str) -> Option<(u32, &str)> {
    let (minutes, what) = line.strip_prefix('|')?.split_once('|')?;
    Some((minutes.trim().parse().ok()?, what))
}

/// The minutes of all exercises named in a row. `None`: it names none. An error: one that does not exist.
fn minutes_of_exercises(what: &str, exercises: &[Exercise]) -> Result<Option<u32>, String> {
    if !what.contains("Exercise") {
        return Ok(None);
    }
    let minutes = numbers(what).map(|number| {
        let exercise = exercises.iter().find(|exercise| exercise.number.to_string() == number);
        exercise.map(|exercise| exercise.minutes).ok_or_else(|| format!("exercise {number}"))
    });
    minutes.sum::<Result<_, _>>().map(Some)
}

/// The minutes that the heading of a scene promises. `None`: the row is about no scene.
fn minutes_of_scene(what: &str, text: &str) -> Result<Option<u32>, String> {
    let Some(rest) = what.trim_start().strip_prefix("Scene ") else { return Ok(None) };
    let name: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let begin = format!("### Scene {name}, ");
    let heading = text.lines().find(|line| line.starts_with(&begin));
    let minutes = heading.and_then(|heading| heading.strip_suffix(" minutes)")?.rsplit_once('('));
    let minutes = minutes.and_then(|(_, minutes)| minutes.parse().ok());
    minutes.map(Some).ok_or_else(|| format!("scene {name} that says its minutes"))
}

/// The minutes for the exercises that a row starts. `None`: it starts none.
fn minutes_of_starts(what: &str) -> Option<u32> {
    let starts = u32::try_from(what.matches("`start ").count()).ok()?;
    (starts > 0).then_some(START * starts)
}

/// The numbers of exercises in a row, such as 5.2.
fn numbers(what: &str) -> impl Iterator<Item = &str> {
    let words = what.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let is_number =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    words.map(|word| word.trim_end_matches('.')).filter(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "\
# Leading

## Ninety minutes: 90 minutes

| Minutes | What |
| --- | --- |
| 60 | Talk. |
| 30 | Look at stage 1.1. |
";

    #[test]
    fn a_plan_that_adds_up_has_no_faults() {
        assert_eq!(faults(PLAN, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_plan_that_does_not_add_up_is_named() {
        let faults = faults(&PLAN.replace("| 60 |", "| 50 |"), &[]);
        assert_eq!(faults, ["Ninety minutes: 90 minutes: the rows are 80 minutes"]);
    }

    #[test]
    fn an_exercise_that_is_none_is_named() {
        let faults = faults(&PLAN.replace("Look at stage 1.1.", "Exercise 9.9."), &[]);
        assert_eq!(faults[0], "Ninety minutes: 90 minutes: there is no exercise 9.9");
    }

    #[test]
    fn no_plan_at_all_is_a_fault() {
        assert_eq!(faults("# Leading\n", &[]), ["there is no plan"]);
    }

    #[test]
    fn an_exercise_that_no_row_starts_is_named() {
        let plan = PLAN.replace("Look at stage 1.1.", "Exercise 1.1");
        let fault =
            "Ninety minutes: 90 minutes:  Exercise 1.1 |: the row in front does not start them";
        assert!(faults(&plan, &[]).contains(&fault.to_owned()), "{:?}", faults(&plan, &[]));
        let plan = plan.replace("| 60 | Talk. |", "| 58 | Talk. |\n| 2 | `start 1.1` |");
        assert!(!faults(&plan, &[]).contains(&fault.to_owned()), "{:?}", faults(&plan, &[]));
    }

    #[test]
    fn a_start_takes_two_minutes() {
        let plan = PLAN.replace("Look at stage 1.1.", "`start 1.1`, then `start 1.2`");
        assert!(faults(&plan, &[])[0].ends_with("30 minutes, the pages say 4"));
    }

    #[test]
    fn a_scene_takes_as_long_as_it_says() {
        let plan = PLAN.replace("Look at stage 1.1.", "Scene 2");
        let with = |scene: &str| faults(&format!("{plan}\n### {scene}\n"), &[]);
        assert_eq!(with("Scene 2, stage 5: who? (30 minutes)"), Vec::<String>::new());
        assert!(with("Scene 2, stage 5: who? (7 minutes)")[0].ends_with("the pages say 7"));
        for other in ["Scene 20, stage 5: who? (30 minutes)", "Scene 2, stage 5: who?"] {
            assert!(with(other)[0].ends_with("there is no scene 2 that says its minutes"));
        }
    }
}
