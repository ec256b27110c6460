//! Ctrl-C: everything that takes time asks here whether it should go on.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

static STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT, SIGTERM and SIGHUP only leave a note. The one who reads it returns an error, and on
/// the way out each server that was started is ended by the guard that holds it.
pub(crate) fn catch_signals() -> anyhow::Result<()> {
    ctrlc::set_handler(|| STOPPED.store(true, Ordering::Relaxed)).context("cannot catch signals")
}

/// An error if we were told to stop.
pub(crate) fn check() -> anyhow::Result<()> {
    if STOPPED.load(Ordering::Relaxed) {
        bail!("stopped");
    }
    Ok(())
}
