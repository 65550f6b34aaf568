//! `hunt --minimise`: the smallest load at which each finding appears.
//!
//! The first trial has the lowest load: one command per second, of the first
//! kind in the mix. A finding that appears there needs only connections. Then
//! each kind of command runs alone at the full rate. These trials show which
//! kinds suffice for which findings. If no single kind suffices for a finding,
//! kinds are removed from its mix one after the other, as long as the finding
//! still appears. With the smallest mix, the rate is halved until the finding
//! no longer appears.
//!
//! A finding that appears by chance may be absent from a trial by chance. So
//! the reported rate is the lowest one at which the finding *appeared*,
//! together with the next lower rate that was tried.

use std::collections::BTreeSet;

use crate::plan::{Action, Mix};
use crate::report::MinimalLoad;

/// The lowest rate to try, in commands per second.
const MIN_RATE: f64 = 1.0;

/// Answers which findings appear at a load.
pub(crate) trait LoadProbe {
    /// Runs a trial. Returns the ids of the findings; `None` if a signal has
    /// requested the end.
    ///
    /// # Errors
    ///
    /// If the trial cannot run.
    async fn try_load(&mut self, mix: &Mix, rate: f64) -> anyhow::Result<Option<BTreeSet<String>>>;
}

/// Returns the smallest loads of the findings `ids`, all of which appeared with
/// `mix` at `rate`; `None` if a signal has requested the end.
///
/// # Errors
///
/// If a trial cannot run.
pub(crate) async fn minimise(
    probe: &mut impl LoadProbe,
    ids: &[String],
    mix: &Mix,
    rate: f64,
) -> anyhow::Result<Option<Vec<MinimalLoad>>> {
    let actions: Vec<Action> = mix.entries().iter().map(|&(action, _)| action).collect();
    let Some(&first) = actions.first() else { return Ok(Some(vec![])) };
    let Some(found_at_min_rate) = probe.try_load(&Mix::only(first), MIN_RATE).await? else { return Ok(None) };
    let mut found_alone = Vec::with_capacity(actions.len());
    for &action in &actions {
        let Some(found) = probe.try_load(&Mix::only(action), rate).await? else { return Ok(None) };
        found_alone.push((action, found));
    }
    let mut minimal = Vec::with_capacity(ids.len());
    for id in ids {
        if found_at_min_rate.contains(id) {
            minimal.push(MinimalLoad { id: id.clone(), mix: None, rate: 0.0, not_at: None });
            continue;
        }
        let sufficient = found_alone.iter().find(|(_, found)| found.contains(id));
        let (smallest, appeared) = match sufficient {
            Some(&(action, _)) => (Mix::only(action), true),
            None => remove_kinds(probe, id, mix, rate).await?,
        };
        let (lowest, not_at) =
            if appeared { halve_rate(probe, id, &smallest, rate).await? } else { (rate, None) };
        minimal.push(MinimalLoad { id: id.clone(), mix: Some(smallest.to_string()), rate: lowest, not_at });
    }
    Ok(Some(minimal))
}

/// Removes one kind after the other, as long as the finding appears. Returns
/// the smallest mix, and whether the finding appeared with it. If the finding
/// appeared in no trial, returns `mix` and `false`.
async fn remove_kinds(
    probe: &mut impl LoadProbe,
    id: &str,
    mix: &Mix,
    rate: f64,
) -> anyhow::Result<(Mix, bool)> {
    let (mut smallest, mut appeared) = (mix.clone(), false);
    for &(action, _) in mix.entries() {
        let Some(less) = smallest.without(action) else { continue };
        let Some(found) = probe.try_load(&less, rate).await? else { break };
        if found.contains(id) {
            (smallest, appeared) = (less, true);
        }
    }
    Ok((smallest, appeared))
}

/// Halves the rate. Returns the lowest rate at which the finding appeared, and
/// the rate at which it did not.
async fn halve_rate(
    probe: &mut impl LoadProbe,
    id: &str,
    mix: &Mix,
    rate: f64,
) -> anyhow::Result<(f64, Option<f64>)> {
    let mut lowest = rate;
    while lowest > MIN_RATE {
        let lower = (lowest / 2.0).max(MIN_RATE);
        let Some(found) = probe.try_load(mix, lower).await? else { break };
        if !found.contains(id) {
            return Ok((lowest, Some(lower)));
        }
        lowest = lower;
    }
    Ok((lowest, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose findings are a known function of the load.
    struct Model {
        trials: usize,
    }

    impl LoadProbe for Model {
        async fn try_load(&mut self, mix: &Mix, rate: f64) -> anyhow::Result<Option<BTreeSet<String>>> {
            self.trials += 1;
            let has = |action| mix.contains(action);
            let mut found = BTreeSet::from(["connect".to_owned()]);
            if has(Action::Oper) && rate >= 3.0 {
                found.insert("password".to_owned());
            }
            if has(Action::Join) && has(Action::Names) && rate >= 60.0 {
                found.insert("race".to_owned());
            }
            Ok(Some(found))
        }
    }

    fn run(ids: &[&str]) -> (Vec<MinimalLoad>, usize) {
        let mix: Mix = "privmsg:180,join:6,names:4,oper:2".parse().expect("a mix");
        let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        let mut model = Model { trials: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let minimal = runtime.block_on(minimise(&mut model, &ids, &mix, 200.0)).expect("a model cannot fail");
        (minimal.expect("no signal"), model.trials)
    }

    #[test]
    fn the_smallest_load_of_each_finding_is_found() {
        let (minimal, trials) = run(&["connect", "password", "race"]);
        let [connect, password, race] = &minimal[..] else { panic!("not three loads: {minimal:?}") };
        assert_eq!((connect.mix.as_deref(), connect.rate), (None, 0.0));
        assert_eq!(
            (password.mix.as_deref(), password.rate, password.not_at),
            (Some("oper:1"), 3.125, Some(1.5625))
        );
        assert_eq!(
            (race.mix.as_deref(), race.rate, race.not_at),
            (Some("join:6,names:4"), 100.0, Some(50.0))
        );
        assert!(trials < 25, "{trials} trials");
    }

    #[test]
    fn a_finding_that_does_not_appear_again_keeps_its_load() {
        let (minimal, _) = run(&["once"]);
        assert_eq!(minimal[0].mix.as_deref(), Some("privmsg:180,join:6,names:4,oper:2"));
        assert_eq!((minimal[0].rate, minimal[0].not_at), (200.0, None));
    }
}
