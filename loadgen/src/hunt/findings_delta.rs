//! The difference of two samples of a server's findings.

use loopscope::{Finding, FindingsDocument, TaskShare};

/// Returns the findings of the time between `before` and `after`: those that
/// are new, have more stalls, or have an ongoing stall. The server reports the
/// longest stall of its whole lifetime, so the duration of the longest stall is
/// an upper bound. The number of tasks that waited is a lower bound: a task
/// that also waited before is not counted.
///
/// A server that was restarted in between counts from zero. Its pid alone does
/// not tell: in a container it is the same after a restart. So the caller says
/// whether the server `has_restarted`.
pub(crate) fn between(
    before: &FindingsDocument,
    mut after: FindingsDocument,
    has_restarted: bool,
) -> FindingsDocument {
    if has_restarted || before.process.pid != after.process.pid {
        return after;
    }
    after.findings = after.findings.into_iter().filter_map(|finding| growth(before, finding)).collect();
    after.findings.sort_by_key(|finding| std::cmp::Reverse(finding.total));
    after.starved.count = after.starved.count.saturating_sub(before.starved.count);
    after.starved.total = after.starved.total.saturating_sub(before.starved.total);
    after.suppressed_reports = after.suppressed_reports.saturating_sub(before.suppressed_reports);
    after.dropped = after.dropped.saturating_sub(before.dropped);
    after
}

fn growth(before: &FindingsDocument, mut finding: Finding) -> Option<Finding> {
    let Some(old) = before.findings.iter().find(|old| old.id == finding.id) else { return Some(finding) };
    if finding.count <= old.count && finding.ongoing.is_none() {
        return None;
    }
    finding.count = finding.count.saturating_sub(old.count);
    finding.total = finding.total.saturating_sub(old.total);
    if finding.max <= old.max {
        finding.max = finding.max.min(finding.total);
    }
    finding.split.on_cpu = finding.split.on_cpu.saturating_sub(old.split.on_cpu);
    finding.split.run_queue = finding.split.run_queue.saturating_sub(old.split.run_queue);
    finding.split.off_cpu = finding.split.off_cpu.saturating_sub(old.split.off_cpu);
    finding.split.paused = finding.split.paused.saturating_sub(old.split.paused);
    finding.split.unknown = finding.split.unknown.saturating_sub(old.split.unknown);
    finding.victims.tasks = finding.victims.tasks.saturating_sub(old.victims.tasks);
    finding.victims.waits = finding.victims.waits.saturating_sub(old.victims.waits);
    finding.victims.delay = finding.victims.delay.saturating_sub(old.victims.delay);
    for share in &mut finding.tasks {
        let is_same = |old: &&TaskShare| (&old.kind, &old.spawned_at) == (&share.kind, &share.spawned_at);
        if let Some(old) = old.tasks.iter().find(is_same) {
            share.count = share.count.saturating_sub(old.count);
            share.total = share.total.saturating_sub(old.total);
        }
    }
    finding.tasks.retain(|share| share.count > 0 || !share.total.is_zero());
    finding.tasks.sort_by_key(|share| std::cmp::Reverse(share.total));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(pid: u32, findings: &[(&str, u64, f64, f64)]) -> FindingsDocument {
        let finding = |&(id, count, total, max): &(&str, u64, f64, f64)| {
            json!({
                "id": id, "cause": "sleep", "primitive": null, "site": null,
                "task": {"kind": "session", "spawned_at": null},
                "count": count, "total_seconds": total, "max_seconds": max, "ongoing_seconds": null,
                "split": {"on_cpu_seconds": 0.0, "run_queue_seconds": 0.0, "off_cpu_seconds": total},
                "detail": {"syscall": null, "fd": null, "lock": null},
                "victims": {"tasks": count, "delay_seconds": total},
                "advice": "", "evidence": "none", "stack": [],
                "first_seen_unix_seconds": 0.0, "last_seen_unix_seconds": 0.0,
            })
        };
        serde_json::from_value(json!({
            "schema": loopscope::FINDINGS_SCHEMA,
            "process": {"pid": pid, "program": "p", "loopscope": "0", "all_tasks": true},
            "threshold_seconds": 0.01,
            "findings": findings.iter().map(finding).collect::<Vec<_>>(),
            "starved": {"count": 3, "total_seconds": 1.0},
            "suppressed_reports": 2, "dropped": 1,
        }))
        .expect("a document")
    }

    #[test]
    fn only_findings_that_grew_remain_and_the_longest_comes_first() {
        let before = document(1, &[("a", 5, 1.0, 0.5), ("b", 2, 0.2, 0.1)]);
        let after = document(1, &[("a", 5, 1.0, 0.5), ("b", 4, 0.3, 0.1), ("c", 1, 9.0, 9.0)]);
        let delta = between(&before, after, false);
        let ids: Vec<_> = delta.findings.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!(ids, ["c", "b"]);
        let b = &delta.findings[1];
        assert_eq!((b.count, b.victims.tasks), (2, 2));
        assert!((b.total.as_secs_f64() - 0.1).abs() < 1e-9 && b.max.as_secs_f64() <= 0.1);
        assert_eq!((delta.starved.count, delta.suppressed_reports, delta.dropped), (0, 0, 0));
    }

    #[test]
    fn a_restarted_server_counts_from_zero() {
        let before = document(1, &[("a", 5, 1.0, 0.5)]);
        let after = document(2, &[("a", 5, 1.0, 0.5)]);
        assert_eq!(between(&before, after.clone(), false), after);
        let same_pid = document(1, &[("a", 5, 1.0, 0.5)]);
        assert_eq!(between(&before, same_pid.clone(), true), same_pid);
    }
}
