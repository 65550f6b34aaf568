//! Where a variable of a frame is.

use gimli::{AttributeValue, Evaluation, EvaluationResult, Expression, Location, Reader, Value};

use crate::capture::frames::StackFrame;
use crate::capture::machine;
use crate::diagnose::image::{Bytes, OpenUnit};
use crate::little_endian::u64_at;
use crate::process::Process;

/// The number of operations that say where a variable is.
const MAX_OPERATIONS: u32 = 256;
/// The number of places that are read of one variable.
const MAX_LOCATIONS: usize = 256;
/// How often they need something of the frame.
const MAX_REQUESTS: usize = 64;

/// Where a variable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory, at this address.
    Memory(u64),
    /// It is only this word: in a register, or computed.
    Word(u64),
}

/// What the operations may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    All,
    /// What is the same in the whole function.
    FrameOnly,
}

/// A frame of a stack, with what is needed to find its variables.
#[derive(Debug)]
pub(super) struct Frame<'f> {
    pub(super) process: Process,
    pub(super) unit: &'f OpenUnit,
    pub(super) frame_base: Option<&'f AttributeValue<Bytes>>,
    pub(super) stack: &'f StackFrame,
    /// The address in memory minus the address in the file.
    pub(super) bias: u64,
}

impl Frame<'_> {
    /// Returns where a variable is; `None` if that is not known, or if it is
    /// in several parts.
    pub(super) fn place(&self, location: &AttributeValue<Bytes>) -> Option<Place> {
        match self.evaluate(self.expression(location)?, Needs::All)? {
            Location::Address { address } => Some(Place::Memory(address)),
            Location::Register { register } => self.stack.register(register.0).map(Place::Word),
            Location::Value { value } => word(value).map(Place::Word),
            _ => None,
        }
    }

    /// Returns the addresses in this frame that a pointer is said to have,
    /// wherever in the function that is. They are the same in the whole
    /// function.
    pub(super) fn own_addresses(&self, location: &AttributeValue<Bytes>) -> Vec<u64> {
        let mut expressions = Vec::new();
        if let AttributeValue::Exprloc(expression) = location {
            expressions.push(expression.clone());
        } else if let Ok(Some(mut list)) = self.unit.entries().attr_locations(location.clone()) {
            while let Ok(Some(entry)) = list.next()
                && expressions.len() < MAX_LOCATIONS
            {
                expressions.push(entry.data);
            }
        }
        let address = |expression| match self.evaluate(expression, Needs::FrameOnly)? {
            Location::Value { value } => word(value),
            _ => None,
        };
        let mut addresses: Vec<_> = expressions.into_iter().filter_map(address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Returns the expression that holds at the address of the frame.
    fn expression(&self, location: &AttributeValue<Bytes>) -> Option<Expression<Bytes>> {
        if let AttributeValue::Exprloc(expression) = location {
            return Some(expression.clone());
        }
        let address = self.stack.address.wrapping_sub(self.bias);
        let mut list = self.unit.entries().attr_locations(location.clone()).ok()??;
        while let Some(entry) = list.next().ok()? {
            if (entry.range.begin..entry.range.end).contains(&address) {
                return Some(entry.data);
            }
        }
        None
    }

    fn evaluate(&self, expression: Expression<Bytes>, needs: Needs) -> Option<Location<Bytes>> {
        let mut evaluation = expression.evaluation(self.unit.entries().encoding());
        evaluation.set_max_iterations(MAX_OPERATIONS);
        let mut state = evaluation.evaluate().ok()?;
        for _ in 0..MAX_REQUESTS {
            state = match state {
                EvaluationResult::Complete => return only_piece(evaluation),
                EvaluationResult::RequiresRegister { register, .. }
                    if needs == Needs::All || machine::FRAME_REGISTERS.contains(&register.0) =>
                {
                    let value = self.stack.register(register.0)?;
                    evaluation.resume_with_register(Value::Generic(value)).ok()?
                }
                EvaluationResult::RequiresFrameBase => {
                    evaluation.resume_with_frame_base(self.frame_base()?).ok()?
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    evaluation.resume_with_call_frame_cfa(self.stack.caller_sp?).ok()?
                }
                EvaluationResult::RequiresMemory { address, size: 8, space: None, .. }
                    if needs == Needs::All =>
                {
                    let word = u64_at(&self.process.read(address, 8)?, 0)?;
                    evaluation.resume_with_memory(Value::Generic(word)).ok()?
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    let address = address.wrapping_add(self.bias);
                    evaluation.resume_with_relocated_address(address).ok()?
                }
                // The value that a parameter had at the call is not kept.
                _ => return None,
            };
        }
        None
    }

    fn frame_base(&self) -> Option<u64> {
        // Without a frame's begin, on which its own would rest.
        let frame = Frame { frame_base: None, ..*self };
        match frame.evaluate(frame.expression(self.frame_base?)?, Needs::FrameOnly)? {
            Location::Address { address } => Some(address),
            Location::Register { register } => self.stack.register(register.0),
            Location::Value { value } => word(value),
            _ => None,
        }
    }
}

fn word(value: Value) -> Option<u64> {
    value.to_u64(u64::MAX).ok()
}

/// Returns the place of a value that is in one part.
fn only_piece<R: Reader>(evaluation: Evaluation<R>) -> Option<Location<R>> {
    let mut pieces = evaluation.result().into_iter();
    let piece = pieces.next()?;
    let is_whole = pieces.next().is_none() && piece.size_in_bits.is_none() && piece.bit_offset.is_none();
    is_whole.then_some(piece.location)
}
