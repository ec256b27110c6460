//! Every client, by token.

use std::io;

use mio::Token;

/// The most clients a table holds. In decimal, so that a token in a log can be read: client 7 in slot
/// 3 is 7000003.
pub(crate) const MAX_SLOTS: usize = 1_000_000;

/// A map from tokens to clients in which finding one is two indices and a comparison.
///
/// A token is a serial number and a slot: `serial * MAX_SLOTS + slot`. A slot is used again at once; a serial
/// number counts up from 1 and is never used again. So what still carries the token of a client that has
/// left (an event, a mark, a timer) finds nothing: never the client that has the slot now. At 100,000
/// clients a second the serial numbers last for five years.
///
/// ```text
///   slots:    [ 2, 0, ·, 1 ]              where each slot's client stands in `clients`
///   clients:  [ (token, client), … ]      those that are here, without a gap
/// ```
pub(crate) struct Table<T> {
    slots: Vec<u32>,
    /// The slots that no client is in.
    free: Vec<u32>,
    clients: Vec<(Token, T)>,
    serial: usize,
}

impl<T> Table<T> {
    /// A table for so many clients. Its memory is only promised: a page of it costs nothing until the
    /// first client is in it. And it never has to move, which would keep everyone waiting.
    ///
    /// # Errors
    ///
    /// If the kernel does not promise so much (`ulimit -v`).
    pub(crate) fn new(capacity: usize) -> io::Result<Self> {
        const { assert!(usize::BITS >= 64, "a token is a serial number and a slot") };
        let (mut slots, mut free, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        slots.try_reserve_exact(capacity)?;
        free.try_reserve_exact(capacity)?;
        clients.try_reserve_exact(capacity)?;
        Ok(Self { slots, free, clients, serial: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Puts `value` in a free slot, under a token that no client has had before.
    pub(crate) fn insert(&mut self, value: T) -> Token {
        self.serial += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32) as usize;
        assert!(slot < MAX_SLOTS, "the table is full");
        if slot == self.slots.len() {
            self.slots.push(0);
        }
        self.slots[slot] = self.clients.len() as u32;
        let token = Token(self.serial * MAX_SLOTS + slot);
        self.clients.push((token, value));
        token
    }

    pub(crate) fn get_mut(&mut self, token: &Token) -> Option<&mut T> {
        let place = *self.slots.get(token.0 % MAX_SLOTS)? as usize;
        let (owner, value) = self.clients.get_mut(place)?;
        if owner == token { Some(value) } else { None }
    }

    pub(crate) fn remove(&mut self, token: &Token) -> Option<T> {
        self.get_mut(token)?;
        let slot = token.0 % MAX_SLOTS;
        let place = self.slots[slot];
        let (_, value) = self.clients.swap_remove(place as usize);
        // The last client has moved into the gap, unless it was the last itself.
        if let Some((moved, _)) = self.clients.get(place as usize) {
            self.slots[moved.0 % MAX_SLOTS] = place;
        }
        self.free.push(slot as u32);
        Some(value)
    }

    /// The tokens of everyone who is here.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.clients.iter().map(|(token, _)| *token)
    }
}

#[cfg(test)]
mod tests;
