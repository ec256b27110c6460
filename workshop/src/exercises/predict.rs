//! What a learner expects before the first check: how the test will fail, and which one.

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, ensure};

use super::page::{Exercise, Kind, Number, folder_of};
use super::place::Place;
use super::screen::{Screen, say};
use super::stage;

/// How a test fails, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Other bytes than those that were sent, or other words than were promised.
    WrongAnswer,
    /// The connection or the server ends too early.
    End,
    /// The server takes a core and gets nowhere.
    Spin,
    /// The server sleeps, and the test waits for something that never comes.
    Silence,
    /// Of memory, descriptors, system calls, log lines or time: more than was promised.
    TooMuch,
}

impl How {
    pub(crate) const ALL: [Self; 5] =
        [Self::WrongAnswer, Self::End, Self::Spin, Self::Silence, Self::TooMuch];

    /// In one word, as an option of the command line has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::WrongAnswer => "wrong-answer",
            Self::End => "end",
            Self::Spin => "spin",
            Self::Silence => "silence",
            Self::TooMuch => "too-much",
        }
    }

    /// What a learner sees then.
    fn meaning(self) -> &'static str {
        match self {
            Self::WrongAnswer => "bytes or words come, but not the right ones",
            Self::End => "the connection or the server ends too early",
            Self::Spin => "the server takes a whole core and gets nowhere",
            Self::Silence => "the server sleeps, and what the test waits for never comes",
            Self::TooMuch => {
                "more memory, descriptors, system calls, log lines or time than promised"
            }
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WrongAnswer => "a wrong answer",
            Self::End => "an end",
            Self::Spin => "a spin",
            Self::Silence => "silence",
            Self::TooMuch => "too much",
        })
    }
}

impl FromStr for How {
    type Err = String;

    /// Reads the word, or what [`How`] displays.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|how| how.word() == text || how.to_string() == text);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            format!("{text:?} is no way to fail; expected one of {words}")
        })
    }
}

/// What a learner expects of a test, or what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Prediction {
    pub(crate) how: How,
    /// The last part of the test's name.
    pub(crate) test: Option<String>,
}

impl Prediction {
    /// What was seen, or a whole prediction.
    pub(crate) fn new(how: How, test: &str) -> Self {
        Self { how, test: Some(last_part(test).to_owned()) }
    }

    /// In which of the two parts it is true beside what was seen: how, and the test. A fault may show in several
    /// ways, and turn several tests red.
    pub(crate) fn agrees(&self, exercise: &Exercise, seen: &Self) -> (bool, bool) {
        let test = self.test == seen.test || self.goes_red_as_well(exercise);
        let how = self.how == seen.how || exercise.symptoms.iter().any(|s| s.how == self.how);
        (how, test)
    }

    /// Whether its test is one that the page names, beside the one that we run.
    fn goes_red_as_well(&self, exercise: &Exercise) -> bool {
        self.test.as_ref().is_some_and(|test| is_taken_back(exercise, test))
    }
}

impl FromStr for Prediction {
    type Err = String;

    /// `silence`, or `silence:name_of_test`
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((how, test)) => Ok(Self::new(how.parse()?, test)),
            None => Ok(Self { how: text.parse()?, test: None }),
        }
    }
}

impl TryFrom<String> for Prediction {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Prediction> for String {
    fn from(Prediction { how, test }: Prediction) -> Self {
        let test = test.map(|test| format!(":{test}"));
        format!("{}{}", how.word(), test.unwrap_or_default())
    }
}

/// For people.
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Some(test) => write!(f, "{} in {test}", self.how),
            None => write!(f, "{}", self.how),
        }
    }
}

/// `connection::tests::a_turn_ends` is `a_turn_ends` to people.
fn last_part(test: &str) -> &str {
    test.rsplit("::").next().unwrap_or(test)
}

/// Whether the fault turns this test red as well, as the page says.
fn is_taken_back(exercise: &Exercise, test: &str) -> bool {
    exercise.taken_back.iter().any(|name| last_part(name) == test)
}

/// The learner's prediction for an exercise that breaks something: the one made before, the one `given` on
/// the command line, or what is answered on a terminal. The first one stays. `None`: there is none.
pub(crate) fn ask(
    place: &Place,
    screen: &Screen,
    exercise: &Exercise,
    given: Option<&Prediction>,
) -> anyhow::Result<Option<Prediction>> {
    let number = exercise.number;
    if exercise.kind == Kind::Build {
        ensure!(given.is_none(), "{number} is to be built; only a fault can be predicted");
        return Ok(None);
    }
    if let Some(before) = of(place, number) {
        if given.is_some_and(|given| *given != before) {
            say!("You have predicted before: {before}. The first prediction stays.");
        }
        return Ok(Some(before));
    }
    let is_asked = place.recall("predicted", number).is_some() || place.is_done(number);
    let names = names(place, exercise)?;
    let predicted = match given {
        Some(given) => Some(checked(given, &names)?),
        None if is_asked || !io::stdin().is_terminal() || !io::stdout().is_terminal() => {
            return Ok(None);
        }
        None => {
            stage::tell_known_leftover(place, screen, exercise);
            // A question needs its task, which `watch` and `check` have not shown.
            screen.headline(exercise);
            say!("\n{}", screen.prose(exercise.task()));
            answers(&mut io::stdin().lock(), screen, &choice(exercise, &names))?
        }
    };
    // Empty: there was a question and no answer, so there is no other question.
    let text = predicted.clone().map(String::from).unwrap_or_default();
    place.remember("predicted", number, Some(&text));
    Ok(predicted)
}

/// The prediction that is kept.
pub(crate) fn of(place: &Place, number: Number) -> Option<Prediction> {
    place.recall("predicted", number)?.parse().ok()
}

/// One from the command line, whose test must be there.
fn checked(given: &Prediction, names: &[String]) -> anyhow::Result<Prediction> {
    if let Some(test) = &given.test {
        let is_known = names.iter().any(|name| name == test);
        ensure!(is_known, "there is no test {test} beside the one of this exercise");
    }
    Ok(given.clone())
}

/// Asks both questions. `None`: an empty line, or the end of the input, for an answer to the first.
fn answers(
    input: &mut impl BufRead,
    screen: &Screen,
    tests: &[String],
) -> anyhow::Result<Option<Prediction>> {
    say!("\n{}", screen.strong("Before the test runs: what do you expect?"));
    let ways = How::ALL.map(|how| format!("{how:<15}  {}", how.meaning()));
    let Some(i) = pick(input, "How does the test fail?", &ways)? else { return Ok(None) };
    let how = How::ALL[i];
    let test = pick(input, "Which of these tests goes red?", tests)?.map(|i| tests[i].clone());
    say!("");
    Ok(Some(Prediction { how, test }))
}

/// Asks until the answer is the number of an option, or nothing.
fn pick(
    input: &mut impl BufRead,
    question: &str,
    options: &[String],
) -> anyhow::Result<Option<usize>> {
    say!("\n{question}");
    options.iter().enumerate().for_each(|(i, option)| say!("  {}  {option}", i + 1));
    loop {
        say!("A number from 1 to {}, or Enter for no prediction:", options.len());
        let mut line = String::new();
        input.read_line(&mut line).context("cannot read stdin")?;
        match line.trim().parse::<usize>() {
            Ok(number) if (1..=options.len()).contains(&number) => return Ok(Some(number - 1)),
            _ if line.trim().is_empty() => return Ok(None),
            _ => say!("{:?} is none of these.", line.trim()),
        }
    }
}

/// How many tests there are to choose from.
const CHOICE: usize = 4;

/// The test of the exercise among others that stay green, in an order that is the same each time and says nothing.
fn choice(exercise: &Exercise, names: &[String]) -> Vec<String> {
    let right = exercise.test.names().next().map(|name| last_part(name).to_owned());
    let order = |name: &String| {
        let mut hasher = DefaultHasher::new();
        (exercise.number.to_string(), name).hash(&mut hasher);
        hasher.finish()
    };
    let stays_green =
        |name: &&String| Some(*name) != right.as_ref() && !is_taken_back(exercise, name);
    let mut others: Vec<_> = names.iter().filter(stays_green).collect();
    others.sort_by_key(|name| order(name));
    let mut chosen: Vec<_> = others.into_iter().take(CHOICE - 1).cloned().chain(right).collect();
    // Once more, and in another way: else the right one would be last, or where its hash puts it.
    chosen.sort_by_key(|name| order(&name.to_uppercase()));
    chosen
}

/// The names of all tests beside the one of the exercise, that one included, without their modules.
fn names(place: &Place, exercise: &Exercise) -> anyhow::Result<Vec<String>> {
    let package = place.root.join(folder_of(&exercise.test.package));
    let mut names = Vec::new();
    match &exercise.test.target[..] {
        [kind, name] if kind == "--test" => {
            read_names(&package.join(format!("tests/{name}.rs")), &mut names)?;
            read_names(&package.join("tests").join(name), &mut names)?;
        }
        _ => read_names(&package.join("src"), &mut names)?,
    }
    names.extend(exercise.test.names().map(|name| last_part(name).to_owned()));
    names.sort();
    names.dedup();
    Ok(names)
}

/// Those of a file, or of all files below a folder. What is not there has none.
fn read_names(path: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            read_names(&entry?.path(), names)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        names.extend(names_in(&text));
    }
    Ok(())
}

/// The functions below a `#[test]`, and the sentences of a `contract!`, with or without a `fn`. Those of exercises are
/// ignored.
fn names_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut in_contract, mut is_test) = (false, false);
    for line in text.lines() {
        in_contract = (in_contract && line != "}") || line.contains("contract! {");
        let sentence = line.trim().strip_suffix(',').filter(|_| in_contract);
        let sentence = sentence.map(|name| name.strip_prefix("fn ").unwrap_or(name));
        names.extend(sentence.filter(|name| is_name(name)).map(str::to_owned));
        is_test |= line.trim() == "#[test]";
        if line.trim().starts_with("#[ignore") {
            is_test = false;
        }
        let function = line.trim().strip_prefix("fn ").and_then(|rest| rest.split_once('('));
        if let Some((name, _)) = function {
            names.extend(is_test.then(|| name.to_owned()));
            is_test = false;
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Prints what was expected beside what was seen.
pub(crate) fn beside(
    screen: &Screen,
    exercise: &Exercise,
    predicted: &Prediction,
    seen: &Prediction,
) {
    say!("{}", screen.strong("Your prediction, beside what was seen"));
    say!("predicted: {predicted}");
    say!("seen:      {seen}");
    say!("{}", verdict(screen, exercise, predicted, seen));
}

fn verdict(
    screen: &Screen,
    exercise: &Exercise,
    predicted: &Prediction,
    seen: &Prediction,
) -> String {
    let verdict = match (predicted.agrees(exercise, seen), &predicted.test) {
        ((true, true), _) => screen.good("Both right.", 0),
        ((true, _), None) => screen.good("Right.", 0),
        ((false, true), _) => "The test is right. Why does it not fail as you expected?".to_owned(),
        ((true, false), _) => {
            "It fails as you expected, in another test. Why in that one?".to_owned()
        }
        ((false, _), _) => {
            format!(
                "{} What did you expect the server to do, and why?",
                screen.bad("Not as predicted.", 0)
            )
        }
    };
    match &seen.test {
        Some(run) if predicted.goes_red_as_well(exercise) => {
            format!("{verdict}\nThat one goes red as well; the one that we ran is {run}.")
        }
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Symptom;
    use super::*;

    const BREAK: &str = include_str!("../../../docs/src/exercises/5.1.md");
    const RIGHT: &str = "bytes_that_come_together_with_the_fin_come_back";

    #[test]
    fn a_way_to_fail_is_read_as_a_word_and_as_it_is_displayed() {
        for how in How::ALL {
            assert_eq!(how.word().parse(), Ok(how));
            assert_eq!(how.to_string().parse(), Ok(how));
        }
        let error = "crash".parse::<How>().unwrap_err();
        assert!(error.contains("wrong-answer, end, spin, silence, too-much"), "{error}");
    }

    #[test]
    fn a_prediction_is_kept_as_it_is_given() {
        for text in ["silence", "too-much:a_b"] {
            let prediction: Prediction = text.parse().unwrap();
            assert_eq!(String::from(prediction), text);
        }
        let prediction: Prediction = "end:connection::tests::a_b".parse().unwrap();
        assert_eq!(prediction, Prediction::new(How::End, "a_b"));
        assert_eq!(prediction.to_string(), "an end in a_b");
        assert!("crash:a_b".parse::<Prediction>().is_err());
    }

    #[test]
    fn four_tests_to_choose_from_are_the_same_each_time_and_the_right_one_is_anywhere() {
        let names: Vec<_> = ('a'..='z').map(String::from).chain([RIGHT.to_owned()]).collect();
        let mut places = std::collections::BTreeSet::new();
        for index in 1..=20 {
            let page = BREAK.replace("# Exercise 5.1:", &format!("# Exercise 5.{index}:"));
            let exercise = Exercise::parse(&page).unwrap();
            let chosen = choice(&exercise, &names);
            assert_eq!(chosen, choice(&exercise, &names));
            assert_eq!(chosen.len(), CHOICE);
            places.insert(chosen.iter().position(|name| name == RIGHT).expect("the right one"));
        }
        assert_eq!(places.len(), CHOICE, "{places:?}");
    }

    #[test]
    fn a_test_that_goes_red_as_well_is_not_offered_beside_the_right_one() {
        let mut exercise = Exercise::parse(BREAK).unwrap();
        let names: Vec<_> = ('a'..='f').map(String::from).chain([RIGHT.to_owned()]).collect();
        exercise.taken_back = ["a", "machine_tests::b", "c"].map(str::to_owned).to_vec();
        let mut chosen = choice(&exercise, &names);
        chosen.sort();
        assert_eq!(chosen, [RIGHT, "d", "e", "f"]);
    }

    #[test]
    fn names_of_tests_are_read_from_functions_and_from_a_contract() {
        let text = "common::testkit::contract! {\n    env!(\"X\");\n\n    // What\n    a_b,\n    fn c_d,\n}\n\
            const LIST: [u8; 1] = [\n    LIMIT,\n];\nfn helper() {}\n#[test]\nfn e() {}\n    #[test]\n    \
            #[cfg(unix)]\n    fn f() {}\n#[test]\n#[ignore = \"exercise\"]\nfn g() {}\n";
        assert_eq!(names_in(text), ["a_b", "c_d", "e", "f"]);
    }

    #[track_caller]
    fn check_answers(typed: &str, expected: Option<Prediction>) {
        let tests = ["a", "b", "c", "d"].map(str::to_owned);
        let answers = answers(&mut typed.as_bytes(), &Screen::new(), &tests).unwrap();
        assert_eq!(answers, expected);
    }

    #[test]
    fn what_is_typed_is_the_number_of_an_option_or_nothing() {
        check_answers("4\n2\n", Some(Prediction::new(How::Silence, "b")));
        check_answers("0\n6\nx\n 3 \n5\n1\n", Some(Prediction::new(How::Spin, "a")));
        check_answers("4\n\n", Some(Prediction { how: How::Silence, test: None }));
        check_answers("\n", None);
        check_answers("", None);
        check_answers("4\n", Some(Prediction { how: How::Silence, test: None }));
    }

    #[test]
    fn each_part_of_a_prediction_is_right_or_wrong() {
        let seen = Prediction::new(How::Silence, "a");
        let mut exercise = Exercise::parse(BREAK).unwrap();
        exercise.taken_back = vec!["tests::c".to_owned()];
        exercise.symptoms = vec![Symptom { how: How::Silence, says: None }];
        let said = |text: &str| verdict(&Screen::plain(), &exercise, &text.parse().unwrap(), &seen);
        assert_eq!(said("silence:a"), "Both right.");
        assert_eq!(
            said("silence:c"),
            "Both right.\nThat one goes red as well; the one that we ran is a."
        );
        assert!(said("spin:c").starts_with("The test is right."));
        assert_eq!(said("silence"), "Right.");
        assert!(said("spin:a").starts_with("The test is right."));
        assert!(said("silence:b").starts_with("It fails as you expected"));
        assert!(said("spin:b").starts_with("Not as predicted."));
        assert!(said("spin").starts_with("Not as predicted."));
        exercise.symptoms.push(Symptom { how: How::Spin, says: None });
        let said = |text: &str| verdict(&Screen::plain(), &exercise, &text.parse().unwrap(), &seen);
        assert_eq!(said("spin"), "Right.", "it is another of the page's ways");
    }
}
