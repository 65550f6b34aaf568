//! Reads parts of a file through a small cache of its pages.
//!
//! The file is not mapped: if another process truncates a mapped file, reading
//! it kills this process (SIGBUS). A read past the end of a file is an error.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const PAGE_BYTES: u64 = 8 * 1024;
/// The cache holds this many pages: 4 MiB.
const CACHED_PAGES: usize = 512;

/// A file with some of its pages in memory.
#[derive(Debug)]
pub(super) struct PagedFile {
    file: Arc<File>,
    length: u64,
    /// Each page of the file has one place in the cache.
    pages: RefCell<Vec<Page>>,
}

#[derive(Debug, Default)]
struct Page {
    /// The number of the page in the file plus one. Zero if there is none.
    number_plus_one: u64,
    /// Shorter than a page at the end of the file.
    bytes: Vec<u8>,
}

impl PagedFile {
    pub(super) fn new(file: Arc<File>, length: u64) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(CACHED_PAGES, Page::default);
        Self { file, length, pages: RefCell::new(pages) }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `bytes` from a position in the file.
    pub(super) fn read(&self, mut position: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        let mut pages = self.pages.borrow_mut();
        while !bytes.is_empty() {
            let page = self.page(&mut pages, position / PAGE_BYTES)?;
            let available = page.get((position % PAGE_BYTES) as usize..).unwrap_or_default();
            let length = available.len().min(bytes.len());
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (now, later) = bytes.split_at_mut(length);
            now.copy_from_slice(&available[..length]);
            (bytes, position) = (later, position + length as u64);
        }
        Ok(())
    }

    /// Returns the byte at a position in the file.
    pub(super) fn byte(&self, position: u64) -> io::Result<u8> {
        let mut pages = self.pages.borrow_mut();
        let page = self.page(&mut pages, position / PAGE_BYTES)?;
        page.get((position % PAGE_BYTES) as usize).copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Returns the position of a byte in a range of the file.
    pub(super) fn find(&self, byte: u8, mut position: u64, end: u64) -> io::Result<Option<u64>> {
        let mut pages = self.pages.borrow_mut();
        while position < end {
            let page = self.page(&mut pages, position / PAGE_BYTES)?;
            let available = page.get((position % PAGE_BYTES) as usize..).unwrap_or_default();
            let length = available.len().min((end - position).try_into().unwrap_or(usize::MAX));
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(at) = available[..length].iter().position(|one| *one == byte) {
                return Ok(Some(position + at as u64));
            }
            position += length as u64;
        }
        Ok(None)
    }

    fn page<'p>(&self, pages: &'p mut [Page], number: u64) -> io::Result<&'p [u8]> {
        let place = number as usize % CACHED_PAGES;
        let page = &mut pages[place];
        if page.number_plus_one != number + 1 {
            page.number_plus_one = 0;
            page.bytes.resize(PAGE_BYTES as usize, 0);
            let length = read_up_to(&self.file, number * PAGE_BYTES, &mut page.bytes)?;
            page.bytes.truncate(length);
            page.number_plus_one = number + 1;
        }
        Ok(&page.bytes)
    }
}

fn read_up_to(file: &File, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], position + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
