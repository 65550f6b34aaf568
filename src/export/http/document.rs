//! The document that a rendering writes, in the encoding of the response.

use std::io::{self, BufWriter, ErrorKind, Write};

use axum::http::StatusCode;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::export::http::negotiation::Encoding;
use crate::export::http::response::Failure;

const TOO_LARGE: Failure = Failure::new(
    StatusCode::BAD_REQUEST,
    "The document is too large to be sent in one piece: ask for less of it, or accept gzip.",
);

const NOT_JSON: Failure =
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The document could not be written as JSON.");

/// Collects a document. A text is compressed while it is written, so that the
/// whole of it is never in memory.
pub(crate) struct DocumentWriter(BufWriter<Sink>);

enum Sink {
    Identity(BoundedBytes),
    Gzip(GzEncoder<BoundedBytes>),
}

impl DocumentWriter {
    pub(crate) fn new(encoding: Encoding, max_bytes: usize) -> Self {
        let bytes = BoundedBytes { bytes: Vec::new(), max_bytes };
        let sink = match encoding {
            Encoding::Identity => Sink::Identity(bytes),
            // A higher level costs much more CPU time than it saves bytes.
            Encoding::Gzip => Sink::Gzip(GzEncoder::new(bytes, Compression::fast())),
        };
        Self(BufWriter::new(sink))
    }

    pub(crate) fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let written = serde_json::to_writer(&mut self.0, document);
        written.map_err(|error| if error.is_io() { TOO_LARGE } else { NOT_JSON })
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(|_| TOO_LARGE)
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, Failure> {
        let sink = self.0.into_inner().map_err(|_| TOO_LARGE)?;
        let bounded = match sink {
            Sink::Identity(bytes) => bytes,
            Sink::Gzip(encoder) => encoder.finish().map_err(|_| TOO_LARGE)?,
        };
        let mut bytes = bounded.bytes;
        bytes.shrink_to_fit();
        Ok(bytes)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Identity(sink) => sink.write(bytes),
            Self::Gzip(sink) => sink.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes with a limit on their number. To exceed it is an error, the only one.
struct BoundedBytes {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Write for BoundedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max_bytes {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn written(encoding: Encoding, max_bytes: usize, text: &str) -> Result<Vec<u8>, Failure> {
        let mut document = DocumentWriter::new(encoding, max_bytes);
        document.json(&text)?;
        document.bytes(b"\n")?;
        document.finish()
    }

    #[test]
    fn both_encodings_contain_the_same_document() {
        let text = "finding ".repeat(20_000);
        let plain = written(Encoding::Identity, 1 << 20, &text).unwrap();
        assert_eq!(plain, format!("\"{text}\"\n").into_bytes());
        let compressed = written(Encoding::Gzip, 1 << 20, &text).unwrap();
        assert!(compressed.len() < plain.len() / 10, "{} bytes", compressed.len());
        let mut decompressed = Vec::new();
        GzDecoder::new(&*compressed).read_to_end(&mut decompressed).unwrap();
        assert_eq!(decompressed, plain);
    }

    #[test]
    fn a_document_over_the_limit_is_an_error() {
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let text = "finding ".repeat(200_000);
            let failure = written(encoding, 100, &text).unwrap_err();
            assert_eq!(failure.status, StatusCode::BAD_REQUEST, "{encoding:?}");
        }
    }
}
