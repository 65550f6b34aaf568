//! The time that one run of a workload took.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

/// Nanoseconds per step: a poll, a message and its answer, or an echo.
pub struct Sample {
    wall: f64,
    /// CPU time of all threads, so that it includes the peer's own threads.
    cpu: f64,
}

/// Measures a run.
pub struct Timer {
    wall: Instant,
    cpu: ProcessTime,
}

impl Timer {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: ProcessTime::now() }
    }

    pub fn stop(self, steps: u64) -> Sample {
        let per_step = |all: Duration| all.as_nanos() as f64 / steps as f64;
        Sample { wall: per_step(self.wall.elapsed()), cpu: per_step(self.cpu.elapsed()) }
    }
}

impl Sample {
    pub fn line(configuration: &str, workload: &str, workers: u32, samples: &[Self]) -> String {
        let list = |field: fn(&Self) -> f64| {
            samples.iter().map(|sample| format!("{:.2}", field(sample))).collect::<Vec<_>>().join(",")
        };
        format!(
            r#"{{"configuration":"{configuration}","workload":"{workload}","workers":{workers},"ns":[{}],"cpu_ns":[{}]}}"#,
            list(|sample| sample.wall),
            list(|sample| sample.cpu),
        )
    }
}
