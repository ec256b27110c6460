//! The terminal while the picture is on it.

use std::env;
use std::io::{self, IsTerminal};
use std::mem::ManuallyDrop;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use super::draw::draw;
use super::kind::Kind;
use super::state::State;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Add(Kind),
    AddHundred,
    Remove,
    RemoveAll,
    /// 0 to 5.
    Stage(usize),
    Pause,
    Help,
    Suspend,
    Quit,
}

/// A terminal of its own for the picture. Dropping this gives the old one back, and so does a panic.
pub(super) struct Picture {
    /// Never dropped: that would say on stderr that the cursor cannot be shown, and panic if stderr was closed with the
    /// terminal.
    terminal: ManuallyDrop<DefaultTerminal>,
}

/// Whether there is a terminal to draw on, with a size and a keyboard. A dumb one cannot move its cursor.
pub(super) fn is_there() -> bool {
    let has_size =
        || crossterm::terminal::size().is_ok_and(|(width, height)| width > 0 && height > 0);
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb && has_size()
}

impl Picture {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminal: ManuallyDrop::new(ratatui::try_init()?) })
    }

    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, state)).map(|_| ())
    }

    /// Draws everything anew, since another program has written here.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal where its cursor is, and the thread that reads the keys would take
        // the answer.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Ctrl-Z: gives the terminal back, sleeps until `fg`, and takes it again.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        {
            ratatui::try_restore()?;
            self.terminal.show_cursor()?;
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP)?;
            self.terminal = ManuallyDrop::new(ratatui::try_init()?);
        }
        Ok(())
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// What the keys ask for. A thread of its own reads them: when the terminal is closed, crossterm never comes back, not
/// even from a wait with a limit, and we still have a server to end.
pub(super) fn keys() -> Receiver<Asked> {
    let (tell, asked) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let asked = match event::read() {
                // Windows says of each key when it is released as well.
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    of_key(key.code, key.modifiers)
                }
                Ok(_) => None,
                Err(_) => Some(Asked::Quit),
            };
            if asked.is_some_and(|asked| tell.send(asked).is_err() || asked == Asked::Quit) {
                return;
            }
        }
    });
    asked
}

/// In raw mode Ctrl-C is a key, and no signal.
fn of_key(key: KeyCode, modifiers: KeyModifiers) -> Option<Asked> {
    if modifiers.contains(KeyModifiers::CONTROL) {
        return match key {
            KeyCode::Char('c' | 'd') => Some(Asked::Quit),
            KeyCode::Char('z') => Some(Asked::Suspend),
            _ => None,
        };
    }
    match key {
        KeyCode::Char('q') => Some(Asked::Quit),
        KeyCode::Char('c') => Some(Asked::AddHundred),
        KeyCode::Char('x') | KeyCode::Backspace => Some(Asked::Remove),
        KeyCode::Char('X') => Some(Asked::RemoveAll),
        KeyCode::Char(' ') => Some(Asked::Pause),
        KeyCode::Char('?') => Some(Asked::Help),
        KeyCode::Char(digit @ '1'..='6') => Some(Asked::Stage(digit as usize - '1' as usize)),
        KeyCode::Char(key) => Kind::of(key).map(Asked::Add),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_asks_for_one_thing_and_control_c_is_no_hundred_clients() {
        let plain = |key| of_key(KeyCode::Char(key), KeyModifiers::NONE);
        assert_eq!(plain('c'), Some(Asked::AddHundred));
        assert_eq!(of_key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Asked::Quit));
        assert_eq!(of_key(KeyCode::Char('X'), KeyModifiers::SHIFT), Some(Asked::RemoveAll));
        assert_eq!(of_key(KeyCode::Backspace, KeyModifiers::NONE), Some(Asked::Remove));
        assert_eq!((plain('1'), plain('6')), (Some(Asked::Stage(0)), Some(Asked::Stage(5))));
        assert_eq!((plain('7'), plain('z')), (None, None));
        for kind in Kind::ALL {
            assert_eq!(plain(kind.key()), Some(Asked::Add(kind)));
        }
    }
}
