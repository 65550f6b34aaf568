//! Writes the families of the application's registry beside loopscope's: under
//! their own names, and valid in both formats, whatever was registered.
//!
//! The sample names are the same in both formats, so that a query holds for
//! both. Where OpenMetrics does not permit a type with these names or values,
//! or where two families share a name, only the type is given up: the samples
//! become families without a type, one for each sample name.

mod names;
mod samples;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prometheus::proto::MetricFamily;

use crate::export::metrics::application::names::{own_reserved_names, own_sample_names};
use crate::export::metrics::application::samples::{Family, FamilyType, Sample, read_families};
use crate::export::metrics::catalogue::Metric;
use crate::export::metrics::text::{self, TextFormat};

/// The application's metrics as text.
#[derive(Debug, Default)]
pub(crate) struct ApplicationText {
    pub(crate) text: String,
    /// The names of loopscope's metrics that are written without their type,
    /// because the application uses a name that OpenMetrics reserves for them.
    pub(crate) own_without_type: BTreeSet<&'static str>,
    /// What is left out and why, one sentence each.
    pub(crate) omissions: Vec<String>,
}

/// Writes `families`. `own` has loopscope's metrics, which come first in the
/// exposition. The registry may contain loopscope's collector too: its
/// families are left out, because a family may occur only once.
pub(crate) fn write(
    mut families: Vec<MetricFamily>,
    own: &[&'static Metric],
    format: TextFormat,
) -> ApplicationText {
    let mut out = ApplicationText::default();
    families.retain(|family| !own.iter().any(|own| own.name == family.name() && own.help == family.help()));
    let mut families = read_families(families);
    families.retain(|family| {
        let is_ours = own.iter().any(|own| own.name == family.name);
        if is_ours {
            out.omissions.push(format!("{} is left out: loopscope has a metric of this name", family.name));
        }
        !is_ours
    });
    let sample_names = own_sample_names(own);
    let reserved_names = own_reserved_names(own, format);
    let is_own = |name: &str| sample_names.contains(name) || reserved_names.contains_key(name);
    remove_invalid_types(&mut families, format);
    remove_clashing_types(&mut families, format, is_own);
    for (name, block) in blocks(families) {
        if sample_names.contains(&name) {
            out.omissions.push(format!("{name} is left out: a metric of loopscope has samples of this name"));
            continue;
        }
        if let Some(own) = reserved_names.get(&name) {
            out.own_without_type.insert(own);
        }
        block.write(&mut out.text, &name, format);
    }
    out
}

/// Removes the types whose names or values the format does not permit. Parsers
/// of both formats take the suffix from the name of a counter.
fn remove_invalid_types(families: &mut [Family], format: TextFormat) {
    let is_openmetrics = format == TextFormat::OpenMetrics;
    for family in families {
        if family.name == "_total" || is_openmetrics && !family.is_valid_in_openmetrics() {
            family.kind = FamilyType::Untyped;
        }
    }
}

/// Removes types until no name belongs to two families: a family without a type
/// has no other names than those of its samples.
fn remove_clashing_types(families: &mut [Family], format: TextFormat, is_own: impl Fn(&str) -> bool) {
    loop {
        let mut users = HashMap::<String, Vec<usize>>::new();
        for (index, family) in families.iter().enumerate() {
            for name in family.names(format) {
                users.entry(name).or_default().push(index);
            }
        }
        let clashing = users.into_iter().filter(|(name, users)| users.len() > 1 || is_own(name));
        let clashing: BTreeSet<_> = clashing.flat_map(|(_, users)| users).collect();
        let mut has_changed = false;
        for index in clashing {
            let kind = &mut families[index].kind;
            if kind.has_several_names(format) {
                *kind = FamilyType::Untyped;
                has_changed = true;
            }
        }
        if !has_changed {
            return;
        }
    }
}

/// What stands below one `# TYPE` line.
struct Block {
    help: String,
    kind: FamilyType,
    samples: Vec<Sample>,
}

/// Returns the blocks by name. Samples of one name are in one block.
fn blocks(families: Vec<Family>) -> BTreeMap<String, Block> {
    let mut blocks = BTreeMap::<String, Block>::new();
    let mut add = |name: String, help: &str, kind, samples: Vec<Sample>| match blocks.get_mut(&name) {
        Some(block) => {
            block.kind = FamilyType::Untyped;
            block.samples.extend(samples);
        }
        None => {
            blocks.insert(name, Block { help: help.to_owned(), kind, samples });
        }
    };
    for Family { name, help, kind, samples } in families {
        if kind != FamilyType::Untyped {
            add(name, &help, kind, samples);
            continue;
        }
        let mut by_name = BTreeMap::<String, Vec<Sample>>::new();
        for sample in samples {
            by_name.entry(sample.name.clone()).or_default().push(sample);
        }
        for (name, samples) in by_name {
            add(name, &help, kind, samples);
        }
    }
    blocks
}

impl Block {
    /// Appends the block. Of samples of the same series, the first is written.
    fn write(&self, text: &mut String, name: &str, format: TextFormat) {
        let head = self.kind.head_name(name, format);
        if !self.help.is_empty() {
            text::push_all(text, &["# HELP ", head, " "]);
            text::write_escaped(text, &self.help, format == TextFormat::OpenMetrics);
            text.push('\n');
        }
        text::push_all(text, &["# TYPE ", head, " ", self.kind.as_str(format), "\n"]);
        let mut written = HashSet::new();
        for sample in self.samples.iter().filter(|sample| written.insert((&sample.name, &sample.labels))) {
            sample.write(text, format);
        }
    }
}

#[cfg(test)]
mod tests;
