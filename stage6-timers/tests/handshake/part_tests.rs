//! The back-off and the two lines.

use std::time::Duration;

use crate::support::backoff::Backoff;
use crate::support::protocol::LINE_LIMIT;
use crate::support::{HELLO, check_ack, first_line};

#[test]
fn pauses_double_up_to_the_limit_and_are_at_least_half_of_it() {
    for seed in 0..100 {
        let mut backoff = Backoff::new(seed);
        let mut ceiling = Backoff::FIRST;
        for _ in 0..50 {
            let pause = backoff.next_pause();
            assert!((ceiling / 2..=ceiling).contains(&pause), "{pause:?} of {ceiling:?}");
            ceiling = Backoff::LONGEST.min(ceiling * 2);
        }
        assert_eq!(ceiling, Backoff::LONGEST);
    }
}

#[test]
fn a_seed_fixes_the_jitter_and_without_one_two_peers_do_not_march_in_step() {
    let pauses = |seed| {
        let mut backoff = Backoff::new(seed);
        (0..10).map(|_| backoff.next_pause()).collect::<Vec<_>>()
    };
    assert_eq!(pauses(7), pauses(7));
    assert_ne!(pauses(7), pauses(8));
    assert!(pauses(7).iter().all(|pause| *pause > Duration::ZERO));
}

#[test]
fn every_beginning_of_the_ack_is_not_yet_an_ack_and_any_other_byte_is_none() {
    for n in 0..HELLO.len() {
        assert!(matches!(check_ack(&HELLO[..n]), Ok(false)), "{n} bytes");
        let mut wrong = HELLO[..=n].to_vec();
        wrong[n] ^= 1;
        assert!(check_ack(&wrong).is_err(), "byte {n}");
    }
    assert!(matches!(check_ack(HELLO), Ok(true)));
    assert!(matches!(check_ack(&[HELLO, b"more"].concat()), Ok(true)));
}

#[test]
fn a_line_ends_at_its_newline_or_at_the_limit() {
    assert_eq!(first_line(b""), None);
    assert_eq!(first_line(b"half"), None);
    assert_eq!(first_line(b"\n"), Some(&b""[..]));
    assert_eq!(first_line(b"one\ntwo\n"), Some(&b"one"[..]));
    let endless = [b'x'; LINE_LIMIT + 10];
    assert_eq!(first_line(&endless[..LINE_LIMIT - 1]), None);
    assert_eq!(first_line(&endless), Some(&endless[..LINE_LIMIT]));
}
