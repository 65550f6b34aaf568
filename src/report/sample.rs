//! A finding for tests.

use crate::finding::{Cause, Detail, Evidence, Finding, Frame, FrameKind, Site, Split, TaskInfo, Victims};
#[cfg(any(feature = "diagnostic", feature = "prometheus"))]
use crate::finding::{FindingsDocument, ProcessInfo, Starved};

fn frame(kind: FrameKind, function: &str, file: &str, line: u32) -> Frame {
    Frame { function: function.to_owned(), file: Some(file.to_owned()), line: Some(line), kind }
}

/// A sleep in an application's `throttle`, as exact as can be.
pub(crate) fn sleep() -> Finding {
    Finding {
        id: "sleep-5f3a".to_owned(),
        cause: Cause::Sleep,
        primitive: Some("std::thread::sleep".to_owned()),
        site: Some(Site {
            function: "chat::flood::throttle".to_owned(),
            file: Some("src/flood.rs".to_owned()),
            line: Some(31),
        }),
        task: TaskInfo { kind: "session".to_owned(), spawned_at: Some("src/server.rs:61:9".to_owned()) },
        count: 12,
        total_seconds: 2.41,
        max_seconds: 0.212,
        ongoing_seconds: None,
        split: Split { on_cpu_seconds: 0.0, run_queue_seconds: 0.0, off_cpu_seconds: 2.41 },
        detail: Detail {
            syscall: Some("clock_nanosleep".to_owned()),
            fd: None,
            lock: None,
            waiters: 0,
            holder: None,
        },
        victims: Victims { tasks: 37, delay_seconds: 4.1 },
        advice: "use `tokio::time::sleep(..).await`".to_owned(),
        evidence: Evidence::Stack,
        stack: vec![
            Frame { function: "clock_nanosleep".to_owned(), file: None, line: None, kind: FrameKind::Native },
            frame(FrameKind::Std, "std::thread::sleep", "library/std/src/thread/mod.rs", 900),
            frame(FrameKind::Application, "chat::flood::throttle", "src/flood.rs", 31),
            frame(FrameKind::Application, "chat::session::privmsg", "src/session.rs", 88),
            frame(FrameKind::Runtime, "tokio::runtime::task::raw::poll", "src/runtime/task/raw.rs", 200),
        ],
        first_seen_unix_seconds: 1_700_000_000.5,
        last_seen_unix_seconds: 1_700_000_060.25,
    }
}

/// A document of `findings`.
#[cfg(any(feature = "diagnostic", feature = "prometheus"))]
pub(crate) fn document(findings: Vec<Finding>) -> FindingsDocument {
    FindingsDocument {
        schema: crate::finding::FINDINGS_SCHEMA.to_owned(),
        process: ProcessInfo {
            pid: 4_242,
            program: "/usr/bin/chat".to_owned(),
            loopscope: "0.1.0".to_owned(),
            all_tasks: true,
        },
        threshold_seconds: 0.01,
        findings,
        starved: Starved { count: 0, total_seconds: 0.0 },
        suppressed_reports: 0,
        dropped: 0,
    }
}
