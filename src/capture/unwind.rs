//! Finds the return addresses in a copied stack by the unwind tables. The
//! program needs neither frame pointers nor debug information.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framehop::{CacheNative, ExplicitModuleSectionInfo, FrameAddress, Unwinder as _, UnwinderNative};
use gimli::{
    BaseAddresses, CallFrameInstruction, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry,
    LittleEndian, Operation, UnwindExpression, UnwindSection,
};

use crate::capture::modules::{MapsFile, Module, Section, SectionBytes};
use crate::capture::{CopiedStack, machine};
#[cfg(feature = "attach")]
use crate::evidence::CodeAddress;
use crate::finding::Evidence;
use crate::process::Process;

/// The maximum number of unwound frames.
const MAX_FRAMES: usize = 256;
/// Stands for an unknown frame pointer. The value is odd, so a read at it
/// fails, and unwinding ends instead of following a wrong frame.
const UNKNOWN_FRAME_POINTER: u64 = 1;
/// Stands for an unknown return address of the innermost function. No code is
/// at this address, so the walk ends.
const UNKNOWN_LINK: u64 = 2;
/// No code is mapped below this address.
const LOWEST_CODE_ADDRESS: u64 = 4096;
/// A list of mappings of this length is read for each stack: some thousand
/// mappings. It does not depend on a clock, so a busy machine changes nothing.
const SHORT_LIST_BYTES: usize = 256 * 1024;
/// A longer list is read again after this time, and sooner for code that is not
/// in it. Until then, each module is checked on its own.
const LONG_LIST_PAUSE: Duration = Duration::from_secs(1);
const UNKNOWN_CODE_PAUSE: Duration = Duration::from_millis(100);
/// How many addresses are tried as the frame pointer.
const MAX_RECONSTRUCTION_WALKS: u32 = 128;
/// How many jumps are followed from the target of a call.
const MAX_JUMPS: usize = 3;
/// How many bytes of the stack are searched for a frame pointer.
const FRAME_POINTER_SEARCH_BYTES: usize = 8 * 1024;

/// Code addresses, innermost first. The first is the thread's current position;
/// the others are inside the call instructions that have not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unwound {
    pub(crate) addresses: Vec<u64>,
    /// The stack pointer of the caller of each frame, as it is after the
    /// return. It has no entry for the last frames if they have no caller.
    pub(crate) caller_sps: Vec<u64>,
    pub(crate) evidence: Evidence,
    /// Whether the walk reached the thread's first frame and, if the frame
    /// pointer was searched for, the code confirms the first frame that was
    /// found by it, or no other walk contradicts this one.
    pub(crate) is_confirmed: bool,
}

/// What speaks against a walk from a frame pointer that was searched for. Less
/// compares as less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Doubt {
    /// Whether nothing shows that the frame at the frame pointer has called the
    /// frames whose positions are certain.
    is_unconfirmed: bool,
    /// The number of direct calls whose target is not the function of the next
    /// inner frame. A stale frame causes such a mismatch, and sometimes a tail
    /// call.
    mismatches: usize,
}

/// The frames that one walk over a stack has found.
#[derive(Debug, Default)]
struct Walk {
    addresses: Vec<u64>,
    /// See [`Unwound::caller_sps`].
    caller_sps: Vec<u64>,
    /// Whether the walk reached the thread's first frame.
    is_complete: bool,
}

/// Unwinds copied stacks of a process.
pub(crate) struct Unwinder {
    process: Process,
    framehop: UnwinderNative<SectionBytes, framehop::MayAllocateDuringUnwind>,
    cache: CacheNative<framehop::MayAllocateDuringUnwind>,
    modules: Vec<Module>,
    maps: MapsFile,
    listed_at: Instant,
    /// The length of the list of mappings.
    list_bytes: usize,
}

impl Unwinder {
    /// Creates an unwinder. Opens what it reads later, because there may be no
    /// free descriptor then.
    pub(crate) fn new(process: Process) -> Self {
        Self {
            process,
            framehop: UnwinderNative::new(),
            cache: CacheNative::new(),
            modules: Vec::new(),
            maps: MapsFile::open(process),
            listed_at: Instant::now(),
            list_bytes: 0,
        }
    }

    /// Returns the process whose stacks it unwinds.
    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Reads which modules are mapped, so that the first stack need not wait
    /// for it.
    pub(crate) fn list_modules(&mut self) {
        self.refresh(0);
    }

    /// Returns the address of the first code of the first listed module, which
    /// is the program.
    #[cfg(feature = "attach")]
    pub(crate) fn first_code(&self) -> Option<CodeAddress> {
        let module = self.modules.first()?;
        let address = module.code.first()?.start.wrapping_sub(module.bias);
        Some(CodeAddress { file: Arc::clone(&module.file), address })
    }

    /// Returns whether code or a `static` of a listed module is at the address.
    pub(crate) fn is_in_module(&self, address: u64) -> bool {
        self.modules.iter().any(|module| module.holds(address))
    }

    /// Brings the list of modules up to date: libraries may have been loaded
    /// and unloaded, others of the same path or at the same address. `ip` is
    /// the address that the list is needed for.
    fn refresh(&mut self, ip: u64) {
        let list = if self.is_listing_due(ip) { self.maps.read() } else { None };
        let modules = match &list {
            Some(list) => list.modules(&self.modules),
            // Without a list, for example because no descriptor is free, what
            // is still mapped remains known.
            None => self.modules.iter().filter(|module| module.is_mapped(self.process)).cloned().collect(),
        };
        if let Some(list) = list {
            (self.listed_at, self.list_bytes) = (Instant::now(), list.length());
        }
        let files =
            |modules: &[Module]| modules.iter().map(|module| Arc::as_ptr(&module.file)).collect::<Vec<_>>();
        if files(&modules) == files(&self.modules) {
            return;
        }
        self.modules = modules;
        self.framehop = UnwinderNative::new();
        for module in &self.modules {
            self.framehop.add_module(to_framehop(module));
        }
    }

    fn is_listing_due(&self, ip: u64) -> bool {
        // Code that a compiler made at run time belongs to no file. It must not
        // cause a long listing for each stack.
        let is_known = self.modules.iter().any(|module| module.holds_code(ip));
        let pause = if is_known { LONG_LIST_PAUSE } else { UNKNOWN_CODE_PAUSE };
        self.list_bytes <= SHORT_LIST_BYTES || self.listed_at.elapsed() >= pause
    }

    /// Unwinds a stack. If its frame pointer register is not known, unwinding
    /// ends at the first frame that needs it.
    pub(crate) fn unwind(&mut self, stack: &CopiedStack) -> Unwound {
        self.refresh(stack.ip);
        let Walk { addresses, caller_sps, is_complete } =
            self.walk(stack, stack.registers.map_or(UNKNOWN_FRAME_POINTER, |all| all.frame_pointer));
        // If all registers are known, every found frame is right, even if the
        // walk ends early: in code without tables, or at the end of the copy.
        let is_exact = is_complete || stack.registers.is_some() && addresses.len() > 2;
        let evidence = if is_exact { Evidence::Stack } else { Evidence::Leaf };
        Unwound { addresses, caller_sps, evidence, is_confirmed: is_complete }
    }

    /// Unwinds a stack whose frame pointer register is not known. Searches the
    /// stack for an address that the register may hold: a return address is
    /// above it, and a walk from it reaches the thread's first frame. This is
    /// no proof, because the frame there may be stale, so the result is marked
    /// as [`Evidence::Reconstructed`].
    ///
    /// A walk from another stack than the thread's own seldom reaches that
    /// frame, or seems to reach it at the other stack's end. There the longest
    /// walk counts: one that begins further out leaves frames out.
    pub(crate) fn reconstruct(&mut self, stack: &CopiedStack) -> Unwound {
        let leaf = self.walk(stack, UNKNOWN_FRAME_POINTER);
        let is_own_stack = stack.own_stack.is_none();
        if let Some(walk) = self.walk_from_prologue(stack, &leaf).filter(|_| is_own_stack) {
            let Walk { addresses, caller_sps, .. } = walk;
            return Unwound { addresses, caller_sps, evidence: Evidence::Reconstructed, is_confirmed: true };
        }
        let mut best = None::<(Doubt, Walk)>;
        // What each walk found by the frame pointer.
        let mut found = Vec::new();
        // Whether pairs of frames are callee and caller: the outer ones are the
        // same in nearly all walks.
        let mut known_calls = HashMap::new();
        let mut walks = 0;
        let candidates = (0..stack.bytes.len().min(FRAME_POINTER_SEARCH_BYTES) as u64)
            .step_by(8)
            .map(|offset| stack.sp.wrapping_add(offset));
        for candidate in candidates {
            let returns_to_code = stack
                .word(candidate.wrapping_add(8))
                .is_some_and(|address| self.modules.iter().any(|module| module.holds_code(address)));
            if !returns_to_code {
                continue;
            }
            let walk = self.walk(stack, candidate);
            // The first frame of a thread is in a program or library.
            let is_complete =
                walk.is_complete && walk.addresses.last().is_some_and(|last| self.module_of(*last).is_some());
            if (is_complete || !is_own_stack) && walk.addresses.len() > leaf.addresses.len() {
                let doubt = self.doubt(&walk.addresses, leaf.addresses.len(), &mut known_calls);
                found.push(walk.addresses[leaf.addresses.len()..].to_vec());
                let is_better = |(least, longest): &(Doubt, Walk)| {
                    let is_longer = !is_own_stack && walk.addresses.len() > longest.addresses.len();
                    doubt < *least || doubt == *least && is_longer
                };
                if best.as_ref().is_none_or(is_better) {
                    best = Some((doubt, walk));
                }
                if doubt == Doubt::default() && is_own_stack {
                    break;
                }
            }
            walks += 1;
            if walks == MAX_RECONSTRUCTION_WALKS {
                break;
            }
        }
        match best {
            Some((doubt, Walk { addresses, caller_sps, .. })) => {
                // A walk that begins further out leaves frames out. If all
                // others do, none of them contradicts the best one.
                let is_undisputed = || found.iter().all(|other| addresses.ends_with(other));
                let is_confirmed = is_own_stack && (!doubt.is_unconfirmed || is_undisputed());
                Unwound { addresses, caller_sps, evidence: Evidence::Reconstructed, is_confirmed }
            }
            None => {
                let Walk { addresses, caller_sps, .. } = leaf;
                Unwound { addresses, caller_sps, evidence: Evidence::Leaf, is_confirmed: false }
            }
        }
    }

    /// Unwinds a stack with the frame pointer that follows from the stack
    /// pointer of the outermost frame that is certain: the function there has
    /// set it.
    /// `None` if that walk does not reach the thread's first frame.
    fn walk_from_prologue(&mut self, stack: &CopiedStack, leaf: &Walk) -> Option<Walk> {
        let certain = leaf.addresses.len();
        let ip = *leaf.addresses.last()?;
        let sp = if certain == 1 { stack.sp } else { *leaf.caller_sps.get(certain - 2)? };
        let start = self.module_of(ip).and_then(|module| function_start(module, ip))?;
        let walk = self.walk(stack, machine::frame_pointer(self.process, start, ip, sp)?);
        let last = *walk.addresses.last()?;
        let is_whole = walk.is_complete && walk.addresses.len() > certain && self.module_of(last).is_some();
        is_whole.then_some(walk)
    }

    /// Returns how doubtful a walk is whose first `certain` frames do not
    /// depend on the frame pointer.
    fn doubt(
        &self,
        addresses: &[u64],
        certain: usize,
        known: &mut HashMap<(u64, u64), Option<bool>>,
    ) -> Doubt {
        let mut is_call = |pair: &[u64]| {
            let new = || self.is_call_of_next_frame(pair[1], pair[0]);
            *known.entry((pair[0], pair[1])).or_insert_with(new)
        };
        let mismatches = addresses.windows(2).filter(|pair| is_call(pair) == Some(false)).count();
        // The first frame that was found by the frame pointer must have called
        // the last certain one.
        let last = certain.checked_sub(1).and_then(|last| addresses.get(last..last + 2));
        Doubt { mismatches, is_unconfirmed: last.and_then(is_call) != Some(true) }
    }

    /// Returns whether the call at `caller` is one of the function in which
    /// `callee` is; `None` if the code of the call does not say what it calls.
    fn is_call_of_next_frame(&self, caller: u64, callee: u64) -> Option<bool> {
        let target = machine::direct_call_target(self.process, caller.wrapping_add(1))?;
        let jump = |from: &u64| machine::jump_target(self.process, *from);
        let mut targets = std::iter::successors(Some(target), jump).take(MAX_JUMPS);
        Some(targets.any(|target| self.is_within(callee, target)))
    }

    fn walk(&mut self, stack: &CopiedStack, frame_pointer: u64) -> Walk {
        let link = stack.registers.map_or(UNKNOWN_LINK, |all| all.link);
        let mut registers = machine::unwind_registers(stack.ip, stack.sp, frame_pointer, link);
        let mut read = |address: u64| {
            let aligned = address.is_multiple_of(8).then_some(address);
            aligned.and_then(|address| stack.word(address)).ok_or(())
        };
        let mut walk = Walk::default();
        let mut frame = FrameAddress::from_instruction_pointer(stack.ip);
        while walk.addresses.len() < MAX_FRAMES && frame.address_for_lookup() >= LOWEST_CODE_ADDRESS {
            walk.addresses.push(frame.address_for_lookup());
            if self.process != Process::Own && self.may_not_end(frame.address_for_lookup()) {
                break;
            }
            match self.framehop.unwind_frame(frame, &mut registers, &mut self.cache, &mut read) {
                Ok(Some(return_address)) => {
                    walk.caller_sps.push(registers.sp());
                    let Some(caller) = FrameAddress::from_return_address(return_address) else { break };
                    frame = caller;
                }
                Ok(None) => {
                    walk.is_complete = true;
                    break;
                }
                Err(_) => break,
            }
        }
        walk
    }

    /// Returns whether an address lies in the function that begins at `start`.
    /// This uses the unwind tables, which even a stripped program has.
    pub(crate) fn is_within(&self, address: u64, start: u64) -> bool {
        self.module_of(address).and_then(|module| function_start(module, address)) == Some(start)
    }

    /// Returns whether the unwind tables of another process have a loop for
    /// this address. No compiler writes one, and to follow it may take for
    /// ever.
    fn may_not_end(&self, address: u64) -> bool {
        self.module_of(address).and_then(|module| has_backward_jump(module, address)).unwrap_or(false)
    }

    /// Returns the module that contains an address.
    pub(crate) fn module_of(&self, address: u64) -> Option<&Module> {
        self.modules.iter().find(|module| module.range.contains(&address))
    }
}

fn function_start(module: &Module, address: u64) -> Option<u64> {
    with_description(module, address, |description, _, _| Some(description.initial_address()))
}

/// Returns whether an expression of the tables jumps backward.
fn has_backward_jump(module: &Module, address: u64) -> Option<bool> {
    with_description(module, address, |description, eh_frame, bases| {
        let encoding = description.cie().encoding();
        let jumps_backward = |expression: UnwindExpression<usize>| {
            let Ok(expression) = expression.get(eh_frame) else { return true };
            let mut operations = expression.operations(encoding);
            loop {
                match operations.next() {
                    Ok(Some(Operation::Skip { target } | Operation::Bra { target })) if target < 0 => {
                        return true;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return false,
                    Err(_) => return true,
                }
            }
        };
        for mut instructions in
            [description.cie().instructions(eh_frame, bases), description.instructions(eh_frame, bases)]
        {
            while let Ok(Some(instruction)) = instructions.next() {
                let expression = match instruction {
                    CallFrameInstruction::DefCfaExpression { expression }
                    | CallFrameInstruction::Expression { expression, .. }
                    | CallFrameInstruction::ValExpression { expression, .. } => expression,
                    _ => continue,
                };
                if jumps_backward(expression) {
                    return Some(true);
                }
            }
        }
        Some(false)
    })
}

pub(super) type Tables<'m> = EndianSlice<'m, LittleEndian>;

/// Calls `f` with the entry of the unwind tables for an address.
pub(super) fn with_description<T>(
    module: &Module,
    address: u64,
    f: impl FnOnce(FrameDescriptionEntry<Tables<'_>>, &EhFrame<Tables<'_>>, &BaseAddresses) -> Option<T>,
) -> Option<T> {
    let (hdr, frames) = (module.eh_frame_hdr.as_ref()?, module.eh_frame.as_ref()?);
    let bases = BaseAddresses::default().set_eh_frame_hdr(hdr.range.start).set_eh_frame(frames.range.start);
    let parsed = EhFrameHdr::new(&hdr.bytes, LittleEndian).parse(&bases, 8).ok()?;
    let eh_frame = EhFrame::new(&frames.bytes, LittleEndian);
    let fde = parsed.table()?.fde_for_address(&eh_frame, &bases, address, EhFrame::cie_from_offset).ok()?;
    f(fde, &eh_frame, &bases)
}

fn to_framehop(module: &Module) -> framehop::Module<SectionBytes> {
    let (hdr, frames) = (module.eh_frame_hdr.as_ref(), module.eh_frame.as_ref());
    // An image that lies below the addresses in its file has a bias that wraps.
    let svma = |address: u64| address.wrapping_sub(module.bias);
    let svma_range = |section: &Section| svma(section.range.start)..svma(section.range.end);
    let sections = ExplicitModuleSectionInfo {
        base_svma: svma(module.range.start),
        eh_frame_hdr_svma: hdr.map(svma_range),
        eh_frame_hdr: hdr.map(|section| section.bytes.clone()),
        eh_frame_svma: frames.map(svma_range),
        eh_frame: frames.map(|section| section.bytes.clone()),
        ..ExplicitModuleSectionInfo::default()
    };
    framehop::Module::new(module.file.path.clone(), module.range.clone(), module.range.start, sections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CodeFile;

    /// A prelinked library, for example, is loaded below its own addresses if
    /// those are taken.
    #[test]
    fn an_image_below_its_own_addresses_has_tables() {
        let section =
            |range: std::ops::Range<u64>| Some(Section { range, bytes: SectionBytes::new(vec![0; 64]) });
        let module = Module {
            file: Arc::new(CodeFile::none()),
            bias: 0_u64.wrapping_sub(0x1000),
            range: 0x1_0000..0x2_0000,
            code: Vec::new(),
            loaded: Vec::new(),
            eh_frame_hdr: section(0x1_3000..0x1_3040),
            eh_frame: section(0x1_3040..0x1_3080),
        };
        let mut unwinder = UnwinderNative::<SectionBytes, framehop::MayAllocateDuringUnwind>::new();
        unwinder.add_module(to_framehop(&module));
        let registers = machine::unwind_registers(0x1_1000, 0x9000, 0x9000, UNKNOWN_LINK);
        let mut cache = CacheNative::new();
        let mut read = |_| Err(());
        let mut frames = unwinder.iter_frames(0x1_1000, registers, &mut cache, &mut read);
        assert_eq!(frames.next().ok().flatten().map(|frame| frame.address_for_lookup()), Some(0x1_1000));
        assert!(!matches!(frames.next(), Ok(Some(_))), "the tables are empty");
    }
}
