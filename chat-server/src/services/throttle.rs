//! Injection site `sleep`: slows down clients that send too many lines.

use std::time::{Duration, Instant};

use crate::inject::mistake::Mistake;

/// Size of the token bucket, in seconds of its rate.
const BURST_SECONDS: f64 = 2.0;

/// Limits the rate of lines of each client.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Lines per second. `None` sets no limit.
    rate: Option<f64>,
    mistake: Option<Mistake>,
}

/// The token bucket of one client. Each line costs one token.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: f64,
    refilled_at: Instant,
}

impl Throttle {
    pub(crate) fn new(rate: Option<f64>, mistake: Option<Mistake>) -> Self {
        Self { rate, mistake }
    }

    /// Creates the full bucket of a new client.
    pub(crate) fn new_bucket(&self) -> TokenBucket {
        TokenBucket { tokens: self.rate.unwrap_or(0.0) * BURST_SECONDS, refilled_at: Instant::now() }
    }

    /// Takes a token for one line and waits until the bucket covers it.
    pub(crate) async fn wait_for_token(&self, bucket: &mut TokenBucket) {
        if let Some(wait) = self.rate.and_then(|rate| bucket.take(rate)) {
            right(wait).await;
        }
    }

    /// Makes the mistake at some PRIVMSG commands. Without the mistake it does
    /// nothing.
    pub(crate) fn maybe_block_privmsg(&self) {
        if let Some(wait) = self.mistake.as_ref().and_then(Mistake::decide) {
            wrong(wait);
        }
    }
}

impl TokenBucket {
    /// Takes one token. Returns how long to wait if the bucket was empty.
    fn take(&mut self, rate: f64) -> Option<Duration> {
        let now = Instant::now();
        let earned = now.duration_since(self.refilled_at).as_secs_f64() * rate;
        self.tokens = (self.tokens + earned).min(rate * BURST_SECONDS) - 1.0;
        self.refilled_at = now;
        (self.tokens < 0.0).then(|| Duration::from_secs_f64(-self.tokens / rate))
    }
}

/// Right: this client waits while its worker serves the others.
async fn right(wait: Duration) {
    tokio::time::sleep(wait).await;
    log_wait(wait);
}

/// Wrong: the worker waits, and with it every client that it serves.
#[inline(never)]
fn wrong(wait: Duration) {
    std::thread::sleep(wait); // THE MISTAKE
    log_wait(wait);
}

/// Logs the wait. It also keeps the sleep above from being a tail call, which
/// would remove the stack frame of `wrong`.
fn log_wait(wait: Duration) {
    tracing::trace!(?wait, "a client was slowed down");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_each_line_waits() {
        let throttle = Throttle::new(Some(0.001), None);
        let mut bucket = TokenBucket { tokens: 2.0, ..throttle.new_bucket() };
        assert_eq!(
            bucket.take(0.001).map(|_| ()),
            Some(()),
            "2 tokens exceed the bucket size of 0.002 tokens"
        );
        let mut bucket = Throttle::new(Some(10.0), None).new_bucket();
        let waits = (0..30).filter_map(|_| bucket.take(10.0)).count();
        assert!((1..=10).contains(&waits), "{waits} of 30 lines, 20 of them a burst");
    }
}
