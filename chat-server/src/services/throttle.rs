//! Site `sleep`: how a client that talks too fast is slowed down.

use std::time::{Duration, Instant};

use crate::inject::Mistake;

/// Lines that a client may send at once, in seconds of its rate.
const BURST_SECONDS: f64 = 2.0;

/// Slows clients down to a rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Lines a second; `None` lets everything pass.
    rate: Option<f64>,
    mistake: Option<Mistake>,
}

/// What one client still has of its allowance.
#[derive(Debug)]
pub(crate) struct Allowance {
    lines: f64,
    counted: Instant,
}

impl Throttle {
    pub(crate) fn new(rate: Option<f64>, mistake: Option<Mistake>) -> Self {
        Throttle { rate, mistake }
    }

    /// The allowance of a new client.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance { lines: self.rate.unwrap_or(0.0) * BURST_SECONDS, counted: Instant::now() }
    }

    /// Takes one line off the allowance and waits until it is covered.
    pub(crate) async fn pace(&self, allowance: &mut Allowance) {
        if let Some(owed) = self.rate.and_then(|rate| allowance.take(rate)) {
            right(owed).await;
        }
    }

    /// The flood check of PRIVMSG, where the mistake is made.
    pub(crate) fn before_privmsg(&self) {
        if let Some(owed) = self.mistake.as_ref().and_then(Mistake::strikes) {
            wrong(owed);
        }
    }
}

impl Allowance {
    /// Spends one line; how long to wait for it, if the allowance is used up.
    fn take(&mut self, rate: f64) -> Option<Duration> {
        let now = Instant::now();
        let earned = now.duration_since(self.counted).as_secs_f64() * rate;
        self.lines = (self.lines + earned).min(rate * BURST_SECONDS) - 1.0;
        self.counted = now;
        (self.lines < 0.0).then(|| Duration::from_secs_f64(-self.lines / rate))
    }
}

/// Right: this client waits, its worker serves the others.
async fn right(owed: Duration) {
    tokio::time::sleep(owed).await;
    slowed_down(owed);
}

/// Wrong: the worker waits, and with it every client it would have served.
#[inline(never)]
fn wrong(owed: Duration) {
    std::thread::sleep(owed); // THE MISTAKE
    slowed_down(owed);
}

/// Also keeps the sleep above from being a tail call, which would leave no frame of `wrong` to name.
fn slowed_down(owed: Duration) {
    tracing::trace!(?owed, "a client was slowed down");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_each_line_waits() {
        let throttle = Throttle::new(Some(0.001), None);
        let mut allowance = Allowance { lines: 2.0, ..throttle.allowance() };
        assert_eq!(allowance.take(0.001).map(|_| ()), Some(()), "no burst at 2 lines in 1000 s: capped");
        let mut allowance = Throttle::new(Some(10.0), None).allowance();
        let waits = (0..30).filter_map(|_| allowance.take(10.0)).count();
        assert!((1..=10).contains(&waits), "{waits} of 30 lines, 20 of them a burst");
    }
}
