//! An outbox against the plainest queue there is, and how much it copies.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// Push this many bytes, or as many as there is room for.
    Push(usize),
    /// Consume this many, or as many as there are.
    Consume(usize),
}

fn op() -> impl Strategy<Value = Op> {
    // Mostly lines and packets; now and then as much as one read brings.
    let size = prop_oneof![4 => 0..100_usize, 2 => 0..5000_usize, 1 => 0..=OUTBOX_LIMIT];
    prop_oneof![size.clone().prop_map(Op::Push), size.prop_map(Op::Consume)]
}

fn check(outbox: &Outbox, model: &VecDeque<u8>) {
    assert!(model.iter().eq(outbox.pending()), "not what was put in and not taken out");
    assert_eq!(outbox.room(), OUTBOX_LIMIT - model.len());
    assert!(outbox.bytes.len() <= 2 * OUTBOX_LIMIT, "{} bytes kept", outbox.bytes.len());
}

proptest! {
    // The exercises break this code on purpose: no files for that.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_is_a_queue_of_bytes_with_a_limit(ops in prop::collection::vec(op(), 0..30)) {
        let mut outbox = Outbox::default();
        let mut model = VecDeque::new();
        let mut stream = (0..).map(|place: usize| (place % 251) as u8);
        for op in ops {
            match op {
                Op::Push(n) => {
                    let new: Vec<_> = stream.by_ref().take(n.min(outbox.room())).collect();
                    outbox.push(&new).unwrap();
                    model.extend(&new);
                    let (kept, pending) = (outbox.bytes.len(), outbox.pending().len());
                    assert!(kept <= 2 * pending, "{kept} bytes kept for {pending}");
                }
                Op::Consume(n) => {
                    let n = n.min(outbox.pending().len());
                    outbox.consume(n);
                    model.drain(..n);
                }
            }
            check(&outbox, &model);
        }
    }
}

#[test]
fn a_new_outbox_is_empty_and_holds_no_memory() {
    let outbox = Outbox::default();
    assert_eq!(outbox.pending(), b"");
    assert_eq!(outbox.room(), OUTBOX_LIMIT);
    assert_eq!(outbox.bytes.capacity(), 0);
}

#[test]
fn what_is_consumed_is_gone_and_the_rest_keeps_its_order() {
    let mut outbox = Outbox::default();
    outbox.push(b"hello").unwrap();
    outbox.consume(2);
    assert_eq!(outbox.pending(), b"llo");
    outbox.push(b" there").unwrap();
    assert_eq!(outbox.pending(), b"llo there");
    outbox.consume(9);
    assert_eq!(outbox.pending(), b"");
}

#[test]
fn consuming_or_pushing_nothing_changes_nothing() {
    let mut outbox = Outbox::default();
    outbox.consume(0);
    outbox.push(b"").unwrap();
    outbox.push(b"ab").unwrap();
    outbox.consume(0);
    assert_eq!(outbox.pending(), b"ab");
}

#[test]
fn it_holds_exactly_its_limit() {
    let mut outbox = Outbox::default();
    outbox.push(&[7; OUTBOX_LIMIT]).unwrap();
    assert_eq!(outbox.room(), 0);
    outbox.consume(1);
    assert_eq!(outbox.room(), 1);
    outbox.push(b"x").unwrap();
    assert_eq!(outbox.pending().last(), Some(&b'x'));
}

#[test]
fn one_byte_beyond_the_limit_is_refused_and_leaves_the_others_alone() {
    let mut outbox = Outbox::default();
    outbox.push(&[7; OUTBOX_LIMIT - 1]).unwrap();
    let error = outbox.push(b"xy").unwrap_err();
    assert_eq!(error.to_string(), "it does not read, and its outbox is full");
    assert_eq!(outbox.pending(), [7; OUTBOX_LIMIT - 1]);
    outbox.push(b"x").unwrap();
}

#[test]
#[should_panic(expected = "more bytes taken than there were")]
fn consuming_what_is_not_there_is_a_fault_of_the_caller() {
    let mut outbox = Outbox::default();
    outbox.push(b"ab").unwrap();
    outbox.consume(1);
    outbox.consume(2);
}

/// Copies are counted where they happen: a push that slides down moves all that is pending.
#[test]
fn moving_64_mib_through_a_full_outbox_moves_each_byte_once_more_at_most() {
    const TOTAL: usize = 64 << 20;
    const WRITE: usize = 4096;
    let mut outbox = Outbox::default();
    outbox.push(&[0; OUTBOX_LIMIT]).unwrap();
    let mut moved = 0;
    for _ in 0..TOTAL / WRITE {
        outbox.consume(WRITE);
        let (sent, pending) = (outbox.sent, outbox.pending().len());
        outbox.push(&[0; WRITE]).unwrap();
        if outbox.sent < sent {
            moved += pending;
        }
    }
    assert!(moved <= TOTAL, "{TOTAL} bytes through it moved {moved}");
    let kept = outbox.bytes.capacity();
    assert!(kept <= 4 * OUTBOX_LIMIT, "it keeps {kept} bytes of memory");
}
