//! What the unwind tables say of a function. Even a stripped program has them.

use std::ops::Range;

use gimli::{
    BaseAddresses, CallFrameInstruction, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice,
    FrameDescriptionEntry, LittleEndian, Operation, ParsedEhFrameHdr, RegisterRule, UnwindContext,
    UnwindExpression, UnwindSection,
};

use crate::capture::modules::Module;
use crate::little_endian::u32_at;

/// A longer entry is not read. The longest one in the compiler of Rust, a file
/// of 150 MB, has 34 KB.
const MAX_ENTRY_BYTES: usize = 128 * 1024;

/// Returns the addresses of the function that an address is in.
pub(super) fn function(module: &Module, address: u64) -> Option<Range<u64>> {
    with_description(module, address, |description, _, _, _| {
        let start = description.initial_address().wrapping_add(module.bias);
        Some(start..start.checked_add(description.len())?)
    })
}

/// Returns whether the function at this address has no caller: it is the first
/// one of a thread. Takes the bytes that it reads from `bytes_left`.
pub(super) fn has_no_caller(module: &Module, address: u64, bytes_left: &mut usize) -> Option<bool> {
    with_description(module, address, |description, eh_frame, bases, address| {
        *bytes_left = bytes_left.checked_sub(entry_bytes(&description))?;
        let mut context = UnwindContext::new();
        let row = description.unwind_info_for_address(eh_frame, bases, &mut context, address).ok()?;
        let return_address = description.cie().return_address_register();
        Some(row.register(return_address) == Some(RegisterRule::Undefined))
    })
}

/// Returns whether the unwind tables for this address have a loop, or more
/// than `bytes_left`. No compiler writes a loop, and to follow it may take for
/// ever. Takes the bytes that it reads from `bytes_left`.
///
/// The entry is the one that framehop evaluates. It need not contain the
/// address. What cannot be read here counts as a loop, in case framehop can.
pub(super) fn may_not_end(module: &Module, address: u64, bytes_left: &mut usize) -> bool {
    // Without a table, framehop evaluates nothing.
    let Some(tables) = Tables::of(module) else { return false };
    let Some(description) = tables.description(address) else { return true };
    let Some(left) = bytes_left.checked_sub(entry_bytes(&description)) else { return true };
    *bytes_left = left;
    has_loop(&description, &tables)
}

/// Returns whether an expression of an entry may jump backward.
fn has_loop(description: &FrameDescriptionEntry<Slice<'_>>, tables: &Tables<'_>) -> bool {
    let Tables { eh_frame, bases, .. } = tables;
    let encoding = description.cie().encoding();
    let jumps_backward = |expression: UnwindExpression<usize>| {
        let Ok(expression) = expression.get(eh_frame) else { return true };
        let mut operations = expression.operations(encoding);
        // Where operations begin, and where the jumps lead. A jump into an
        // operation makes others of its bytes.
        let (mut begins, mut targets) = (Vec::new(), Vec::new());
        loop {
            match operations.next() {
                Ok(Some(Operation::Skip { target } | Operation::Bra { target })) => {
                    let Ok(forward) = usize::try_from(target) else { return true };
                    targets.push(operations.offset_from(&expression) + forward);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return true,
            }
            begins.push(operations.offset_from(&expression));
        }
        targets.iter().any(|target| begins.binary_search(target).is_err())
    };
    let of_both =
        [description.cie().instructions(eh_frame, bases), description.instructions(eh_frame, bases)];
    for mut instructions in of_both {
        while let Ok(Some(instruction)) = instructions.next() {
            let expression = match instruction {
                CallFrameInstruction::DefCfaExpression { expression }
                | CallFrameInstruction::Expression { expression, .. }
                | CallFrameInstruction::ValExpression { expression, .. } => expression,
                _ => continue,
            };
            if jumps_backward(expression) {
                return true;
            }
        }
    }
    false
}

/// Returns how many bytes the entry of a function has, with what it shares with
/// other functions.
fn entry_bytes(description: &FrameDescriptionEntry<Slice<'_>>) -> usize {
    description.entry_len().saturating_add(description.cie().entry_len())
}

type Slice<'m> = EndianSlice<'m, LittleEndian>;

/// Calls `f` with the entry of the unwind tables for an address, and with that
/// address in the file: the tables have such addresses.
pub(super) fn with_description<T>(
    module: &Module,
    address: u64,
    f: impl FnOnce(FrameDescriptionEntry<Slice<'_>>, &EhFrame<Slice<'_>>, &BaseAddresses, u64) -> Option<T>,
) -> Option<T> {
    let tables = Tables::of(module)?;
    let in_file = address.wrapping_sub(module.bias);
    let description = tables.description(address).filter(|description| description.contains(in_file))?;
    f(description, &tables.eh_frame, &tables.bases, in_file)
}

/// The unwind tables of a module, as framehop reads them.
struct Tables<'m> {
    module: &'m Module,
    hdr: ParsedEhFrameHdr<Slice<'m>>,
    eh_frame: EhFrame<Slice<'m>>,
    bases: BaseAddresses,
}

impl<'m> Tables<'m> {
    /// Returns `None` for a module that framehop finds no entries in.
    fn of(module: &'m Module) -> Option<Self> {
        let (hdr, frames) = (module.eh_frame_hdr.as_ref()?, module.eh_frame.as_ref()?);
        let in_file = |address: u64| address.wrapping_sub(module.bias);
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(in_file(hdr.range.start))
            .set_eh_frame(in_file(frames.range.start))
            .set_text(0)
            .set_got(0);
        let hdr = EhFrameHdr::new(&hdr.bytes, LittleEndian).parse(&bases, 8).ok()?;
        let mut eh_frame = EhFrame::new(&frames.bytes, LittleEndian);
        eh_frame.set_address_size(8);
        hdr.table().is_some().then_some(Self { module, hdr, eh_frame, bases })
    }

    /// Returns the entry that the index has for an address, even if the entry
    /// does not contain it.
    fn description(&self, address: u64) -> Option<FrameDescriptionEntry<Slice<'m>>> {
        let Self { module, hdr, eh_frame, bases } = self;
        let in_file = |address: u64| address.wrapping_sub(module.bias);
        // framehop and gimli calculate with these without a check.
        let is_below_module = in_file(address) < in_file(module.range.start);
        let index_bytes = module.eh_frame_hdr.as_ref()?.bytes.len();
        let table = hdr.table()?;
        if is_below_module || table.iter(bases).size_hint().0 > index_bytes {
            return None;
        }
        let pointer = table.lookup(in_file(address), bases).ok()?;
        if pointer.direct().ok()? < hdr.eh_frame_ptr().direct().ok()? {
            return None;
        }
        let offset = table.pointer_to_offset(pointer).ok()?;
        let is_short = |offset: usize| {
            let frames = module.eh_frame.as_ref();
            let bytes = frames.and_then(|frames| u32_at(&frames.bytes, offset));
            bytes.is_some_and(|bytes| bytes as usize <= MAX_ENTRY_BYTES)
        };
        let common = |eh_frame: &EhFrame<Slice<'m>>, bases: &BaseAddresses, offset: EhFrameOffset| {
            if is_short(offset.0) {
                eh_frame.cie_from_offset(bases, offset)
            } else {
                Err(gimli::Error::NoUnwindInfoForAddress)
            }
        };
        if !is_short(offset.0) {
            return None;
        }
        eh_frame.fde_from_offset(bases, offset, common).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capture::modules::{Section, SectionBytes};
    use crate::evidence::CodeFile;

    /// The places of the made-up module, in memory.
    const BIAS: u64 = 0x7F00_0000;
    pub(in crate::capture) const CODE: u64 = BIAS + 0x1000;
    const HDR: u64 = BIAS + 0x3000;
    const FRAMES: u64 = HDR + 0x100;

    /// Addresses in an entry that are those in the file, as they are.
    const ABSOLUTE: u8 = 0;
    /// Addresses in an entry that are relative to their own place.
    const RELATIVE: u8 = 0x10;
    /// An expression that jumps to its begin.
    pub(in crate::capture) const LOOP: [u8; 3] = [0x2F, 0xFD, 0xFF];

    fn entry(contents: &[u8]) -> Vec<u8> {
        [&(contents.len() as u32).to_le_bytes(), contents].concat()
    }

    /// A module with one function, whose stack the instructions describe.
    fn module_with(encoding: u8, instructions: &[u8]) -> Module {
        // Of the registers 7 and 16 at 8 above the stack pointer.
        let common = [0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, encoding, 0x0C, 7, 8, 0x90, 1];
        let mut frames = entry(&common);
        let begin_at = frames.len() as u64 + 8;
        let base = if encoding == RELATIVE { FRAMES - BIAS + begin_at } else { 0 };
        let begin = (CODE - BIAS).wrapping_sub(base).to_le_bytes();
        let to_common = (frames.len() as u32 + 4).to_le_bytes();
        let of_function =
            entry(&[&to_common[..], &begin, &0x100_u64.to_le_bytes(), &[0], instructions].concat());
        let function_at = (FRAMES - HDR) as u32 + frames.len() as u32;
        frames.extend(of_function);
        frames.extend([0; 4]);
        let mut hdr = vec![1, 0x1B, 0x03, 0x3B];
        let begin = CODE.wrapping_sub(HDR) as u32;
        for word in [(FRAMES - HDR - 4) as u32, 1, begin, function_at] {
            hdr.extend(word.to_le_bytes());
        }
        let section = |start: u64, bytes: Vec<u8>| {
            Some(Section { range: start..start + bytes.len() as u64, bytes: SectionBytes::new(bytes) })
        };
        Module {
            file: Arc::new(CodeFile::none()),
            bias: BIAS,
            range: BIAS..BIAS + 0x1_0000,
            code: std::iter::once(CODE..CODE + 0x1000).collect(),
            loaded: Vec::new(),
            eh_frame_hdr: section(HDR, hdr),
            eh_frame: section(FRAMES, frames),
        }
    }

    /// As [`module_with`], with an expression for the stack pointer.
    fn module_of(encoding: u8, expression: &[u8]) -> Module {
        module_with(encoding, &[&[0x0F, expression.len() as u8], expression].concat())
    }

    /// A module with a loop in its tables, whose addresses are those in the
    /// file.
    pub(in crate::capture) fn module_with_loop() -> Module {
        module_of(ABSOLUTE, &LOOP)
    }

    fn ends(module: &Module) -> bool {
        !may_not_end(module, CODE + 4, &mut usize::MAX.clone())
    }

    #[test]
    fn a_function_is_found_by_either_kind_of_address() {
        for encoding in [ABSOLUTE, RELATIVE] {
            let module = module_with(encoding, &[]);
            assert_eq!(function(&module, CODE + 4), Some(CODE..CODE + 0x100), "{encoding:#x}");
            assert_eq!(function(&module, CODE + 0x100), None, "{encoding:#x}");
            assert_eq!(has_no_caller(&module, CODE + 4, &mut usize::MAX.clone()), Some(false));
            assert!(ends(&module));
        }
    }

    #[test]
    fn loops_are_found() {
        /// The number that this instruction pushes is the instruction that
        /// jumps to the begin.
        const NUMBER_THAT_JUMPS: [u8; 7] = [0x2F, 1, 0, 0x0C, 0x2F, 0xF9, 0xFF];
        const FORWARD: [u8; 5] = [0x2F, 1, 0, 0x30, 0x77];
        for encoding in [ABSOLUTE, RELATIVE] {
            assert!(!ends(&module_of(encoding, &LOOP)), "{encoding:#x}");
            assert!(!ends(&module_of(encoding, &[0x31, 0x28, 0xFC, 0xFF])), "{encoding:#x}");
            assert!(!ends(&module_of(encoding, &[&NUMBER_THAT_JUMPS[..], &[0]].concat())), "{encoding:#x}");
            assert!(ends(&module_of(encoding, &[&FORWARD[..], &[8]].concat())), "{encoding:#x}");
            assert!(ends(&module_of(encoding, &[0x77, 8])), "{encoding:#x}");
        }
    }

    #[test]
    fn much_is_not_read() {
        let of_length = |bytes: usize| module_with(RELATIVE, &vec![0; bytes]);
        let long = of_length(MAX_ENTRY_BYTES);
        assert!(!ends(&long));
        assert_eq!(function(&long, CODE + 4), None);
        let short = of_length(1000);
        let mut left = 2500;
        assert!(!may_not_end(&short, CODE + 4, &mut left) && left < 1500);
        assert!(has_no_caller(&short, CODE + 4, &mut left).is_some() && left < 500);
        assert!(may_not_end(&short, CODE + 4, &mut left) && left < 500);
        assert_eq!(has_no_caller(&short, CODE + 4, &mut left), None);
    }

    /// framehop and gimli calculate with these numbers, and panic in a build
    /// with checks.
    #[test]
    fn numbers_that_overflow_are_not_used() {
        let changed = |at: usize, bytes: &[u8]| {
            let mut module = module_with(RELATIVE, &[]);
            let hdr = module.eh_frame_hdr.as_mut().unwrap();
            let mut changed = hdr.bytes.to_vec();
            changed.splice(at..at + bytes.len(), bytes.iter().copied());
            hdr.bytes = SectionBytes::new(changed);
            module
        };
        assert!(ends(&changed(8, &[1])));
        // As many functions as fit in no file, and an entry before the first.
        let many = changed(2, &[0x04]);
        assert!(!ends(&many));
        assert!(!ends(&changed(16, &[0; 4])));
        let mut last = module_with(RELATIVE, &[]);
        last.bias = last.range.start.wrapping_add(0x1000);
        assert!(!ends(&last));
    }

    #[test]
    fn code_without_tables_has_no_loop() {
        let without_sections = Module { eh_frame_hdr: None, eh_frame: None, ..module_with_loop() };
        assert!(ends(&without_sections));
    }
}
