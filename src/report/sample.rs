//! A sample finding for tests.

use std::time::Duration;

use crate::finding::{
    Cause, Detail, Evidence, Finding, Frame, FrameKind, Site, Split, TaskInfo, TaskShare, Victims,
};
#[cfg(any(feature = "diagnostic", feature = "metrics", feature = "prometheus"))]
use crate::finding::{FindingsDocument, ProcessInfo, Starved};
#[cfg(any(feature = "diagnostic", feature = "metrics", feature = "prometheus"))]
use crate::recording::Recording;
use crate::unix_time;

fn frame(kind: FrameKind, function: &str, file: &str, (line, column): (u32, u32)) -> Frame {
    Frame {
        function: function.to_owned(),
        file: Some(file.to_owned()),
        line: Some(line),
        column: Some(column),
        kind,
        recovered: false,
    }
}

/// Returns a finding of a sleep in an application's function `throttle`.
pub(crate) fn sleep() -> Finding {
    Finding {
        id: "sleep-5f3a".to_owned(),
        cause: Cause::Sleep,
        primitive: Some("std::thread::sleep".to_owned()),
        site: Some(Site {
            function: "chat::flood::throttle".to_owned(),
            file: Some("src/flood.rs".to_owned()),
            line: Some(31),
            column: Some(5),
            recovered: false,
        }),
        task: TaskInfo { kind: "session".to_owned(), spawned_at: Some("src/server.rs:61:9".to_owned()) },
        tasks: vec![TaskShare {
            kind: "session".to_owned(),
            spawned_at: Some("src/server.rs:61:9".to_owned()),
            count: 12,
            total: Duration::from_millis(2_410),
        }],
        count: 12,
        total: Duration::from_millis(2_410),
        max: Duration::from_millis(212),
        ongoing: None,
        split: Split { off_cpu: Duration::from_millis(2_410), ..Split::default() },
        detail: Detail {
            syscall: Some("clock_nanosleep".to_owned()),
            fd: None,
            lock: None,
            waiters: 0,
            holder: None,
        },
        victims: Victims {
            tasks: 37,
            waits: 52,
            delay: Duration::from_millis(4_100),
            driver_held: false,
            has_other_workers: false,
            released: 0,
        },
        advice: "use `tokio::time::sleep(..).await`".to_owned(),
        evidence: Evidence::Stack,
        without_stack: 0,
        sampled_once: 0,
        lower_bounds: 0,
        stack: vec![
            Frame {
                function: "clock_nanosleep".to_owned(),
                file: None,
                line: None,
                column: None,
                kind: FrameKind::Native,
                recovered: false,
            },
            frame(FrameKind::Std, "std::thread::sleep", "library/std/src/thread/mod.rs", (900, 9)),
            frame(FrameKind::Application, "chat::flood::throttle", "src/flood.rs", (31, 5)),
            frame(FrameKind::Application, "chat::session::privmsg", "src/session.rs", (88, 13)),
            frame(FrameKind::Runtime, "tokio::runtime::task::raw::poll", "src/runtime/task/raw.rs", (200, 1)),
        ],
        lines_missing: None,
        first_seen: unix_time::from_nanos(1_700_000_000_500_000_000),
        last_seen: unix_time::from_nanos(1_700_000_060_250_000_000),
    }
}

/// Returns a document with these findings.
#[cfg(any(feature = "diagnostic", feature = "metrics", feature = "prometheus"))]
pub(crate) fn document(findings: Vec<Finding>) -> FindingsDocument {
    FindingsDocument {
        schema: crate::finding::FINDINGS_SCHEMA.to_owned(),
        process: ProcessInfo {
            pid: 4_242,
            program: "/usr/bin/chat".to_owned(),
            loopscope: "0.1.0".to_owned(),
            all_tasks: true,
        },
        threshold: Duration::from_millis(10),
        findings,
        starved: Starved::default(),
        suppressed_reports: 0,
        dropped: 0,
        pending: 0,
        recording: Recording::Full,
        is_paused: false,
    }
}
