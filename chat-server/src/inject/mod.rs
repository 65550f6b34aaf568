//! `--inject`: mistakes on demand.
//!
//! `flag` reads the values of the flag, `spec` reads one value, and `mistake`
//! decides at each call whether the mistake is made. The mistakes themselves
//! are in [`services`](crate::services): each service has a `right` way, which
//! is the default, and a `wrong` function, which `--inject` turns on.

pub(crate) mod flag;
pub(crate) mod mistake;
pub(crate) mod spec;
