//! Turns the evidence of a stall into a diagnosis: cause, line and advice.
//!
//! The functions here are pure: plain data in, plain data out. The exceptions
//! are `symbols` and `image`, which read debug information from files, and the
//! code of this process for `tail_calls`; `tail_calls::source`, which reads a
//! line of source; and `roots`, which keeps the source directories of this
//! process in a static.

mod advice;
#[cfg(stack_capture)]
mod async_parent;
mod call_site;
mod capture_weight;
mod cause;
mod compile_unit;
pub(crate) mod diagnosis;
mod finding_id;
mod forwarding;
#[cfg(stack_capture)]
pub(crate) mod image;
mod lock_holder;
#[cfg(all(test, stack_capture))]
mod mangling_tests;
#[cfg(stack_capture)]
mod merged_functions;
pub(crate) mod names;
mod public_path;
pub(crate) mod roots;
mod shares;
pub(crate) mod stall_part;
mod symbolised_capture;
#[cfg(stack_capture)]
pub(crate) mod symbols;
#[cfg(not(stack_capture))]
#[path = "symbols_none.rs"]
pub(crate) mod symbols;
#[cfg(stack_capture)]
mod tail_calls;
pub(crate) mod verdict;
mod wake;
