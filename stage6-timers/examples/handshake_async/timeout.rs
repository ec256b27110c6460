//! tokio's `timeout`, and a last look at the socket.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::task;
use tokio::time::{self, error::Elapsed};

// ANCHOR: timeout
/// Lets `future` run for at most `time`. If it takes longer, it is dropped in the middle.
///
/// tokio makes a call only after the poller has reported the socket. A signal can end the poller's sleep
/// before that. Then the timer wakes us first, and `future` would be dropped with its answer in the
/// socket. So we let tokio ask the poller once more, without sleeping, and poll `future` a last time.
pub(crate) async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    if let Ok(output) = time::timeout(time, &mut future).await {
        return Ok(output);
    }
    // With one thread, tokio asks the poller before it comes back here.
    task::yield_now().await;
    time::timeout(Duration::ZERO, future).await
}
// ANCHOR_END: timeout
