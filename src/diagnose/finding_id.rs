//! The id of a finding: the same for the same cause and site in every run.

use crate::diagnose::call_site;
use crate::diagnose::symbolised_capture::SymbolisedCapture;
use crate::finding::Cause;
use crate::fnv::fnv1a;

/// How many return addresses identify a place in a program without symbols:
/// enough for a call through a logger. The outermost of a stack belong to the
/// runtime's loop, which may call the same task in several ways.
const MAX_IDENTIFYING_ADDRESSES: usize = 16;

/// Returns the addresses from the call to the runtime's frame that polls. They
/// are known only where each address is one frame, which is so in programs
/// without line tables.
fn return_addresses(capture: &SymbolisedCapture<'_>) -> Vec<String> {
    // A recovered frame has no address on the stack.
    let stack: Vec<_> = capture.stack.iter().filter(|frame| !frame.recovered).cloned().collect();
    let (stack, addresses) = (&stack, &capture.capture.stack);
    let polling = call_site::polling_index(stack);
    // With lines, the name of the called function is the better place.
    let has_lines = stack.iter().take(polling + 1).any(|frame| frame.file.is_some());
    if stack.len() != addresses.len() || has_lines && capture.call_site.site.is_none() {
        return Vec::new();
    }
    let is_callee = |index: &usize| {
        let frame = &stack[*index];
        capture.call_site.callee.as_ref().is_some_and(|callee| callee.function == frame.function)
    };
    let callee = (0..polling).rev().find(is_callee);
    let has_site = capture.call_site.site.is_some();
    // The innermost address of a computation is a random one.
    let first = callee.unwrap_or(0) + usize::from(callee.is_some() || capture.capture.on_cpu);
    // The own address of a site without a line distinguishes it.
    let last = call_site::site_index(stack).unwrap_or(polling);
    if has_site && capture.cause.is_computation() {
        return Vec::new();
    }
    let identifying = addresses.iter().take(last + 1).skip(first).take(MAX_IDENTIFYING_ADDRESSES);
    let file = |module: &str| module.rsplit('/').next().unwrap_or_default().to_owned();
    identifying.map(|address| format!("{}+{:#x}", file(&address.file.path), address.address)).collect()
}

/// Returns the id for a cause and the place that a capture shows: function and
/// line of the site, else the called function. For a computation the line is
/// left out, because each capture shows another line of the same loop. Where
/// the program has no lines, return addresses tell places apart; they are the
/// same for each run of the same program.
pub(super) fn finding_id(cause: Cause, capture: &SymbolisedCapture<'_>, primitive: Option<&str>) -> String {
    let site = capture.call_site.site.as_ref();
    let function = site.map_or(primitive.unwrap_or("?"), |site| site.function.as_str());
    let line = site.and_then(|site| site.line).filter(|_| !cause.is_computation()).unwrap_or(0);
    let mut text = format!("{cause}|{function}|{line}");
    if site.is_none_or(|site| site.file.is_none()) {
        for address in return_addresses(capture) {
            text.push('|');
            text.push_str(&address);
        }
    }
    format!("{:016x}", fnv1a(text.as_bytes()))
}
