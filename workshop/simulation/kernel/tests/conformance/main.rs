//! Does the modelled kernel do what Linux does? The same random script of calls is played on both, over loopback and
//! on one thread, and each answer and each event is compared: see [`compare`], which says what Linux is free in.
//!
//! `CONFORMANCE_SCRIPTS=10000 cargo test -p simulated-kernel --test conformance` plays more of them. Where the two
//! differ Linux is right.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy sees helpers as none"
)]

mod compare;
mod linux;
mod model;
mod rules;
mod script;

use std::time::Instant;

use compare::Freedom;
use linux::Linux;
use script::{Kind, Script};

/// How many scripts of each kind are played, unless `CONFORMANCE_SCRIPTS` says otherwise.
const SCRIPTS: u64 = 300;

fn scripts() -> u64 {
    std::env::var("CONFORMANCE_SCRIPTS").map_or(SCRIPTS, |n| n.parse().unwrap())
}

fn conforms(kind: Kind, scripts: u64, freedom: Freedom) {
    let start = Instant::now();
    let (mut calls, mut late) = (0, 0);
    let mut linux = Linux::new(kind).unwrap();
    for seed in 0..scripts {
        let script = Script::draw(kind, seed);
        match compare::play(&script, &mut linux, freedom) {
            Ok(n) => calls += n,
            Err(first) => {
                late += 1;
                eprintln!("seed {seed} has differed once:\n{first}");
                if let Some((shortest, still)) = compare::shrink(script, &mut linux, freedom) {
                    panic!("seed {seed} of {kind:?}: after\n{shortest}{still}");
                }
            }
        }
    }
    let time = start.elapsed();
    eprintln!(
        "{kind:?}: {scripts} scripts, {calls} calls, {late} differed until there was time, {time:.2?}"
    );
}

#[test]
fn the_model_answers_and_tells_what_linux_does() {
    conforms(Kind::Roomy, scripts(), Freedom::default());
}

#[test]
fn the_model_answers_and_tells_what_linux_does_when_buffers_are_full() {
    conforms(Kind::Tight, scripts() / 5, Freedom::FULL_BUFFERS);
}

/// What is wrong with a comparison that finds no fault? This one has to find those that it is given.
#[test]
fn a_difference_is_found_and_shrunk_to_the_calls_that_matter() {
    let mut linux = Linux::new(Kind::Roomy).unwrap();
    let lies = Freedom { forgets_priority: true, ..Freedom::default() };
    let mut wrong = (0..300).filter_map(|seed| {
        let script = Script::draw(Kind::Roomy, seed);
        compare::play(&script, &mut linux, lies).err()?;
        compare::shrink(script, &mut linux, lies)
    });
    let (shortest, _) = wrong.next().expect("no script of 300 has an urgent byte that is told");
    assert!(shortest.calls.len() <= 5, "connect, urgent, accept, register, wait:\n{shortest}");
}
