//! Reads many short pieces of memory with few system calls.

use std::ops::Range;

use crate::process::{self, Process};
use crate::tasks::memory::Memory;

/// Pieces that are at most this far apart are copied as one: to copy the gap
/// takes the kernel less time than a further piece.
const MAX_GAP_BYTES: u64 = 2048;
/// The size of what is copied as one, if it is more than one piece.
const MAX_SPAN_BYTES: u64 = 64 * 1024;
/// What is copied at once, if it is more than one span.
const MAX_SPANS: usize = 512;
const MAX_BYTES: usize = 4 << 20;

/// Some pieces that are close to each other.
struct Span {
    begin: u64,
    length: usize,
    pieces: Range<usize>,
}

/// Reads pieces of a process's memory, as `read` does.
pub(crate) fn read_of_process(
    process: Process,
    pieces: &[(u64, usize)],
    each: impl FnMut(usize, Option<&[u8]>),
) {
    read(&process, pieces, each);
}

/// Reads pieces of memory, each with its address and its length. Calls `each`
/// once with the index and the bytes of each piece: `None` if it cannot be
/// read. Neighbours are read together if they follow each other in the list.
pub(super) fn read(
    memory: &impl Memory,
    pieces: &[(u64, usize)],
    mut each: impl FnMut(usize, Option<&[u8]>),
) {
    let spans = spans(pieces);
    let mut buffer = Vec::new();
    let mut at = 0;
    while let Some(rest) = spans.get(at..).filter(|rest| !rest.is_empty()) {
        let mut length = 0;
        let fits = |span: &&Span| {
            length += span.length;
            length == span.length || length <= MAX_BYTES
        };
        let batch: Vec<_> = rest.iter().take(MAX_SPANS).take_while(fits).collect();
        let entries: Vec<_> = batch.iter().map(|span| (span.begin as usize, span.length)).collect();
        process::wipe(&mut buffer);
        buffer.resize(entries.iter().map(|(_, length)| length).sum(), 0_u8);
        let read = memory.read_pieces(&entries, &mut buffer).min(buffer.len());
        let mut bytes = buffer.get(..read).unwrap_or_default();
        for span in batch {
            at += 1;
            if let Some((copied, others)) = bytes.split_at_checked(span.length) {
                bytes = others;
                for index in span.pieces.clone() {
                    each(index, pieces.get(index).and_then(|piece| within(span, copied, piece)));
                }
            } else {
                // This one ended the call. One of its pieces may still be read.
                for index in span.pieces.clone() {
                    let Some((address, length)) = pieces.get(index) else { continue };
                    let mut piece = vec![0; *length];
                    let is_read = memory.read_into(*address, &mut piece) == *length;
                    each(index, is_read.then_some(piece.as_slice()));
                    process::wipe(&mut piece);
                }
                break;
            }
        }
    }
    process::wipe(&mut buffer);
}

fn within<'c>(span: &Span, copied: &'c [u8], (address, length): &(u64, usize)) -> Option<&'c [u8]> {
    let offset = usize::try_from(address.checked_sub(span.begin)?).ok()?;
    copied.get(offset..offset.checked_add(*length)?)
}

fn spans(pieces: &[(u64, usize)]) -> Vec<Span> {
    let mut spans = Vec::<Span>::new();
    for (at, (address, length)) in pieces.iter().enumerate() {
        let end = address.saturating_add(*length as u64);
        if let Some(last) = spans.last_mut() {
            let last_end = last.begin.saturating_add(last.length as u64);
            let is_near = (last.begin..=last_end.saturating_add(MAX_GAP_BYTES)).contains(address);
            let new_end = end.max(last_end);
            if is_near && new_end - last.begin <= MAX_SPAN_BYTES {
                last.length = (new_end - last.begin) as usize;
                last.pieces.end = at + 1;
                continue;
            }
        }
        spans.push(Span { begin: *address, length: *length, pieces: at..at + 1 });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is read of pieces, each with its offset in `memory`.
    fn read_at(memory: &[u8], pieces: &[(u64, usize)]) -> Vec<Option<Vec<u8>>> {
        let begin = memory.as_ptr().addr() as u64;
        let pieces: Vec<_> = pieces.iter().map(|(at, length)| (begin.wrapping_add(*at), *length)).collect();
        let mut read = Vec::new();
        super::read(&Process::Own, &pieces, |at, bytes| {
            assert_eq!(at, read.len());
            read.push(bytes.map(<[u8]>::to_vec));
        });
        read
    }

    #[test]
    fn pieces_are_read_whatever_their_order_and_distance() {
        let memory: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let pieces = [
            (0, 8),
            (100, 8),
            (104, 16),
            (100_000, 300),
            (99_990, 8),
            (5, 0),
            (199_990, 10),
            (0, 70_000),
            (70_001, 1),
        ];
        let expected = pieces.map(|(at, length)| Some(memory[at as usize..][..length].to_vec()));
        assert_eq!(read_at(&memory, &pieces), expected);
        let many: Vec<_> = (0..20_000).map(|at| (at * 7 % 190_000, 5)).collect();
        let expected: Vec<_> =
            many.iter().map(|(at, _)| Some(memory[*at as usize..][..5].to_vec())).collect();
        assert_eq!(read_at(&memory, &many), expected);
    }

    #[test]
    fn a_piece_that_cannot_be_read_does_not_take_others_with_it() {
        let memory = [1_u8, 2, 3, 4];
        let begin = memory.as_ptr().addr() as u64;
        let zero_page = 0_u64.wrapping_sub(begin);
        let at_end = u64::MAX.wrapping_sub(begin);
        let pieces = [(0, 1), (zero_page + 16, 8), (1, 2), (at_end, 8), (3, 1), (zero_page + 8, 1)];
        let expected = [Some(vec![1]), None, Some(vec![2, 3]), None, Some(vec![4]), None];
        assert_eq!(read_at(&memory, &pieces), expected);
    }

    #[test]
    fn neighbours_are_one_span_up_to_a_limit() {
        let pieces: Vec<_> = (0..1000).map(|at| (0x1000 + 512 * at, 64)).collect();
        let spans = spans(&pieces);
        assert_eq!(spans.len(), 8);
        assert!(spans.iter().all(|span| span.length as u64 <= MAX_SPAN_BYTES));
    }
}
