//! From a copied stack to return addresses, with the unwind tables alone: no
//! frame pointers, no debug information.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framehop::{CacheNative, ExplicitModuleSectionInfo, Unwinder as _, UnwinderNative};
use gimli::{BaseAddresses, EhFrame, EhFrameHdr, LittleEndian, UnwindSection};

use crate::capture::modules::{self, Module};
use crate::capture::{CopiedStack, machine};
use crate::finding::Evidence;

/// Frames that are unwound at most.
const MAX_FRAMES: usize = 256;
/// Where a frame pointer is not known: odd, so that reading there fails and
/// unwinding ends instead of going astray.
const NO_FRAME_POINTER: u64 = 1;
/// Where it is not known what the innermost function returns to: no code is
/// there, so that the walk ends.
const NO_LINK: u64 = 2;
/// Below this, nothing is mapped that could be code.
const FIRST_CODE: u64 = 4096;
/// How often the mapped modules are read again at most.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How much of the stack is searched for a frame pointer.
const SEARCHED_BYTES: usize = 8 * 1024;

/// Addresses in the code, innermost first: the first is where the thread is,
/// the others are inside the call instruction that has not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unwound {
    pub(crate) addresses: Vec<u64>,
    pub(crate) evidence: Evidence,
}

/// Unwinds on the thread that owns it.
pub(crate) struct Unwinder {
    framehop: UnwinderNative<Arc<[u8]>, framehop::MayAllocateDuringUnwind>,
    cache: CacheNative<framehop::MayAllocateDuringUnwind>,
    modules: Vec<Module>,
    refreshed: Instant,
}

impl Unwinder {
    pub(crate) fn new() -> Self {
        let mut unwinder = Self {
            framehop: UnwinderNative::new(),
            cache: CacheNative::new(),
            modules: Vec::new(),
            refreshed: Instant::now(),
        };
        unwinder.refresh();
        unwinder
    }

    /// Reads again what is mapped, as libraries may have come and gone.
    fn refresh(&mut self) {
        self.refreshed = Instant::now();
        self.modules = modules::mapped();
        self.framehop = UnwinderNative::new();
        for module in &self.modules {
            self.framehop.add_module(to_framehop(module));
        }
    }

    /// Unwinds a stack whose frame pointer register is known, or, if it is not,
    /// as far as that goes without it.
    pub(crate) fn unwind(&mut self, stack: &CopiedStack) -> Unwound {
        // Code that no file holds, a compiler's at run time, is no reason to
        // read everything again and again.
        let known = self.modules.iter().any(|module| module.holds_code(stack.ip));
        if !known && self.refreshed.elapsed() > REFRESH_EVERY {
            self.refresh();
        }
        let (addresses, rooted) =
            self.walk(stack, stack.registers.map_or(NO_FRAME_POINTER, |all| all.frame_pointer));
        // From registers that are all known, what was walked is true, also
        // where it ends early: in code without tables, or past what was copied.
        let exact = rooted || stack.registers.is_some() && addresses.len() > 2;
        Unwound { addresses, evidence: if exact { Evidence::Stack } else { Evidence::Leaf } }
    }

    /// Unwinds a stack without a frame pointer register, by looking for a place
    /// on it that may be where the register points: with a return address above
    /// it, and from which the walk arrives at the thread's first frame. That is
    /// no proof, as an old frame may lie there, so the result is marked.
    pub(crate) fn reconstruct(&mut self, stack: &CopiedStack) -> Unwound {
        let (leaf, _) = self.walk(stack, NO_FRAME_POINTER);
        let mut best = None::<(usize, Vec<u64>)>;
        let candidates =
            (0..stack.bytes.len().min(SEARCHED_BYTES) as u64).step_by(8).map(|offset| stack.sp + offset);
        for candidate in candidates {
            let returns_to_code = stack
                .word(candidate + 8)
                .is_some_and(|address| self.modules.iter().any(|module| module.holds_code(address)));
            if !returns_to_code {
                continue;
            }
            let (addresses, rooted) = self.walk(stack, candidate);
            if rooted && addresses.len() > leaf.len() {
                let doubts = self.doubts(&addresses);
                if best.as_ref().is_none_or(|(fewest, _)| doubts < *fewest) {
                    best = Some((doubts, addresses));
                }
                if doubts == 0 {
                    break;
                }
            }
        }
        match best {
            Some((_, addresses)) => Unwound { addresses, evidence: Evidence::Reconstructed },
            None => Unwound { addresses: leaf, evidence: Evidence::Leaf },
        }
    }

    /// How many direct calls on the way lead elsewhere than to the function that
    /// is said to have been called: those of a stale frame do, or, now and then,
    /// those of a call in tail position.
    fn doubts(&self, addresses: &[u64]) -> usize {
        let is_doubtful = |pair: &[u64]| {
            let (callee, after_call) = (pair[0], pair[1].wrapping_add(1));
            machine::direct_call_target(after_call).is_some_and(|target| !self.is_within(callee, target))
        };
        addresses.windows(2).filter(|pair| is_doubtful(pair)).count()
    }

    fn walk(&mut self, stack: &CopiedStack, frame_pointer: u64) -> (Vec<u64>, bool) {
        let link = stack.registers.map_or(NO_LINK, |all| all.link);
        let registers = machine::unwind_registers(stack.ip, stack.sp, frame_pointer, link);
        let mut read = |address: u64| {
            let aligned = address.is_multiple_of(8).then_some(address);
            aligned.and_then(|address| stack.word(address)).ok_or(())
        };
        let mut frames = self.framehop.iter_frames(stack.ip, registers, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while addresses.len() < MAX_FRAMES {
            match frames.next() {
                Ok(Some(frame)) if frame.address_for_lookup() >= FIRST_CODE => {
                    addresses.push(frame.address_for_lookup());
                }
                Ok(None) => return (addresses, true),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        (addresses, false)
    }

    /// Whether an address lies in the function that begins at `start`, by the
    /// unwind tables, which even a stripped program has.
    pub(crate) fn is_within(&self, address: u64, start: u64) -> bool {
        self.module_of(address).and_then(|module| function_start(module, address)) == Some(start)
    }

    /// The module that holds an address.
    pub(crate) fn module_of(&self, address: u64) -> Option<&Module> {
        self.modules.iter().find(|module| module.range.contains(&address))
    }
}

fn function_start(module: &Module, address: u64) -> Option<u64> {
    let (hdr, frames) = (module.eh_frame_hdr.as_ref()?, module.eh_frame.as_ref()?);
    let bases = BaseAddresses::default().set_eh_frame_hdr(hdr.range.start).set_eh_frame(frames.range.start);
    let parsed = EhFrameHdr::new(&hdr.bytes, LittleEndian).parse(&bases, 8).ok()?;
    let eh_frame = EhFrame::new(&frames.bytes, LittleEndian);
    let fde = parsed.table()?.fde_for_address(&eh_frame, &bases, address, EhFrame::cie_from_offset).ok()?;
    Some(fde.initial_address())
}

fn to_framehop(module: &Module) -> framehop::Module<Arc<[u8]>> {
    let (hdr, frames) = (module.eh_frame_hdr.as_ref(), module.eh_frame.as_ref());
    let svma = |range: &std::ops::Range<u64>| range.start - module.bias..range.end - module.bias;
    let sections = ExplicitModuleSectionInfo {
        base_svma: module.range.start - module.bias,
        eh_frame_hdr_svma: hdr.map(|section| svma(&section.range)),
        eh_frame_hdr: hdr.map(|section| Arc::clone(&section.bytes)),
        eh_frame_svma: frames.map(|section| svma(&section.range)),
        eh_frame: frames.map(|section| Arc::clone(&section.bytes)),
        ..ExplicitModuleSectionInfo::default()
    };
    framehop::Module::new(module.path.clone(), module.range.clone(), module.range.start, sections)
}
