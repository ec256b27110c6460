//! A socket whose kernel reads its answers off a list.
//!
//! Non-blocking code is hard to test over a real socket, since the answers that matter (a short write,
//! `EAGAIN` in the middle, a reset behind the bytes) come when the kernel pleases. But there are only
//! six of them. So here they are letters, a list of them is a [`Script`], and [`every_script`] is every
//! list there is, up to a length: whatever the kernel may say, a test has heard it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

/// How often a socket lets itself be asked beyond the end of its script. A caller that finds the end there
/// and asks a thousand times more will never stop.
const SPIN_LIMIT: usize = 1000;

/// What the kernel says to the next call, whether that is `read(2)` or `write(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A read fills the buffer; a write takes all.
    Bytes,
    /// A read brings one byte fewer than asked for, but at least one; a write takes one.
    Short,
    /// `EAGAIN`.
    WouldBlock,
    /// `EINTR`.
    Interrupted,
    /// A read brings 0 bytes, the FIN; a write fails with `EPIPE`.
    End,
    /// `ECONNRESET`.
    Reset,
}

impl Answer {
    /// Everything the kernel can say.
    pub const ALL: [Self; 6] =
        [Self::Bytes, Self::Short, Self::WouldBlock, Self::Interrupted, Self::End, Self::Reset];

    /// What a call that offers `asked` bytes, or room for as many, gets to hear.
    fn to(self, call: Call, asked: usize) -> io::Result<usize> {
        match (self, call) {
            (Self::Bytes, _) => Ok(asked),
            (Self::Short, Call::Read) => Ok(asked.saturating_sub(1).max(1).min(asked)),
            (Self::Short, Call::Write) => Ok(asked.min(1)),
            (Self::WouldBlock, _) => Err(ErrorKind::WouldBlock.into()),
            (Self::Interrupted, _) => Err(ErrorKind::Interrupted.into()),
            (Self::End, Call::Read) => Ok(0),
            (Self::End, Call::Write) => Err(ErrorKind::BrokenPipe.into()),
            (Self::Reset, _) => Err(ErrorKind::ConnectionReset.into()),
        }
    }
}

/// Every list of at most `longest` answers, the short ones first: 55,987 for six.
pub fn every_script(longest: u32) -> impl Iterator<Item = Vec<Answer>> {
    let letters = Answer::ALL.len();
    (0..=longest).flat_map(move |len| {
        // The answers of a script are the digits of its number.
        (0..letters.pow(len)).map(move |number| {
            (0..len).map(|digit| Answer::ALL[number / letters.pow(digit) % letters]).collect()
        })
    })
}

/// The answers a [`Socket`] will give.
#[derive(Clone, Debug)]
pub struct Script {
    answers: Vec<Answer>,
    /// What comes after them. `None`: a read finds the end, a write takes all.
    then: Option<Answer>,
}

impl Script {
    /// These answers, and then the end: reads bring 0 bytes, writes take all.
    pub fn new(answers: &[Answer]) -> Self {
        Self { answers: answers.to_vec(), then: None }
    }

    /// The same answer for ever.
    pub fn endless(answer: Answer) -> Self {
        Self { answers: Vec::new(), then: Some(answer) }
    }

    /// These answers, and then the same one for ever.
    pub fn followed_by(answers: &[Answer], then: Answer) -> Self {
        Self { answers: answers.to_vec(), then: Some(then) }
    }
}

/// One of the two system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `read(2)`.
    Read,
    /// `write(2)`.
    Write,
}

/// One system call that a [`Socket`] has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which of the two.
    pub call: Call,
    /// How many bytes it offered, or had room for.
    pub asked: usize,
    /// What it was told.
    pub answer: Answer,
    /// How many bytes moved.
    pub moved: usize,
    /// How many bytes had been read and not been written back when the call was made.
    pub owed: usize,
}

impl fmt::Debug for Step {
    /// As strace would print it, without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.call == Call::Read { "read" } else { "write" };
        write!(f, "{name}({}) = ", self.asked)?;
        match self.answer.to(self.call, self.asked) {
            Ok(n) => write!(f, "{n}"),
            Err(e) => write!(f, "{:?}", e.kind()),
        }
    }
}

/// A socket without a kernel: it feeds bytes that tell where in the stream they are, and keeps what it
/// fed, what it took, and every call.
pub struct Socket {
    script: Script,
    next: usize,
    fed: Vec<u8>,
    taken: Vec<u8>,
    steps: Vec<Step>,
}

impl Socket {
    /// A socket that answers by this script.
    pub fn new(script: Script) -> Self {
        // No test of a single script should spend its time on growing these.
        let steps = Vec::with_capacity(script.answers.len() + 8);
        Self { script, next: 0, fed: Vec::new(), taken: Vec::new(), steps }
    }

    /// What all the reads have brought.
    pub fn fed(&self) -> &[u8] {
        &self.fed
    }

    /// What all the writes have taken.
    pub fn taken(&self) -> &[u8] {
        &self.taken
    }

    /// Every call so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What a call would be told now.
    pub fn upcoming(&self, call: Call) -> Answer {
        let over = match call {
            Call::Read => Answer::End,
            Call::Write => Answer::Bytes,
        };
        self.script.answers.get(self.next).copied().or(self.script.then).unwrap_or(over)
    }

    /// Answers one call, without the bytes themselves.
    fn answer(&mut self, call: Call, asked: usize) -> io::Result<usize> {
        let answer = self.upcoming(call);
        let beyond = self.next.saturating_sub(self.script.answers.len());
        assert!(
            self.script.then.is_some() || beyond < SPIN_LIMIT,
            "it spins: asked {SPIN_LIMIT} times beyond the end of the script {:?}, lately {:?}",
            self.script.answers,
            &self.steps[self.steps.len() - 8..],
        );
        self.next += 1;
        let result = answer.to(call, asked);
        let moved = *result.as_ref().unwrap_or(&0);
        let owed = self.fed.len().saturating_sub(self.taken.len());
        self.steps.push(Step { call, asked, answer, moved, owed });
        result
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.answer(Call::Read, buf.len())?;
        let from = self.fed.len();
        self.fed.extend((from..from + n).map(byte_at));
        buf[..n].copy_from_slice(&self.fed[from..]);
        Ok(n)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.answer(Call::Write, bytes.len())?;
        self.taken.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "script {:?}, ", self.script.answers)?;
        if let Some(answer) = self.script.then {
            write!(f, "then {answer:?} for ever, ")?;
        }
        let (fed, taken) = (self.fed.len(), self.taken.len());
        write!(f, "fed {fed} bytes, took {taken}, calls {:?}", self.steps)
    }
}

/// The byte at this place of the stream. The place is mixed twice, so the pattern has no period and
/// a piece that is lost, doubled or moved does not fit in by accident. (Mixed once it nearly repeats
/// after 610 bytes.)
pub fn byte_at(place: usize) -> u8 {
    /// 2^64 divided by the golden ratio: multiplying by it spreads neighbours far apart.
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let once = (place as u64 + 1).wrapping_mul(MIX);
    ((once ^ (once >> 32)).wrapping_mul(MIX) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::Answer::{Bytes, End, Interrupted, Reset, Short, WouldBlock};
    use super::*;

    #[test]
    fn there_are_55987_scripts_of_up_to_six_answers_and_no_two_are_the_same() {
        let scripts: Vec<_> = every_script(6).collect();
        assert_eq!(scripts.len(), 1 + 6 + 36 + 216 + 1296 + 7776 + 46656);
        let mut names: Vec<_> = scripts.iter().map(|script| format!("{script:?}")).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), scripts.len());
    }

    #[test]
    fn a_read_is_answered_as_the_script_says() {
        let mut socket = Socket::new(Script::new(&Answer::ALL));
        let mut buf = [0; 4];
        let mut read = || socket.read(&mut buf).map_err(|e| e.kind());
        assert_eq!(read(), Ok(4));
        assert_eq!(read(), Ok(3));
        assert_eq!(read(), Err(ErrorKind::WouldBlock));
        assert_eq!(read(), Err(ErrorKind::Interrupted));
        assert_eq!(read(), Ok(0));
        assert_eq!(read(), Err(ErrorKind::ConnectionReset));
        assert_eq!(read(), Ok(0), "after the script comes the end");
    }

    #[test]
    fn a_write_is_answered_as_the_script_says() {
        let mut socket = Socket::new(Script::new(&Answer::ALL));
        let mut write = || socket.write(b"1234").map_err(|e| e.kind());
        assert_eq!(write(), Ok(4));
        assert_eq!(write(), Ok(1));
        assert_eq!(write(), Err(ErrorKind::WouldBlock));
        assert_eq!(write(), Err(ErrorKind::Interrupted));
        assert_eq!(write(), Err(ErrorKind::BrokenPipe));
        assert_eq!(write(), Err(ErrorKind::ConnectionReset));
        assert_eq!(write(), Ok(4), "after the script everything is taken");
        assert_eq!(socket.taken(), b"123411234");
    }

    #[test]
    fn the_bytes_that_are_fed_tell_where_in_the_stream_they_are() {
        let mut socket = Socket::new(Script::new(&[Bytes, Short, Bytes]));
        let mut got = Vec::new();
        let mut buf = [0; 3];
        for _ in 0..3 {
            let n = socket.read(&mut buf).unwrap();
            got.extend_from_slice(&buf[..n]);
        }
        assert_eq!(got, (0..8).map(byte_at).collect::<Vec<_>>());
        assert_eq!(got, socket.fed());
    }

    #[test]
    fn the_pattern_has_no_short_period() {
        let stream: Vec<_> = (0..4096).map(byte_at).collect();
        let again = (1..2048).find(|&shift| stream[shift..].starts_with(&stream[..4]));
        assert_eq!(again, None, "the same four bytes again");
    }

    #[test]
    fn a_short_read_into_one_byte_is_one_byte_and_not_the_end() {
        let mut socket = Socket::new(Script::new(&[Short]));
        assert_eq!(socket.read(&mut [0]).unwrap(), 1);
    }

    #[test]
    #[should_panic(expected = "it spins")]
    fn a_caller_that_never_stops_asking_is_stopped() {
        let mut socket = Socket::new(Script::new(&[WouldBlock]));
        for _ in 0..10_000 {
            let _ = socket.read(&mut [0; 4]);
        }
    }

    #[test]
    fn a_failing_script_can_be_read() {
        let mut socket = Socket::new(Script::new(&[Bytes, Short, Interrupted, Reset, End]));
        let _ = socket.read(&mut [0; 4]);
        for _ in 0..3 {
            let _ = socket.write(b"1234");
        }
        assert_eq!(
            format!("{socket:?}"),
            "script [Bytes, Short, Interrupted, Reset, End], fed 4 bytes, took 1, calls \
             [read(4) = 4, write(4) = 1, write(4) = Interrupted, write(4) = ConnectionReset]",
        );
    }
}
