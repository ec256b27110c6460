//! The shortest history that breaks the same promise.
//!
//! A history is its decisions, so a shorter history is fewer and calmer decisions. We take some away, play again, and
//! keep what still breaks the promise in a shorter story. When nothing more can be taken away we are done. All of it
//! is deterministic: the same decisions shrink to the same history.

use simulated_kernel::choices::Decisions;

use crate::History;

/// So many histories are tried at most. Most need a fifth of that.
const MOST_PLAYS: u32 = 100_000;

/// A history that is shrunk moves fewer choices than this in all, so that long histories do not take minutes.
const MOST_WORK: usize = 300_000_000;

/// So many sections at the beginning say what the world is like: one of them in general, one for each client, one for a
/// crowd, and one for the kernel.
const SETTING: usize = 15;

/// No client has more writes.
const MOST_IN_A_LIST: u32 = 400;

/// So many histories are made anew, before we believe that there is none that is shorter.
const MOST_ANEW: u32 = 5_000;

/// So many turns they have at most before the signal, and as many behind it.
const MOST_TURNS: usize = 5;

/// So many decisions of a turn come before the one that is about the signal: see `wait` and `mishaps` in the world.
const PLACE_OF_THE_SIGNAL: usize = 5;

/// How many decisions a turn makes about itself before it lets something happen, at most.
const MOST_SKIPPED: usize = 8;

/// Shrinks the decisions of a history that has broken a promise. `play` plays decisions and tells the story.
///
/// Returns the shortest history that was found, and how many were tried. `None`: it has not broken a promise, or `play`
/// is not deterministic.
pub fn shrink(
    decisions: &Decisions,
    mut play: impl FnMut(Decisions) -> History,
) -> Option<(History, u32)> {
    let property = play(decisions.clone()).violation?.property;
    let attempt = |decisions: &Decisions| {
        let history = play(decisions.clone());
        let same = history.violation.is_some_and(|violation| violation.property == property);
        let kept = || (history.story.len(), history.choices.decisions().trimmed());
        Attempt { kept: same.then(kept), made: history.choices.made().len() }
    };
    let (decisions, tried) = shortest_decisions(decisions, attempt)?;
    let history = play(decisions);
    history.violation.is_some().then_some((history, tried))
}

/// What came of an attempt.
struct Attempt {
    /// The same promise was broken: in how many lines, and which of the decisions were asked for.
    kept: Option<(usize, Decisions)>,
    /// How much work it was.
    made: usize,
}

/// What is to be as small as can be: first the lines of the story, then the decisions that are not calm, then all of
/// them, then how far from calm they are.
type Size = (usize, usize, usize, u64);

fn size(lines: usize, decisions: &Decisions) -> Size {
    let all = || decisions.0.iter().flatten();
    (
        lines,
        all().filter(|&&choice| choice != 0).count(),
        all().count() + decisions.0.len(),
        all().map(|&choice| u64::from(choice)).sum(),
    )
}

fn shortest_decisions(
    decisions: &Decisions,
    attempt: impl FnMut(&Decisions) -> Attempt,
) -> Option<(Decisions, u32)> {
    let mut shrinker = Shrinker {
        attempt,
        best: decisions.clone(),
        size: (usize::MAX, 0, 0, 0),
        plays: 0,
        work: 0,
        rng: fastrand::Rng::with_seed(0),
    };
    if !shrinker.try_this(decisions.clone()) {
        return None;
    }
    loop {
        let before = shrinker.size;
        shrinker.calm_the_world();
        shrinker.shorten_lists();
        shrinker.keep_beginning_and_end();
        shrinker.make_anew();
        shrinker.drop_sections();
        shrinker.drop_choices();
        shrinker.lower_choices();
        shrinker.join_sections();
        shrinker.raise_choices();
        shrinker.lower_and_drop();
        if shrinker.size == before || shrinker.is_out_of_patience() {
            return Some((shrinker.best, shrinker.plays));
        }
    }
}

struct Shrinker<F> {
    attempt: F,
    best: Decisions,
    size: Size,
    plays: u32,
    work: usize,
    rng: fastrand::Rng,
}

impl<F: FnMut(&Decisions) -> Attempt> Shrinker<F> {
    fn is_out_of_patience(&self) -> bool {
        self.plays >= MOST_PLAYS || self.work >= MOST_WORK
    }

    /// Plays these decisions, and keeps them if they are better than the best.
    fn try_this(&mut self, decisions: Decisions) -> bool {
        if self.is_out_of_patience() {
            return false;
        }
        let Attempt { kept, made } = (self.attempt)(&decisions);
        (self.plays, self.work) = (self.plays + 1, self.work + made);
        let Some((lines, decisions)) = kept else { return false };
        let size = size(lines, &decisions);
        let better = size < self.size;
        if better {
            (self.best, self.size) = (decisions, size);
        }
        better
    }

    /// Plays the best with a change. No change: nothing to play.
    fn try_with(&mut self, change: impl FnOnce(&mut Decisions)) -> bool {
        let mut changed = self.best.clone();
        change(&mut changed);
        changed != self.best && self.try_this(changed)
    }

    /// What the world is like, one thing after the other, and each client: the large pieces first, since each of them
    /// makes all that follows shorter.
    fn calm_the_world(&mut self) {
        for place in 0..self.len(0) {
            self.try_with(|all| all.0[0].get_mut(place).into_iter().for_each(|choice| *choice = 0));
        }
        for section in 1..self.best.0.len().min(SETTING) {
            self.try_with(|all| all.0.get_mut(section).into_iter().for_each(Vec::clear));
        }
    }

    /// Some choice says how many others follow, as the number of a client's writes does: takes out all of them, or half,
    /// or one.
    fn shorten_lists(&mut self) {
        for section in 0..self.best.0.len().min(SETTING) {
            for place in 0..self.len(section) {
                let most = Some(self.choice(section, place)).filter(|&n| n <= MOST_IN_A_LIST);
                for many in halves(most.unwrap_or(0) as usize) {
                    while self.choice(section, place) as usize >= many
                        && self.try_with(|all| {
                            let choices = &mut all.0[section];
                            choices[place] -= many as u32;
                            let end = choices.len().min(place + 1 + many);
                            choices.drain(place + 1..end);
                        })
                    {}
                }
            }
        }
    }

    /// Takes out the middle: what a promise is broken by stands at the end, and needs little of what came before.
    fn keep_beginning_and_end(&mut self) {
        let most = self.best.0.len();
        for end in doubles(most) {
            for beginning in doubles(most).map(|n| SETTING - 1 + n) {
                self.try_with(|all| {
                    let behind = all.0.len().saturating_sub(end).max(beginning);
                    all.0.drain(beginning.min(all.0.len())..behind.min(all.0.len()));
                });
            }
        }
    }

    /// Whole clients and whole turns: makes some calm, or takes them out. Many at first, and then one by one; from the
    /// end, since what comes later needs what came before.
    fn drop_sections(&mut self) {
        for many in halves(self.best.0.len()) {
            let mut end = self.best.0.len();
            while end > 0 {
                let range = end.saturating_sub(many)..end;
                end = range.start;
                // A shorter best may have fewer of them.
                let to = |all: &Decisions| range.end.min(all.0.len());
                let taken_out = self.try_with(|all| {
                    let to = to(all);
                    all.0.drain(range.start.min(to)..to);
                });
                let _ = taken_out
                    || self.try_with(|all| {
                        let to = to(all);
                        all.0[range.start.min(to)..to].iter_mut().for_each(Vec::clear);
                    });
            }
        }
    }

    /// Choices within a section: takes some out, or makes them calm.
    fn drop_choices(&mut self) {
        for section in (0..self.best.0.len()).rev() {
            for many in halves(self.len(section)) {
                let mut end = self.len(section);
                while end > 0 {
                    let range = end.saturating_sub(many)..end;
                    end = range.start;
                    let change = |all: &mut Decisions, take_out: bool| {
                        let Some(choices) = all.0.get_mut(section) else { return };
                        let to = range.end.min(choices.len());
                        let range = range.start.min(to)..to;
                        match take_out {
                            true => drop(choices.drain(range)),
                            false => choices[range].fill(0),
                        }
                    };
                    let _ = self.try_with(|all| change(all, true))
                        || self.try_with(|all| change(all, false));
                }
            }
        }
    }

    fn len(&self, section: usize) -> usize {
        self.best.0.get(section).map_or(0, Vec::len)
    }

    /// Makes each choice as calm as it can be: 0, or else lower by halves and then by one.
    fn lower_choices(&mut self) {
        for section in 0..self.best.0.len() {
            for place in 0..self.len(section) {
                let mut step = self.choice(section, place);
                while step > 0 {
                    let lower = self.choice(section, place).saturating_sub(step);
                    let lowered = self.try_with(|all| {
                        all.0
                            .get_mut(section)
                            .and_then(|section| section.get_mut(place))
                            .into_iter()
                            .for_each(|c| *c = lower);
                    });
                    step = if lowered { step.min(self.choice(section, place)) } else { step / 2 };
                }
            }
        }
    }

    fn choice(&self, section: usize, place: usize) -> u32 {
        self.best.0.get(section).and_then(|section| section.get(place)).copied().unwrap_or(0)
    }

    /// Lets happen in one turn what happened in two. What the second one begins with may be about the turn itself.
    fn join_sections(&mut self) {
        for section in (1..self.best.0.len()).rev() {
            for skipped in 0..=MOST_SKIPPED {
                let joined = self.try_with(|all| {
                    if section < all.0.len() {
                        let second = all.0.remove(section);
                        all.0[section - 1].extend(second.into_iter().skip(skipped));
                    }
                });
                if joined {
                    break;
                }
            }
        }
    }

    /// Makes a choice calmer and takes out what stood there because of it: as many choices behind it, since a client that
    /// writes less often has fewer writes to decide about; or turns, since a client that comes earlier comes some turns
    /// earlier.
    fn lower_and_drop(&mut self) {
        for section in 0..self.best.0.len() {
            for place in 0..self.len(section) {
                for turn in section + 1..self.best.0.len() {
                    for change in 0..12 {
                        let (to_zero, choices_too, turns) =
                            (change % 2 == 0, change / 2 % 2 == 0, change / 4);
                        let now = self.choice(section, place);
                        let to = if to_zero { 0 } else { now.saturating_sub(1) };
                        if now == 0 || (turns == 0 && turn > section + 1) {
                            continue;
                        }
                        self.try_with(|all| {
                            let choices = &mut all.0[section];
                            choices[place] = to;
                            let behind = choices.len() - place - 1;
                            let many = behind.min((now - to) as usize);
                            if choices_too {
                                choices.drain(place + 1..place + 1 + many);
                            }
                            let end = all.0.len();
                            all.0.drain(turn.min(end)..end.min(turn + turns));
                        });
                    }
                }
            }
        }
    }

    /// Plays short histories that are drawn at random: in the same world, or in a calmer one, with one or two clients
    /// that are simple ones or those of the best, and with little before the signal and behind it. What the steps above
    /// cannot get rid of in a long history may not be there in a short one.
    fn make_anew(&mut self) {
        for _ in 0..MOST_ANEW {
            let anew = self.anew();
            self.try_this(anew);
        }
    }

    fn anew(&mut self) -> Decisions {
        let clients: Vec<_> = (1..SETTING).filter(|&section| self.len(section) > 0).collect();
        let rng = &mut self.rng;
        let of_best = |section: usize| self.best.0.get(section).cloned().unwrap_or_default();
        let mut world = of_best(0);
        world.iter_mut().for_each(|choice| *choice *= rng.u32(0..2));
        let mut all = vec![world];
        for _ in 0..rng.usize(1..=2) {
            let client = match rng.choice(&clients).filter(|_| rng.u8(0..4) == 0) {
                Some(&section) => of_best(section),
                None => simple_client(rng),
            };
            all.push(client);
        }
        all.resize(SETTING, Vec::new());
        let signal = self.best.first_part();
        all.extend(match rng.bool() {
            true => calm_up_to_the_signal(rng),
            false => turns(rng),
        });
        if signal < self.best.0.len() {
            all.push(of_best(signal));
            match rng.bool() {
                true => all.extend_from_slice(&self.best.0[signal + 1..]),
                false => all.extend(turns(rng)),
            }
        }
        Decisions(all)
    }

    /// Lets something more happen, although that is less calm: two clients that connect at once can make a story shorter
    /// than one after the other. What comes later may be as it was, or calm; or the world is a calmer one instead.
    fn raise_choices(&mut self) {
        for section in 0..self.best.0.len() + 1 {
            for place in 0..self.len(section) + MOST_SKIPPED {
                if self.choice(section, place) > 0 {
                    continue;
                }
                let raise = |all: &mut Decisions| {
                    all.0.resize(all.0.len().max(section + 1), Vec::new());
                    let choices = &mut all.0[section];
                    choices.resize(choices.len().max(place + 1), 0);
                    choices[place] = 1;
                };
                let _ = self.try_with(raise)
                    || self.try_with(|all| {
                        raise(all);
                        all.0.truncate(section + 1);
                        all.0[section].truncate(place + 1);
                    })
                    || self.try_with(|all| {
                        raise(all);
                        let end = all.first_part().max(section + 1);
                        all.0.drain(section + 1..end);
                        all.0[section].truncate(place + 1);
                    })
                    || (0..self.len(0)).any(|about_the_world| {
                        self.choice(0, about_the_world) > 0
                            && self.try_with(|all| {
                                all.0[0][about_the_world] = 0;
                                raise(all);
                            })
                    });
            }
        }
    }
}

/// A client that connects, writes once or not at all, and ends: as `script` in the world draws it.
fn simple_client(rng: &mut fastrand::Rng) -> Vec<u32> {
    // How many writes of how many bytes; how much room its kernel and the server's have; how it reads.
    const WRITES: [&[u32]; 3] = [&[0], &[1, 0], &[1, 2]];
    const ROOM: [[u32; 3]; 2] = [[0, 0, 0], [5, 0, 5]];
    const READING: [u32; 2] = [0, 4];
    let (writes, room) = (WRITES[rng.usize(0..3)], ROOM[rng.usize(0..2)]);
    let reading = READING[rng.usize(0..2)];
    let (nothing_special, ending) = ([0, 0, 0, 0, 0], rng.u32(0..5));
    [&[1, 0, 0, 0], writes, &room, &[reading], &nothing_special, &[ending]].concat()
}

/// A few calm turns, and then the signal, if the world has it come early.
fn calm_up_to_the_signal(rng: &mut fastrand::Rng) -> Vec<Vec<u32>> {
    let signal = [&[0; PLACE_OF_THE_SIGNAL][..], &[1]].concat();
    [vec![Vec::new(); rng.usize(0..=MOST_TURNS)], vec![signal]].concat()
}

/// A few turns in which little happens.
fn turns(rng: &mut fastrand::Rng) -> Vec<Vec<u32>> {
    let turn = |rng: &mut fastrand::Rng| {
        let most = rng.usize(1..=MOST_SKIPPED);
        let mut choices = vec![0; rng.usize(0..=most)];
        choices.last_mut().into_iter().for_each(|choice| *choice = rng.u32(0..2));
        choices
    };
    (0..rng.usize(0..=MOST_TURNS)).map(|_| turn(rng)).collect()
}

/// One, two, four … up to all.
fn doubles(all: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |n| Some(n * 2)).take_while(move |&n| n <= all)
}

/// All, half of them, a quarter … one.
fn halves(all: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(all), |n| Some(n / 2)).take_while(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shrinks decisions as if every section that is not calm were a line, and what breaks the promise is `wrong`.
    fn check(given: &str, wrong: impl Fn(&Decisions) -> bool, expected: &str) -> u32 {
        let attempt = |decisions: &Decisions| Attempt {
            kept: wrong(decisions).then(|| {
                let decisions = decisions.clone().trimmed();
                (decisions.0.iter().filter(|section| !section.is_empty()).count(), decisions)
            }),
            made: 1,
        };
        let given: Decisions = given.parse().unwrap();
        let (shortest, plays) = shortest_decisions(&given, attempt).unwrap();
        assert_eq!(shortest.to_string(), expected);
        plays
    }

    #[test]
    fn what_is_not_needed_goes() {
        let has = |all: &Decisions, wanted: u32| all.0.iter().flatten().any(|&c| c >= wanted);
        check("3,1,4/1,5/9,2,6/5,3/5", |all| has(all, 5), "5");
        check("7x1/9/8x2", |_| true, "");
    }

    #[test]
    fn two_choices_that_need_each_other_stay_in_order() {
        let wrong = |all: &Decisions| {
            let flat: Vec<_> = all.0.iter().flatten().collect();
            flat.iter()
                .position(|&&c| c >= 3)
                .is_some_and(|first| flat[first..].iter().any(|&&c| c == 2))
        };
        check("1,1,7,1/40x1/1,2/1/3,2,5", wrong, "3,2");
    }

    #[test]
    fn a_place_in_a_section_and_a_section_may_matter() {
        let wrong = |all: &Decisions| all.0.get(3).and_then(|section| section.get(2)) == Some(&1);
        check("4/4/4/4,4,1,4/4", wrong, "///2x0,1");
    }

    #[test]
    fn a_choice_is_lowered_in_few_attempts() {
        let plays = check("1000000", |all| all.0.iter().flatten().any(|&c| c >= 777), "777");
        assert!(plays < 200 + 2 * MOST_ANEW, "{plays}");
    }

    #[test]
    fn a_list_is_shortened_with_the_choice_that_says_how_long_it_is() {
        let wrong = |all: &Decisions| {
            let Some(list) = all.0.first() else { return false };
            list.first().is_some_and(|&n| list.get(1 + n as usize) == Some(&9) && n % 2 == 1)
        };
        check("5,7,8,7,8,7,9", wrong, "1,0,9");
    }

    #[test]
    fn the_signal_may_come_earlier_and_what_is_behind_it_still_happens() {
        let wrong = |all: &Decisions| {
            let bar = all.first_part();
            let behind = all.0.get(bar + 1..).unwrap_or_default();
            // As many turns before it as the first client wants.
            let turns = all.0.iter().take(bar).skip(2).count();
            behind.concat().contains(&3) && turns == all.0[1].first().map_or(0, |&n| n as usize)
        };
        check("1/5,0,0,0,0,0/1/1/1/1/1/|/3", wrong, "//|/3");
    }

    #[test]
    fn what_breaks_no_promise_has_no_shortest_form() {
        let attempt = |_: &Decisions| Attempt { kept: None, made: 1 };
        assert!(shortest_decisions(&Decisions::default(), attempt).is_none());
    }

    #[test]
    fn it_ends_although_it_is_not_done() {
        let (mut plays, many) = (0, Decisions(vec![vec![1; 20]; 20]));
        let attempt = |decisions: &Decisions| {
            plays += 1;
            let kept = Some((1, decisions.clone())).filter(|_| plays == 1);
            Attempt { kept, made: MOST_WORK / 100 }
        };
        let (_, counted) = shortest_decisions(&many, attempt).unwrap();
        assert_eq!((plays, counted), (100, 100));
    }
}
