//! Timers against a clock that stands wherever a test puts it.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

/// Some point in time. An `Instant` has no zero, so this is the one time that the clock is read; what it
/// says makes no difference.
fn origin() -> Instant {
    Instant::now()
}

/// Everything that is due, in the order in which it comes out.
fn pop_all<K: Ord>(timers: &mut Timers<K>, now: Instant) -> Vec<K> {
    std::iter::from_fn(|| timers.pop_due(now)).map(|(_, what)| what).collect()
}

#[test]
fn without_timers_the_loop_may_sleep_for_ever() {
    let mut timers: Timers<&str> = Timers::new();
    assert_eq!(timers.sleep_for(origin()), None);
    assert_eq!(timers.pop_due(origin()), None);
    assert_eq!(timers.len(), 0);
}

#[test]
fn the_soonest_comes_first_whatever_the_order_of_scheduling() {
    let t0 = origin();
    let mut timers = Timers::new();
    for (after, what) in [(3, "c"), (1, "a"), (2, "b")] {
        timers.schedule(t0 + after * SECOND, what);
    }
    assert_eq!(pop_all(&mut timers, t0 + 3 * SECOND), ["a", "b", "c"]);
}

#[test]
fn of_two_equal_deadlines_the_lesser_key_comes_first_and_neither_is_lost() {
    let t0 = origin();
    let mut timers = Timers::new();
    for what in [2, 3, 1] {
        timers.schedule(t0, what);
    }
    assert_eq!(timers.len(), 3);
    assert_eq!(pop_all(&mut timers, t0), [1, 2, 3]);
}

#[test]
fn the_same_timer_twice_is_one_timer() {
    let t0 = origin();
    let mut timers = Timers::new();
    timers.schedule(t0, "a");
    timers.schedule(t0, "a");
    assert_eq!(pop_all(&mut timers, t0), ["a"]);
}

#[test]
fn the_sleep_is_exact_and_none_at_all_when_it_is_late() {
    let t0 = origin();
    let mut timers = Timers::new();
    timers.schedule(t0 + 2 * SECOND, "later");
    timers.schedule(t0 + SECOND, "sooner");
    assert_eq!(timers.sleep_for(t0), Some(SECOND));
    assert_eq!(
        timers.sleep_for(t0 + SECOND - NANO),
        Some(NANO),
        "not rounded down: that would spin"
    );
    assert_eq!(timers.sleep_for(t0 + SECOND), Some(Duration::ZERO));
    assert_eq!(timers.sleep_for(t0 + 9 * SECOND), Some(Duration::ZERO));
}

#[test]
fn no_timer_is_a_nanosecond_early_and_none_waits_when_its_time_has_come() {
    let t0 = origin();
    let mut timers = Timers::new();
    timers.schedule(t0 + SECOND, "a");
    assert_eq!(timers.pop_due(t0 + SECOND - NANO), None);
    assert_eq!(timers.len(), 1, "still there");
    assert_eq!(timers.pop_due(t0 + SECOND), Some((t0 + SECOND, "a")));
    assert_eq!(timers.len(), 0);
}

#[test]
fn a_late_timer_says_when_it_was_due_and_not_when_it_was_found() {
    let t0 = origin();
    let mut timers = Timers::new();
    timers.schedule(t0, "a");
    assert_eq!(timers.pop_due(t0 + 5 * SECOND), Some((t0, "a")));
}

#[test]
fn after_the_sleep_it_was_told_the_loop_finds_a_timer_due() {
    let t0 = origin();
    let mut timers = Timers::new();
    timers.schedule(t0 + 1500 * NANO, "a");
    let sleep = timers.sleep_for(t0).unwrap();
    assert_eq!(pop_all(&mut timers, t0 + sleep), ["a"]);
}

#[test]
fn retain_drops_those_and_only_those() {
    let t0 = origin();
    let mut timers = Timers::new();
    for what in 0..10 {
        timers.schedule(t0, what);
    }
    timers.retain(|what| what % 3 == 0);
    assert_eq!(timers.len(), 4);
    assert_eq!(pop_all(&mut timers, t0), [0, 3, 6, 9]);
}

#[test]
fn a_tick_that_came_on_time_is_followed_by_one_an_interval_later() {
    let t0 = origin();
    assert_eq!(next_tick(t0, SECOND, t0), t0 + SECOND);
}

#[test]
fn lateness_is_not_carried_over() {
    let t0 = origin();
    let mut due = t0;
    for tick in 1..=1000 {
        // Each time a little later than it should be, and never twice the same.
        let late = Duration::from_millis(tick * 7 % 1000);
        let now = due + late;
        due = next_tick(due, SECOND, now);
        assert!(
            late.is_zero() || due != now + SECOND,
            "tick {tick} is late since the last one was"
        );
        assert_eq!(due, t0 + SECOND * tick as u32);
    }
}

#[test]
fn ticks_that_were_slept_through_fire_once_and_the_next_is_on_the_grid() {
    let t0 = origin();
    let mut timers = Timers::new();
    timers.schedule(t0, "status");
    let now = t0 + Duration::from_millis(5300);
    let mut fired = 0;
    while let Some((due, what)) = timers.pop_due(now) {
        fired += 1;
        timers.schedule(next_tick(due, SECOND, now), what);
    }
    assert_eq!(fired, 1);
    assert_eq!(timers.sleep_for(now), Some(Duration::from_millis(700)));
}

#[test]
fn late_by_exactly_an_interval_the_next_tick_is_still_to_come() {
    let t0 = origin();
    assert_eq!(next_tick(t0, SECOND, t0 + SECOND), t0 + 2 * SECOND);
    assert_eq!(next_tick(t0, SECOND, t0 + 2 * SECOND - NANO), t0 + 2 * SECOND);
}

#[test]
fn asked_before_its_time_it_is_the_tick_after_the_one_that_is_due() {
    let t0 = origin();
    assert_eq!(next_tick(t0 + SECOND, SECOND, t0), t0 + 2 * SECOND);
}

#[test]
#[should_panic(expected = "a zero interval never gets past `now`")]
fn a_zero_interval_is_a_fault_of_the_caller() {
    next_tick(origin(), Duration::ZERO, origin());
}

proptest! {
    // The exercises break this code on purpose: no files for that.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_next_tick_is_the_first_on_the_grid_after_now(
        // From a nanosecond to a year, and late by up to a year.
        interval in prop_oneof![1..1000_u64, 1_000_000..60_000_000_000_u64, 1..=31_536_000_000_000_000_u64],
        late in prop_oneof![0..1000_u64, 0..60_000_000_000_u64, 0..31_536_000_000_000_000_u64],
    ) {
        let due = origin();
        let interval = Duration::from_nanos(interval);
        let now = due + Duration::from_nanos(late);
        let next = next_tick(due, interval, now);
        assert!(next > now, "in the past: it would fire at once, again and again");
        assert_eq!((next - due).as_nanos() % interval.as_nanos(), 0, "not on the grid");
        assert!(next - interval <= now, "a tick was skipped that is still to come");
    }

    #[test]
    fn they_come_out_in_order_each_once_and_none_early(
        deadlines in prop::collection::vec(0..50_u32, 0..50),
        steps in prop::collection::vec(0..10_u32, 0..10),
    ) {
        let t0 = origin();
        let mut timers = Timers::new();
        for (what, &after) in deadlines.iter().enumerate() {
            timers.schedule(t0 + SECOND * after, what);
        }
        let mut expected: Vec<_> = deadlines.iter().copied().zip(0..).collect();
        expected.sort_unstable();
        let (mut at, mut out) = (0, Vec::new());
        for step in steps {
            at += step;
            out.extend(pop_all(&mut timers, t0 + SECOND * at).into_iter().map(|k| (deadlines[k], k)));
            let due = expected.iter().take_while(|(after, _)| *after <= at).count();
            assert_eq!(out, expected[..due]);
            let sleep = expected.get(due).map(|(after, _)| SECOND * (after - at));
            assert_eq!(timers.sleep_for(t0 + SECOND * at), sleep);
        }
    }
}
