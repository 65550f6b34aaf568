//! Finds functions that are no longer on the stack because their last call was
//! compiled to a jump.
//!
//! A return address tells which function was called. If the next inner function
//! of the stack is another one, jumps lead from the one to the other. Where
//! only one way leads there, its jumps are the lines that made the calls.

#[cfg(any(target_arch = "aarch64", test))]
mod aarch64;
mod frames;
mod jump;
pub(super) mod recovery;
mod search;
mod source;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
