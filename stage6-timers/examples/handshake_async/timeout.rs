//! tokio's `timeout`, with a last look.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::task;
use tokio::time::{self, error::Elapsed};

// ANCHOR: timeout
/// Lets `future` go on for at most `time`. If it takes longer, it is dropped, where it stands.
///
/// tokio makes a call only after the poller has said that it is worth while. A signal can end the
/// poller's sleep before it has said so, and then the timer wakes us first, and `future` does not look.
/// So we let tokio ask the poller once more, without sleeping, and `future` has the last word.
pub(crate) async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    if let Ok(output) = time::timeout(time, &mut future).await {
        return Ok(output);
    }
    // With one thread it goes on after the poller was asked.
    task::yield_now().await;
    time::timeout(Duration::ZERO, future).await
}
// ANCHOR_END: timeout
