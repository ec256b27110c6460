//! Charts for the book.

use std::path::Path;

use super::results::Results;

/// Draws every chart for which there are results.
pub(super) fn draw(_results: &Results, _dir: &Path) -> anyhow::Result<()> {
    Ok(())
}
