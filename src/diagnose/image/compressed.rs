//! Sections that the linker has compressed.

use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::missing::MissingLines;

/// Decompresses a section to memory, and takes its size from `memory_left`.
#[cfg(feature = "compressed-debug-info")]
pub(super) fn decompress(mut bytes: Bytes, memory_left: &mut u64) -> Result<Bytes, MissingLines> {
    use gimli::Reader;
    use object::read::CompressedData;
    use object::{CompressionFormat, elf};

    let header = (|| {
        Ok::<_, gimli::Error>((bytes.read_u32()?, bytes.read_u32()?, bytes.read_u64()?, bytes.read_u64()?))
    })();
    let Ok((kind, _, uncompressed_size, _)) = header else { return Err(MissingLines::Unreadable) };
    let needed = uncompressed_size.saturating_add(bytes.len() as u64);
    *memory_left = memory_left.checked_sub(needed).ok_or(MissingLines::TooLarge)?;
    let format = match kind {
        elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
        elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
        _ => return Err(MissingLines::Unreadable),
    };
    let data = bytes.read_all().map_err(|_| MissingLines::Unreadable)?;
    let contents = CompressedData { format, data: &data, uncompressed_size }.decompress();
    contents.map(|bytes| Bytes::from_memory(bytes.into_owned())).map_err(|_| MissingLines::Unreadable)
}

/// Says that this build reads no compressed section.
#[cfg(not(feature = "compressed-debug-info"))]
pub(super) fn decompress(_: Bytes, _: &mut u64) -> Result<Bytes, MissingLines> {
    Err(MissingLines::Compressed)
}
