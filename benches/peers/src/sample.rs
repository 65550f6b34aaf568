//! What one run of a workload took.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

/// Nanoseconds a step: a poll, a message there and back, an echo.
pub struct Sample {
    wall: f64,
    /// Of all threads, so that what a peer does on threads of its own shows.
    cpu: f64,
}

/// A run that has begun.
pub struct Begun {
    wall: Instant,
    cpu: ProcessTime,
}

impl Begun {
    pub fn now() -> Self {
        Self { wall: Instant::now(), cpu: ProcessTime::now() }
    }

    pub fn done(self, steps: u64) -> Sample {
        let a_step = |all: Duration| all.as_nanos() as f64 / steps as f64;
        Sample { wall: a_step(self.wall.elapsed()), cpu: a_step(self.cpu.elapsed()) }
    }
}

impl Sample {
    pub fn line(configuration: &str, workload: &str, workers: u32, samples: &[Self]) -> String {
        let list = |of: fn(&Self) -> f64| {
            samples.iter().map(|sample| format!("{:.2}", of(sample))).collect::<Vec<_>>().join(",")
        };
        format!(
            r#"{{"configuration":"{configuration}","workload":"{workload}","workers":{workers},"ns":[{}],"cpu_ns":[{}]}}"#,
            list(|sample| sample.wall),
            list(|sample| sample.cpu),
        )
    }
}
