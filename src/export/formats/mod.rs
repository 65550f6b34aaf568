//! Writes findings and past polls in the formats of other tools: folded stacks,
//! flame graph, pprof, SARIF and Perfetto.

mod pprof;
pub(crate) mod profile;
pub(crate) mod sarif;
pub(crate) mod trace;
