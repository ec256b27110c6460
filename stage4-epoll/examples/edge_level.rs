//! The same scene twice: level-triggered, and edge-triggered.
//!
//! Bytes come, some are read, more come, all are read. After each step we ask `epoll_wait(2)` for news.
//! Level-triggered it says how things are; edge-triggered it says that something has changed.
//!
//! Run it:      `cargo run -p stage4-epoll --example edge_level`
//! Read along:  `docs/src/stage4.md`

#[cfg(target_os = "linux")]
mod scene {
    use std::io::{self, Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    /// One step of the scene, and whether `epoll_wait(2)` had news after it.
    pub(crate) type Step = (&'static str, bool);

    /// Plays the scene. `trigger` is `EPOLLET`, or empty for level-triggered.
    pub(crate) fn play(trigger: EpollFlags) -> io::Result<Vec<Step>> {
        // A pair of connected sockets without a network between them: what is written is there at once.
        let (mut peer, mut ours) = UnixStream::pair()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&ours, EpollEvent::new(EpollFlags::EPOLLIN | trigger, 0))?;

        let mut steps = Vec::new();
        peer.write_all(&[7; 8])?;
        steps.push(("8 bytes have come", has_news(&epoll)?));
        ours.read_exact(&mut [0; 4])?;
        steps.push(("we have read 4 of them", has_news(&epoll)?));
        steps.push(("we have done nothing", has_news(&epoll)?));
        steps.push(("we have done nothing", has_news(&epoll)?));
        peer.write_all(&[7; 8])?;
        steps.push(("8 more have come", has_news(&epoll)?));
        ours.read_exact(&mut [0; 12])?;
        steps.push(("we have read all 12", has_news(&epoll)?));
        Ok(steps)
    }

    /// Asks `epoll_wait(2)` without sleeping.
    fn has_news(epoll: &Epoll) -> io::Result<bool> {
        let mut events = [EpollEvent::empty()];
        Ok(epoll.wait(&mut events, EpollTimeout::ZERO)? == 1)
    }

    pub(crate) fn main() -> io::Result<()> {
        let level = play(EpollFlags::empty())?;
        let edge = play(EpollFlags::EPOLLET)?;
        common::print(format_args!("{:24}{:10}edge", "", "level"));
        for ((step, level), (_, edge)) in level.into_iter().zip(edge) {
            common::print(format_args!("{step:24}{:10}{}", word(level), word(edge)));
        }
        Ok(())
    }

    fn word(news: bool) -> &'static str {
        if news { "EPOLLIN" } else { "-" }
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    scene::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    common::say("epoll is Linux's");
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::sys::epoll::EpollFlags;

    use super::scene::play;

    #[track_caller]
    fn news(trigger: EpollFlags) -> Vec<bool> {
        play(trigger).expect("a scene without errors").into_iter().map(|(_, news)| news).collect()
    }

    #[test]
    fn level_triggered_says_how_things_are() {
        assert_eq!(news(EpollFlags::empty()), [true, true, true, true, true, false]);
    }

    #[test]
    fn edge_triggered_says_that_something_has_changed() {
        assert_eq!(news(EpollFlags::EPOLLET), [true, false, false, false, true, false]);
    }
}
