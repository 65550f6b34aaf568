//! The task kinds of a finding's stalls, and what each of them contributes.

use std::collections::HashMap;
use std::time::Duration;

use crate::finding::{TaskInfo, TaskShare};

/// The maximum number of kinds that are kept apart.
const MAX_KINDS: usize = 64;
/// The maximum number of kinds that a finding shows, with `other`.
const MAX_SHOWN: usize = 16;
/// The name under which the stalls of further kinds are added up.
const OTHER: &str = "other";

/// The number and time of stalls for each task kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskShares {
    kinds: HashMap<TaskInfo, (u64, Duration)>,
    other: (u64, Duration),
}

impl TaskShares {
    /// Notes that a stall was in a task of this kind.
    pub(crate) fn add_kind(&mut self, task: &TaskInfo) {
        if self.kinds.len() < MAX_KINDS && !self.kinds.contains_key(task) {
            self.kinds.insert(task.clone(), Default::default());
        }
    }

    /// Adds a stall.
    pub(crate) fn add(&mut self, task: &TaskInfo, time: Duration) {
        self.add_kind(task);
        let (count, total) = self.kinds.get_mut(task).unwrap_or(&mut self.other);
        *count += 1;
        *total += time;
    }

    pub(crate) fn has_kind(&self, kind: &str) -> bool {
        self.kinds.keys().any(|task| task.kind == kind)
    }

    /// Returns the kinds with the most time, the largest first. The rest is
    /// added up as the last one.
    pub(crate) fn largest(&self) -> Vec<TaskShare> {
        let share = |(task, (count, total)): (&TaskInfo, &(u64, Duration))| TaskShare {
            kind: task.kind.clone(),
            spawned_at: task.spawned_at.clone(),
            count: *count,
            total: *total,
        };
        let mut shares: Vec<_> = self.kinds.iter().filter(|(_, (count, _))| *count > 0).map(share).collect();
        shares.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.kind.cmp(&b.kind)));
        let (mut count, mut total) = self.other;
        if shares.len() > MAX_SHOWN || count > 0 {
            // A kind may have the name of the rest: it is a part of the rest.
            let (named_other, named): (Vec<_>, Vec<_>) =
                shares.into_iter().partition(|share| share.kind == OTHER);
            shares = named;
            for share in named_other {
                count += share.count;
                total += share.total;
            }
            for share in shares.split_off(shares.len().min(MAX_SHOWN - 1)) {
                count += share.count;
                total += share.total;
            }
            shares.push(TaskShare { kind: OTHER.to_owned(), spawned_at: None, count, total });
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: usize) -> TaskInfo {
        TaskInfo { kind: format!("k{kind:03}"), spawned_at: None }
    }

    #[test]
    fn the_kinds_with_the_most_time_come_first_and_no_stall_is_left_out() {
        let mut shares = TaskShares::default();
        for kind in 0..MAX_KINDS + 10 {
            for _ in 0..2 {
                shares.add(&task(kind), Duration::from_millis(1 + kind as u64));
            }
        }
        let largest = shares.largest();
        assert_eq!(largest.len(), MAX_SHOWN);
        assert_eq!((largest[0].kind.as_str(), largest[0].count), ("k063", 2));
        assert_eq!(largest.last().unwrap().kind, OTHER);
        let kinds = MAX_KINDS as u64 + 10;
        assert_eq!(largest.iter().map(|share| share.count).sum::<u64>(), 2 * kinds);
        let total = largest.iter().map(|share| share.total).sum::<Duration>();
        assert_eq!(total, Duration::from_millis(kinds * (kinds + 1)));
        assert!(shares.has_kind("k000") && !shares.has_kind("k070"));
    }

    #[test]
    fn a_kind_with_the_name_of_the_rest_is_part_of_the_rest() {
        let mut shares = TaskShares::default();
        let named_other = TaskInfo { kind: OTHER.to_owned(), spawned_at: None };
        shares.add(&named_other, Duration::from_secs(1));
        for kind in 0..MAX_SHOWN {
            shares.add(&task(kind), Duration::from_millis(1));
        }
        let largest = shares.largest();
        assert_eq!(largest.len(), MAX_SHOWN);
        assert_eq!(largest.iter().filter(|share| share.kind == OTHER).count(), 1);
        let rest = largest.last().unwrap();
        assert_eq!((rest.count, rest.total), (2, Duration::from_millis(1_001)));
    }

    #[test]
    fn few_kinds_have_no_other() {
        let mut shares = TaskShares::default();
        shares.add_kind(&task(1));
        assert_eq!(shares.largest(), []);
        for kind in 0..MAX_SHOWN {
            shares.add(&task(kind), Duration::from_millis(1));
        }
        assert!(shares.largest().iter().all(|share| share.kind != OTHER));
    }
}
