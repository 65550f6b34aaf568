//! The frames of functions that a jump has removed from the stack.

use std::sync::Arc;

use crate::finding::Frame;

/// The symbols of one tail call.
#[derive(Debug)]
pub(super) struct SymbolisedCall {
    /// The frames at each of the jumps, innermost first; empty if the function
    /// is unknown.
    pub(super) jumps: Vec<Arc<[Frame]>>,
    /// Whether the function may have been merged with a different one, so that
    /// its name and line may be wrong.
    pub(super) is_doubtful: bool,
}

/// Returns the frames of the tail calls, innermost first. The calls are given
/// outermost first; they lead to the function `on_stack`.
///
/// A function that may be another one is left out: its caller is then the
/// innermost that is certain.
pub(super) fn recovered(calls: &[SymbolisedCall], on_stack: &str) -> Vec<Frame> {
    let mut recovered = Vec::new();
    let mut callee = on_stack;
    for call in calls.iter().rev() {
        let frames = at_any_of(&call.jumps);
        let Some(function) = frames.last() else { continue };
        // Rare code that lies apart belongs to the function that jumps there.
        let is_part = is_same_function(&function.function, callee);
        callee = call.jumps.first().and_then(|frames| frames.last()).map_or("", |frame| &frame.function);
        if !call.is_doubtful && !is_part {
            recovered.extend(frames.into_iter().map(|frame| Frame { recovered: true, ..frame }));
        }
    }
    recovered
}

/// Returns what is certain if one of several jumps was taken. All of them are
/// in one function.
fn at_any_of(jumps: &[Arc<[Frame]>]) -> Vec<Frame> {
    let Some((first, others)) = jumps.split_first() else { return Vec::new() };
    let mut certain = first.to_vec();
    for other in others {
        let is_alike = certain.len() == other.len()
            && certain
                .iter()
                .zip(&**other)
                .all(|(one, other)| one.function == other.function && one.file == other.file);
        if !is_alike {
            // Calls are inlined at one of the jumps only: the function around
            // them is certain.
            certain.drain(..certain.len().saturating_sub(1));
        }
        for (one, other) in certain.iter_mut().rev().zip(other.iter().rev()) {
            if (one.line, one.column) != (other.line, other.column) {
                one.column = None;
            }
            if one.line != other.line {
                one.line = None;
            }
        }
    }
    certain
}

/// Returns whether two names are of one function or of parts of it.
fn is_same_function(one: &str, other: &str) -> bool {
    let whole = |name: &str| name.split(".cold").next().unwrap_or_default().to_owned();
    whole(one) == whole(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::FrameKind;

    fn frame(function: &str, line: u32) -> Frame {
        Frame {
            function: function.to_owned(),
            file: Some("src/a.rs".to_owned()),
            line: (line > 0).then_some(line),
            column: None,
            kind: FrameKind::Application,
            recovered: false,
        }
    }

    fn call(jumps: &[&[Frame]]) -> SymbolisedCall {
        SymbolisedCall { jumps: jumps.iter().map(|frames| Arc::from(*frames)).collect(), is_doubtful: false }
    }

    fn lines(calls: &[SymbolisedCall]) -> Vec<(String, Option<u32>)> {
        let frames = recovered(calls, "std::thread::sleep");
        assert!(frames.iter().all(|frame| frame.recovered));
        frames.into_iter().map(|frame| (frame.function, frame.line)).collect()
    }

    fn known(function: &str, line: u32) -> (String, Option<u32>) {
        (function.to_owned(), (line > 0).then_some(line))
    }

    #[test]
    fn the_frames_of_a_chain_are_innermost_first() {
        let chain = [call(&[&[frame("inlined", 4), frame("outer", 9)]]), call(&[&[frame("inner", 2)]])];
        assert_eq!(lines(&chain), [known("inner", 2), known("inlined", 4), known("outer", 9)]);
    }

    #[test]
    fn two_jumps_at_one_line_are_certain() {
        let twice = [call(&[&[frame("helper", 4)], &[frame("helper", 4)]])];
        assert_eq!(lines(&twice), [known("helper", 4)]);
    }

    #[test]
    fn two_jumps_at_different_lines_leave_the_function() {
        let branches = [call(&[&[frame("helper", 4)], &[frame("helper", 6)]])];
        assert_eq!(lines(&branches), [known("helper", 0)]);
        let in_one_inlined_function =
            [call(&[&[frame("wait", 2), frame("helper", 4)], &[frame("wait", 2), frame("helper", 6)]])];
        assert_eq!(lines(&in_one_inlined_function), [known("wait", 2), known("helper", 0)]);
        let in_different_ones = [call(&[&[frame("wait", 2), frame("helper", 4)], &[frame("helper", 6)]])];
        assert_eq!(lines(&in_different_ones), [known("helper", 0)]);
    }

    #[test]
    fn a_function_that_may_be_another_one_is_left_out() {
        let merged = SymbolisedCall { is_doubtful: true, ..call(&[&[frame("twin", 2)]]) };
        assert_eq!(lines(&[call(&[&[frame("outer", 9)]]), merged]), [known("outer", 9)]);
    }

    #[test]
    fn parts_of_one_function_are_one_frame() {
        let part = [call(&[&[frame("helper", 4)]]), call(&[&[frame("helper.cold", 5)]])];
        assert_eq!(lines(&part), [known("helper.cold", 5)]);
        assert_eq!(recovered(&part[..1], "helper.cold.12"), []);
    }

    #[test]
    fn an_unknown_function_has_no_frame() {
        assert_eq!(lines(&[call(&[&[]])]), []);
        assert_eq!(lines(&[call(&[&[frame("outer", 9)]]), call(&[&[]])]), [known("outer", 9)]);
    }
}
