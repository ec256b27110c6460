//! A table against a `HashMap`, and the clients who have left.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert,
    /// Remove the one who came in this place of the order of arrival, perhaps long gone.
    Remove(prop::sample::Index),
    /// Change the value of one of them, perhaps long gone.
    Change(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Insert),
        2 => any::<prop::sample::Index>().prop_map(Op::Remove),
        2 => any::<prop::sample::Index>().prop_map(Op::Change),
    ]
}

/// Compares everything the table says with what a map says.
fn check(table: &mut Table<u32>, model: &HashMap<Token, u32>, ever: &[Token]) {
    assert_eq!(table.len(), model.len());
    for token in ever {
        assert_eq!(table.get_mut(token).copied(), model.get(token).copied(), "{token:?}");
    }
    let mut tokens: Vec<_> = table.tokens().collect();
    let mut expected: Vec<_> = model.keys().copied().collect();
    tokens.sort();
    expected.sort();
    assert_eq!(tokens, expected);
}

proptest! {
    // The exercises break this code on purpose: no files for that.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_is_a_map_whose_keys_are_new_every_time(ops in prop::collection::vec(op(), 0..100)) {
        let mut table = Table::new(8).unwrap();
        let mut model = HashMap::new();
        let mut ever = Vec::new();
        let mut most = 0;
        for (value, op) in (0..).zip(ops) {
            match op {
                Op::Insert => {
                    let token = table.insert(value);
                    assert!(!ever.contains(&token), "{token:?} was another client's");
                    ever.push(token);
                    model.insert(token, value);
                }
                Op::Remove(_) | Op::Change(_) if ever.is_empty() => {}
                Op::Remove(index) => {
                    let token = index.get(&ever);
                    assert_eq!(table.remove(token), model.remove(token));
                }
                Op::Change(index) => {
                    let token = index.get(&ever);
                    let found = table.get_mut(token).map(|old| *old = value);
                    assert_eq!(found, model.get_mut(token).map(|old| *old = value));
                }
            }
            most = most.max(model.len());
            assert_eq!(table.slots.len(), most, "no more slots than clients at a time");
            check(&mut table, &model, &ever);
        }
    }
}

#[test]
fn a_stale_token_finds_no_client_although_its_slot_is_taken_again() {
    let mut table = Table::new(8).unwrap();
    let old = table.insert("old");
    assert_eq!(table.remove(&old), Some("old"));
    let new = table.insert("new");
    assert_eq!(new.0 % MAX_SLOTS, old.0 % MAX_SLOTS, "the same slot");
    assert_eq!(table.get_mut(&old), None);
    assert_eq!(table.remove(&old), None);
    assert_eq!(table.get_mut(&new), Some(&mut "new"));
}

#[test]
fn removing_twice_frees_one_slot() {
    let mut table = Table::new(8).unwrap();
    let token = table.insert(1);
    assert_eq!(table.remove(&token), Some(1));
    assert_eq!(table.remove(&token), None);
    assert_eq!(table.len(), 0);
    let (a, b) = (table.insert(2), table.insert(3));
    assert_eq!((table.get_mut(&a).copied(), table.get_mut(&b).copied()), (Some(2), Some(3)));
}

#[test]
fn a_token_in_a_log_can_be_read() {
    let mut table = Table::new(8).unwrap();
    let first: Vec<_> = (1..=4).map(|client| table.insert(client)).collect();
    assert_eq!(first, [1_000_000, 2_000_001, 3_000_002, 4_000_003].map(Token));
    table.remove(&first[3]);
    for client in 5..=6 {
        let token = table.insert(client);
        table.remove(&token);
    }
    assert_eq!(table.insert(7), Token(7_000_003), "client 7 in slot 3");
}

#[test]
fn a_token_is_never_one_of_the_first_million_which_are_the_servers_own() {
    let mut table = Table::new(8).unwrap();
    for _ in 0..100 {
        let token = table.insert(());
        assert!(token.0 >= MAX_SLOTS);
        table.remove(&token);
    }
    assert_eq!(table.get_mut(&Token(0)), None);
    assert_eq!(table.get_mut(&Token(1)), None);
    assert_eq!(table.get_mut(&Token(usize::MAX)), None);
    assert_eq!(table.remove(&Token(0)), None);
}

#[test]
fn a_client_who_left_while_others_came_leaves_no_gap() {
    let mut table = Table::new(8).unwrap();
    let tokens: Vec<_> = (0..100).map(|client| table.insert(client)).collect();
    for token in tokens.iter().step_by(3) {
        table.remove(token);
    }
    let gone = table.free.len();
    for client in 0..gone {
        table.insert(client);
    }
    assert_eq!(table.slots.len(), 100);
    let slots: HashSet<_> = table.tokens().map(|token| token.0 % MAX_SLOTS).collect();
    assert_eq!(slots, (0..100).collect());
}

#[test]
fn a_table_asks_for_no_memory_until_there_are_more_clients_than_it_was_made_for() {
    let mut table = Table::new(1000).unwrap();
    let capacities = |t: &Table<u8>| [t.slots.capacity(), t.free.capacity(), t.clients.capacity()];
    let before = capacities(&table);
    let tokens: Vec<_> = (0..1000).map(|_| table.insert(7)).collect();
    assert_eq!(capacities(&table), before, "it moved, which keeps everyone waiting");
    assert_eq!(table.len(), 1000);
    // One that leaves needs a place on the list of free slots.
    tokens.iter().for_each(|token| assert_eq!(table.remove(token), Some(7)));
    assert_eq!(capacities(&table), before);
}

#[test]
#[should_panic(expected = "the table is full")]
fn a_million_and_one_clients_are_a_fault_of_the_caller() {
    let mut table = Table::new(MAX_SLOTS).unwrap();
    for _ in 0..=MAX_SLOTS {
        table.insert(());
    }
}

#[test]
fn a_table_that_the_kernel_does_not_promise_is_an_error() {
    let error = Table::<[u8; 1 << 40]>::new(MAX_SLOTS).err().expect("an exbibyte");
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
}
