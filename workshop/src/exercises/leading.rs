//! The plans for whoever leads a workshop: their minutes must add up.

use super::page::Exercise;

/// What is wrong with the plans in `leading.md`.
///
/// A plan is a table below a heading that ends in its minutes, `## Half a day: 210 minutes`. Its first
/// column counts minutes; a row about exercises names them, `Exercises 5.1, 5.2`, and takes as long.
pub(crate) fn faults(text: &str, exercises: &[Exercise]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut plans = 0;
    for section in text.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap_or_default();
        let Some(promised) = promised_minutes(heading) else { continue };
        plans += 1;
        let mut sum = 0;
        for (minutes, what) in section.lines().filter_map(row) {
            sum += minutes;
            match minutes_of_exercises(what, exercises) {
                Ok(None) => {}
                Ok(Some(theirs)) if theirs == minutes => {}
                Ok(Some(theirs)) => {
                    faults.push(format!(
                        "{heading}: {what}: {minutes} minutes, the pages say {theirs}"
                    ));
                }
                Err(unknown) => faults.push(format!("{heading}: there is no exercise {unknown}")),
            }
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

/// The minutes of all exercises named in a row. `None`: it names none.
fn minutes_of_exercises(what: &str, exercises: &[Exercise]) -> Result<Option<u32>, String> {
    let Some((_, names)) = what.split_once("Exercise") else { return Ok(None) };
    let mut sum = 0;
    let is_number =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let words = names.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    for word in words.map(|word| word.trim_end_matches('.')).filter(is_number) {
        let exercise = exercises.iter().find(|exercise| exercise.number.to_string() == word);
        sum += exercise.ok_or_else(|| word.to_owned())?.minutes;
    }
    Ok(Some(sum))
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
        assert_eq!(faults, ["Ninety minutes: 90 minutes: there is no exercise 9.9"]);
    }

    #[test]
    fn no_plan_at_all_is_a_fault() {
        assert_eq!(faults("# Leading\n", &[]), ["there is no plan"]);
    }
}
