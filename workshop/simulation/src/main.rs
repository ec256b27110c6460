//! `cargo run -p simulation -- stage6 --seed 42`

use simulated_kernel::choices::Choices;
use simulation::{Stage, play};

fn main() {
    let mut args = std::env::args().skip(1);
    let stage = match args.next().as_deref() {
        Some("stage5") => Stage::Five,
        _ => Stage::Six,
    };
    let first: u64 = args.next().unwrap().parse().unwrap();
    let n: u64 = args.next().map_or(1, |n| n.parse().unwrap());
    let start = std::time::Instant::now();
    let (mut calls, mut turns, mut wrong) = (0, 0, 0);
    for seed in first..first + n {
        let history = play(stage, Choices::from_seed(seed), n == 1);
        calls += history.calls;
        turns += u64::from(history.turns);
        if let Some(v) = &history.violation {
            wrong += 1;
            if wrong <= 10 {
                println!("seed {seed}: {}: {}", v.property, v.seen);
            }
        }
        history.story.iter().for_each(|line| println!("{line}"));
    }
    println!("{n} histories, {calls} calls, {turns} turns, {wrong} wrong, {:.2?}", start.elapsed());
}
