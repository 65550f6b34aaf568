//! Finds the return addresses in a copied stack by the unwind tables. The
//! program needs neither frame pointers nor debug information.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framehop::{CacheNative, ExplicitModuleSectionInfo, FrameAddress, Unwinder as _, UnwinderNative};

use crate::capture::modules::{MapsFile, Module, Section, SectionBytes};
use crate::capture::{CopiedStack, call_check, machine, unwind_tables};
#[cfg(feature = "attach")]
use crate::evidence::CodeAddress;
use crate::finding::Evidence;
use crate::process::Process;

/// The maximum number of unwound frames.
const MAX_FRAMES: usize = 256;
/// That of another process: what its thread is follows from the outermost
/// frames, and no other way reads a deeper stack.
const MAX_FRAMES_OF_OTHER: usize = 1024;
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
/// That of another process, whose stack is searched as a whole.
const MAX_RECONSTRUCTION_WALKS_OF_OTHER: u32 = 512;
/// How many frames are read in all these walks. It is not a time, so that the
/// result does not depend on a busy machine.
const MAX_RECONSTRUCTION_STEPS: usize = 1 << 16;
/// How many bytes of the unwind tables are evaluated for one stack. It bounds
/// the time for long entries. With the 80 bytes a frame that are usual in large
/// programs, a whole reconstruction reads a third of this.
const MAX_TABLE_BYTES_READ: usize = 16 << 20;
/// How many calls are checked in one stack.
const MAX_CHECKED_CALLS: usize = 512;
/// How much code at the beginning of a function is read.
const PROLOGUE_BYTES: usize = 48;
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
    /// Whether the tables do not say that the last frame is the first one of a
    /// thread. A walk through stale frames may end at a zero instead.
    has_other_end: bool,
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
    /// How many bytes of the tables may still be read for this stack.
    table_bytes_left: usize,
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
            table_bytes_left: MAX_TABLE_BYTES_READ,
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
        self.table_bytes_left = MAX_TABLE_BYTES_READ;
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
        self.table_bytes_left = MAX_TABLE_BYTES_READ;
        let leaf = self.walk(stack, UNKNOWN_FRAME_POINTER);
        if let Some(exact) = self.walk_by_frame_size(stack, &leaf) {
            return exact;
        }
        let is_own_stack = stack.own_stack.is_none();
        let mut best = None::<(Doubt, Walk)>;
        // What each walk found by the frame pointer.
        let mut found = Vec::new();
        // Whether pairs of frames are callee and caller: the outer ones are the
        // same in nearly all walks.
        let mut known_calls = HashMap::new();
        let (mut walks, mut steps) = (0, 0);
        let (max_search_bytes, max_walks) = match self.process {
            Process::Own => (FRAME_POINTER_SEARCH_BYTES, MAX_RECONSTRUCTION_WALKS),
            Process::Other(_) => (stack.bytes.len(), MAX_RECONSTRUCTION_WALKS_OF_OTHER),
        };
        let candidates = (0..stack.bytes.len().min(max_search_bytes) as u64)
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
            steps += walk.addresses.len();
            if (walk.is_complete || !is_own_stack) && walk.addresses.len() > leaf.addresses.len() {
                let doubt = self.doubt(&walk.addresses, leaf.addresses.len(), &mut known_calls);
                found.push((doubt.has_other_end, walk.addresses[leaf.addresses.len()..].to_vec()));
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
            if walks == max_walks || steps >= MAX_RECONSTRUCTION_STEPS {
                break;
            }
        }
        match best {
            Some((doubt, Walk { addresses, caller_sps, .. })) => {
                // A walk that begins further out leaves frames out. If all
                // others do, none of them contradicts the best one.
                let mut others =
                    found.iter().filter(|(has_other_end, _)| *has_other_end == doubt.has_other_end);
                let mut is_undisputed = || others.all(|(_, other)| addresses.ends_with(other));
                let is_confirmed = is_own_stack && (!doubt.is_unconfirmed || is_undisputed());
                Unwound { addresses, caller_sps, evidence: Evidence::Reconstructed, is_confirmed }
            }
            None => {
                let Walk { addresses, caller_sps, .. } = leaf;
                Unwound { addresses, caller_sps, evidence: Evidence::Leaf, is_confirmed: false }
            }
        }
    }

    /// Walks on from the frame at which a walk has ended, because it needs the
    /// frame pointer: that is as far from the known stack pointer as the first
    /// instructions of the function say. Returns `None` if they do not, or if
    /// the walk does not reach the thread's first frame then.
    fn walk_by_frame_size(&mut self, stack: &CopiedStack, leaf: &Walk) -> Option<Unwound> {
        let needs_frame_pointer = *leaf.addresses.last()?;
        let sp = match leaf.addresses.len().checked_sub(2) {
            Some(callee) => *leaf.caller_sps.get(callee)?,
            None => stack.sp,
        };
        let start = self.function_of(needs_frame_pointer)?.start;
        let frame_bytes = machine::frame_bytes(&self.process.read(start, PROLOGUE_BYTES)?)?;
        let Walk { addresses, caller_sps, is_complete } = self.walk(stack, sp.checked_add(frame_bytes)?);
        let is_whole = is_complete && addresses.last().is_some_and(|last| self.is_first_of_thread(*last));
        // A frame that was made in another way has another size.
        let caller = *addresses.get(leaf.addresses.len())?;
        let is_call = call_check::calls(self.process, &self.modules, caller, needs_frame_pointer);
        (is_whole && is_call != Some(false)).then_some(Unwound {
            addresses,
            caller_sps,
            evidence: Evidence::Stack,
            is_confirmed: true,
        })
    }

    /// Returns how doubtful a walk is whose first `certain` frames do not
    /// depend on the frame pointer.
    fn doubt(
        &mut self,
        addresses: &[u64],
        certain: usize,
        known: &mut HashMap<(u64, u64), Option<bool>>,
    ) -> Doubt {
        let mut is_call = |pair: &[u64]| {
            let key = (pair[0], pair[1]);
            if let Some(known) = known.get(&key) {
                return *known;
            }
            if known.len() >= MAX_CHECKED_CALLS {
                return None;
            }
            let is_call = call_check::calls(self.process, &self.modules, pair[1], pair[0]);
            known.insert(key, is_call);
            is_call
        };
        let mismatches = addresses.windows(2).filter(|pair| is_call(pair) == Some(false)).count();
        // The first frame that was found by the frame pointer must have called
        // the last certain one.
        let last = certain.checked_sub(1).and_then(|last| addresses.get(last..last + 2));
        let is_unconfirmed = last.and_then(is_call) != Some(true);
        let is_first = addresses.last().is_some_and(|address| self.is_first_of_thread(*address));
        Doubt { has_other_end: !is_first, is_unconfirmed, mismatches }
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
        let max_frames = match self.process {
            Process::Own => MAX_FRAMES,
            Process::Other(_) => MAX_FRAMES_OF_OTHER,
        };
        while walk.addresses.len() < max_frames && frame.address_for_lookup() >= LOWEST_CODE_ADDRESS {
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
        self.function_of(address).is_some_and(|function| function.start == start)
    }

    /// Returns the addresses of the function that an address is in.
    fn function_of(&self, address: u64) -> Option<Range<u64>> {
        unwind_tables::function(self.module_of(address)?, address)
    }

    /// Returns whether the unwind tables say that the function at this address
    /// has no caller.
    fn is_first_of_thread(&mut self, address: u64) -> bool {
        let left = &mut self.table_bytes_left;
        module_at(&self.modules, address)
            .and_then(|module| unwind_tables::has_no_caller(module, address, left))
            .unwrap_or(false)
    }

    /// Returns whether to evaluate the unwind tables of another process for
    /// this address may take for ever, or longer than one stack may.
    fn may_not_end(&mut self, address: u64) -> bool {
        let left = &mut self.table_bytes_left;
        module_at(&self.modules, address)
            .is_some_and(|module| unwind_tables::may_not_end(module, address, left))
    }

    /// Returns the module that contains an address.
    pub(crate) fn module_of(&self, address: u64) -> Option<&Module> {
        module_at(&self.modules, address)
    }
}

fn module_at(modules: &[Module], address: u64) -> Option<&Module> {
    modules.iter().find(|module| module.range.contains(&address))
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

    /// To follow the loop would take for ever.
    #[cfg(feature = "attach")]
    #[test]
    fn a_walk_ends_at_a_loop_in_the_tables_of_another_process() {
        use std::sync::mpsc;

        use crate::capture::unwind_tables::tests::{CODE, module_with_loop};

        const TIMEOUT: Duration = Duration::from_secs(20);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut unwinder = Unwinder::new(Process::Other(i32::MAX));
            unwinder.framehop.add_module(to_framehop(&module_with_loop()));
            unwinder.modules = vec![module_with_loop()];
            let stack =
                CopiedStack { ip: CODE + 4, sp: 0x9000, bytes: vec![0; 64], ..CopiedStack::default() };
            let _ = sender.send(unwinder.walk(&stack, UNKNOWN_FRAME_POINTER).addresses);
        });
        assert_eq!(receiver.recv_timeout(TIMEOUT), Ok(vec![CODE + 4]));
    }
}
