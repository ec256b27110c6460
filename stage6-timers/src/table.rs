//! Every client, by token.

use mio::Token;

/// The most clients a table holds. In decimal, so that a token in a log can be read: client 7 in slot
/// 3 is 7000003.
pub(crate) const MAX_SLOTS: usize = 1_000_000;

/// A map from tokens to clients in which finding one is an index and a comparison.
///
/// A token is a serial number and a slot: `serial * MAX_SLOTS + slot`. Slots are used again at once, so
/// the table stays dense. Serial numbers count up from 1 and are never used again, so what still
/// carries the token of a client who has left (an event, a mark, a timer) finds nobody: never the
/// client who has the slot now. At 100,000 clients a second the serial numbers last for five years.
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    /// The slots nobody is in.
    free: Vec<u32>,
    serial: usize,
}

struct Slot<T> {
    /// Of whoever is in here, or was last.
    token: Token,
    value: Option<T>,
}

impl<T> Table<T> {
    /// A table for so many clients. Its memory is only promised: a page of it costs nothing until the
    /// first client sits there. And it never has to move, which would keep everyone waiting.
    pub(crate) fn new(capacity: usize) -> Self {
        const { assert!(usize::BITS >= 64, "a token is a serial number and a slot") };
        Self { slots: Vec::with_capacity(capacity), free: Vec::new(), serial: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts `value` in a free slot, under a token that nobody has had before.
    pub(crate) fn insert(&mut self, value: T) -> Token {
        self.serial += 1;
        let slot = self.free.pop().map_or(self.slots.len(), |slot| slot as usize);
        assert!(slot < MAX_SLOTS, "the table is full");
        let token = Token(self.serial * MAX_SLOTS + slot);
        let entry = Slot { token, value: Some(value) };
        if slot == self.slots.len() {
            self.slots.push(entry);
        } else {
            self.slots[slot] = entry;
        }
        token
    }

    pub(crate) fn get_mut(&mut self, token: &Token) -> Option<&mut T> {
        let slot = self.slots.get_mut(token.0 % MAX_SLOTS)?;
        if slot.token == *token { slot.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, token: &Token) -> Option<T> {
        self.get_mut(token)?;
        let slot = token.0 % MAX_SLOTS;
        self.free.push(slot as u32);
        self.slots[slot].value.take()
    }

    /// The tokens of everyone who is here.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.slots.iter().filter(|slot| slot.value.is_some()).map(|slot| slot.token).collect()
    }
}

#[cfg(test)]
mod tests;
