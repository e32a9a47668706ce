//! The bytes of a record, for what the parser of CSV does not tell: whether a field was quoted, and the lines that it skipped.

use std::io::{Read, Result};
use std::ops::Range;

/// Bytes that may be kept longer than needed, so that the rest is not moved for each record.
const MOST_SPARE: usize = 1 << 16;

/// A file whose bytes are kept until they are asked for.
pub(super) struct Kept<R> {
    file: R,
    bytes: Vec<u8>,
    /// Where in the file `bytes` begins.
    start: u64,
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl<R> Kept<R> {
    pub(super) fn new(file: R) -> Self {
        Self {
            file,
            bytes: vec![],
            start: 0,
        }
    }

    /// The bytes of a range of the file; those before it are not kept any longer.
    pub(super) fn bytes_of(&mut self, range: Range<u64>) -> &[u8] {
        let place = |at: u64, start: u64| (at.saturating_sub(start)) as usize;
        if place(range.start, self.start) > MOST_SPARE {
            let known = place(range.start, self.start).min(self.bytes.len());
            self.bytes.drain(..known);
            self.start = range.start;
        }
        let end = place(range.end, self.start).min(self.bytes.len());
        &self.bytes[place(range.start, self.start).min(end)..end]
    }
}

/// The ends of lines before the record: of the record before, where its line ends in two bytes, and of empty lines.
pub(super) fn skipped_lines(record: &[u8]) -> u64 {
    let skipped = record
        .iter()
        .take_while(|byte| matches!(byte, b'\n' | b'\r'));
    skipped.filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a field of a record stands in quotes.
pub(super) fn is_quoted(record: &[u8], field: usize, escape: Option<u8>) -> bool {
    let first = record.iter().position(|byte| !b"\n\r".contains(byte));
    let record = &record[first.unwrap_or(record.len())..];
    let mut bytes = record.iter().copied().peekable();
    let (mut place, mut at_start, mut inside) = (0, true, false);
    while let Some(byte) = bytes.next() {
        if at_start && place == field {
            return byte == b'"';
        }
        match byte {
            byte if inside && Some(byte) == escape => drop(bytes.next()),
            // Doubled, it is one of the value's own.
            b'"' if inside => inside = bytes.next_if_eq(&b'"').is_some(),
            b'"' if at_start => inside = true,
            b',' if !inside => {
                place += 1;
                at_start = true;
                continue;
            }
            _ => {}
        }
        at_start = false;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields() {
        let quoted = |record: &[u8], escape| {
            let fields: Vec<usize> = (0..5).filter(|at| is_quoted(record, *at, escape)).collect();
            fields
        };
        assert_eq!(quoted(b"1,\"\",,\"a,\"\"b\"\"\",x\"y\n", None), [1, 3]);
        assert_eq!(quoted(b"\r\n\"a\\\",b\",,\"\"", Some(b'\\')), [0, 2]);
        assert_eq!(quoted(b"\"a\\\",\"b\"", None), [0, 1]);
        assert_eq!(quoted(b"", None), [0_usize; 0]);
    }

    #[test]
    fn bytes_are_kept_until_they_are_asked_for() {
        let text: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let mut kept = Kept::new(&text[..]);
        let mut buffer = vec![0; 8192];
        let mut asked = 0;
        loop {
            let read = kept.read(&mut buffer).unwrap();
            let until = asked + read / 2;
            let range = asked as u64..until as u64;
            assert_eq!(kept.bytes_of(range), &text[asked..until]);
            asked = until;
            if read == 0 {
                break;
            }
        }
        assert!(kept.start > 0 && kept.bytes.len() < text.len());
    }
}
