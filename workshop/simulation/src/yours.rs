//! Your own promise: exercise 8.2.

use crate::Turn;

/// No client waits in the backlog for longer than one turn of the loop while there is room for it.
///
/// The test of the exercise calls this with each turn of thousands of histories.
///
/// # Errors
///
/// What is wrong in this turn. It goes into the report of the test, so say what was seen.
pub fn a_client_that_waits_is_taken_in(turn: &Turn) -> Result<(), String> {
    let _ = turn;
    Ok(())
}
