//! A part of a file or of memory, as gimli reads it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::rc::Rc;

use gimli::{LittleEndian, Reader, ReaderOffsetId};

use crate::diagnose::image::paged_file::PagedFile;

/// A string or section that is read as a whole may have this many bytes.
const MAX_WHOLE_BYTES: usize = 16 << 20;

/// Where bytes come from.
pub(super) enum Source {
    File(PagedFile),
    /// The contents of a section that is compressed in its file.
    Memory(Vec<u8>),
}

/// A range of a file or of memory. A clone shares the source.
#[derive(Clone)]
pub(crate) struct Bytes {
    source: Rc<Source>,
    start: usize,
    length: usize,
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.length, self.start)
    }
}

impl Bytes {
    pub(super) fn empty() -> Self {
        Self::from_memory(Vec::new())
    }

    pub(super) fn from_memory(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self { source: Rc::new(Source::Memory(bytes)), start: 0, length }
    }

    /// Returns the whole of a file.
    pub(super) fn from_file(file: PagedFile) -> Self {
        let length = usize::try_from(file.length()).unwrap_or(usize::MAX);
        Self { source: Rc::new(Source::File(file)), start: 0, length }
    }

    /// Returns a part, or `None` if it is not within these bytes.
    pub(super) fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        let is_within = offset.checked_add(length)? <= self.length;
        is_within.then(|| Self { source: Rc::clone(&self.source), start: self.start + offset, length })
    }

    fn read_at(&self, offset: usize, bytes: &mut [u8]) -> gimli::Result<()> {
        let start = self.start + offset;
        match &*self.source {
            Source::File(file) => file.read(start as u64, bytes).map_err(|_| self.end_error()),
            Source::Memory(memory) => {
                bytes.copy_from_slice(memory.get(start..start + bytes.len()).ok_or(self.end_error())?);
                Ok(())
            }
        }
    }

    /// Returns all bytes, however many.
    pub(super) fn read_all(&self) -> gimli::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns all bytes, if they are not too many.
    pub(super) fn whole(&self) -> gimli::Result<Vec<u8>> {
        if self.length > MAX_WHOLE_BYTES {
            return Err(self.end_error());
        }
        self.read_all()
    }

    fn end_error(&self) -> gimli::Error {
        gimli::Error::UnexpectedEof(self.offset_id())
    }
}

impl Reader for Bytes {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.length
    }

    fn empty(&mut self) {
        self.length = 0;
    }

    fn truncate(&mut self, length: usize) -> gimli::Result<()> {
        if length > self.length {
            return Err(self.end_error());
        }
        self.length = length;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.start.saturating_sub(base.start)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.start as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let id = usize::try_from(id.0).ok()?;
        id.checked_sub(self.start).filter(|offset| *offset <= self.length)
    }

    fn find(&self, byte: u8) -> gimli::Result<usize> {
        let end = self.start + self.length.min(MAX_WHOLE_BYTES);
        let found: io::Result<Option<usize>> = match &*self.source {
            Source::File(file) => {
                file.find(byte, self.start as u64, end as u64).map(|at| at.map(|at| at as usize - self.start))
            }
            Source::Memory(memory) => {
                let bytes = memory.get(self.start..end).unwrap_or_default();
                Ok(bytes.iter().position(|one| *one == byte))
            }
        };
        found.ok().flatten().ok_or(self.end_error())
    }

    fn skip(&mut self, length: usize) -> gimli::Result<()> {
        if length > self.length {
            return Err(self.end_error());
        }
        self.start += length;
        self.length -= length;
        Ok(())
    }

    fn split(&mut self, length: usize) -> gimli::Result<Self> {
        let mut first = self.clone();
        first.truncate(length)?;
        self.skip(length)?;
        Ok(first)
    }

    fn to_slice(&self) -> gimli::Result<Cow<'_, [u8]>> {
        self.whole().map(Cow::Owned)
    }

    fn to_string(&self) -> gimli::Result<Cow<'_, str>> {
        String::from_utf8(self.whole()?).map(Cow::Owned).map_err(|_| gimli::Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> gimli::Result<Cow<'_, str>> {
        Ok(Cow::Owned(String::from_utf8_lossy(&self.whole()?).into_owned()))
    }

    fn read_slice(&mut self, bytes: &mut [u8]) -> gimli::Result<()> {
        if bytes.len() > self.length {
            return Err(self.end_error());
        }
        self.read_at(0, bytes)?;
        self.start += bytes.len();
        self.length -= bytes.len();
        Ok(())
    }

    /// Most of the debug information is read by single bytes.
    fn read_u8(&mut self) -> gimli::Result<u8> {
        if self.length == 0 {
            return Err(self.end_error());
        }
        let byte = match &*self.source {
            Source::File(file) => file.byte(self.start as u64).ok(),
            Source::Memory(memory) => memory.get(self.start).copied(),
        };
        let byte = byte.ok_or(self.end_error())?;
        self.start += 1;
        self.length -= 1;
        Ok(byte)
    }
}
