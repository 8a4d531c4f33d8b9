//! Byte ranges: `Range` on pulls and `Content-Range` on upload chunks.
//!
//! Sources: RFC 9110 section 14; distribution-spec "Pushing a blob in chunks", whose `Content-Range` is
//! `<first>-<last>` without unit. A `bytes ` prefix and a total are tolerated there, as clients send them.

use std::ops::Range;

/// Most ranges one request may ask for; a request for more gets the whole blob.
pub const MAX_RANGES: usize = 16;

/// What a `Range` header asks of content of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// No range, another unit, or more ranges than is sensible: everything.
    Whole,
    /// These parts, each not empty and within the content, in the order asked for.
    Parts(Vec<Range<u64>>),
    /// Malformed, or nothing of it lies within the content.
    Unsatisfiable,
}

/// Reads a `Range` header against content of `size` bytes.
///
/// A malformed byte range is unsatisfiable rather than ignored, as in Distribution.
pub fn requested(header: &str, size: u64) -> Requested {
    let Some((unit, list)) = header.split_once('=') else {
        return Requested::Unsatisfiable;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Requested::Whole;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for item in list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        count += 1;
        if count > MAX_RANGES {
            return Requested::Whole;
        }
        match part(item, size) {
            Ok(Some(range)) => parts.push(range),
            Ok(None) => {}
            Err(Malformed) => return Requested::Unsatisfiable,
        }
    }
    // Wide enough for the sum of many parts of the largest size.
    let total: u128 = parts
        .iter()
        .map(|part| u128::from(part.end - part.start))
        .sum();
    match parts.len() {
        0 => Requested::Unsatisfiable,
        1 => Requested::Parts(parts),
        // Overlapping ranges that add up to more than the blob are a cheap way to make a server work.
        _ if total > u128::from(size) => Requested::Whole,
        _ => Requested::Parts(parts),
    }
}

struct Malformed;

/// One `a-b`, `a-` or `-n`; `None` when it lies outside.
fn part(item: &str, size: u64) -> Result<Option<Range<u64>>, Malformed> {
    let (first, last) = item.split_once('-').ok_or(Malformed)?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let length = number(last)?;
        return Ok((length > 0 && size > 0).then(|| size.saturating_sub(length)..size));
    }
    let first = number(first)?;
    let end = if last.is_empty() {
        size
    } else {
        let last = number(last)?;
        if last < first {
            return Err(Malformed);
        }
        last.saturating_add(1).min(size)
    };
    Ok((first < size).then_some(first..end))
}

fn number(text: &str) -> Result<u64, Malformed> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

/// The place of an upload chunk: both ends inclusive, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

/// A `Content-Range` that is not `<first>-<last>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Content-Range is <first>-<last>, for example 0-1023")]
pub struct ContentRangeError;

impl ContentRange {
    /// Reads `a-b`, `bytes a-b`, `bytes=a-b`, each with or without `/<total>`.
    pub fn parse(header: &str) -> Result<ContentRange, ContentRangeError> {
        let text = header.trim();
        let text = text
            .strip_prefix("bytes")
            .map_or(text, |rest| rest.trim_start_matches([' ', '=']));
        let text = text.split_once('/').map_or(text, |(range, _total)| range);
        let (first, last) = text.split_once('-').ok_or(ContentRangeError)?;
        let end = |text: &str| number(text.trim()).map_err(|_| ContentRangeError);
        let range = ContentRange {
            first: end(first)?,
            last: end(last)?,
        };
        if range.first > range.last {
            Err(ContentRangeError)
        } else {
            Ok(range)
        }
    }

    /// Bytes in the chunk.
    pub fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        use Requested::*;
        let one = |range: Range<u64>| Parts(vec![range]);
        let cases = [
            ("bytes=0-", 10, one(0..10)),
            ("bytes=2-5", 10, one(2..6)),
            ("bytes=2-50", 10, one(2..10)),
            ("bytes=-3", 10, one(7..10)),
            ("bytes=-30", 10, one(0..10)),
            ("bytes=9-9", 10, one(9..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=5-0", 10, Unsatisfiable),
            ("bytes=x", 10, Unsatisfiable),
            ("bytes", 10, Unsatisfiable),
            ("bytes=", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=0-18446744073709551615", 10, one(0..10)),
            ("bytes=0-18446744073709551616", 10, Unsatisfiable),
            ("lines=0-1", 10, Whole),
            ("bytes=0-1, 4-5", 10, Parts(vec![0..2, 4..6])),
            ("bytes=0-1,20-30", 10, one(0..2)),
            ("bytes=0-9,0-9", 10, Whole),
            ("bytes=0-,0-", u64::MAX, Whole),
        ];
        for (header, size, wanted) in cases {
            assert_eq!(requested(header, size), wanted, "{header} of {size}");
        }
        let many = format!("bytes={}", vec!["0-0"; MAX_RANGES + 1].join(","));
        assert_eq!(requested(&many, 100), Whole);
    }

    #[test]
    fn content_ranges() {
        let range = ContentRange { first: 5, last: 9 };
        for header in [
            "5-9",
            "bytes 5-9",
            "bytes=5-9/*",
            "bytes 5-9/100",
            " 5 - 9 ",
        ] {
            assert_eq!(ContentRange::parse(header), Ok(range), "{header}");
        }
        assert_eq!(range.length(), 5);
        for header in [
            "",
            "-",
            "5-",
            "-9",
            "9-5",
            "a-b",
            "5-9-3",
            "bytes */10",
            "+5-9",
        ] {
            assert!(ContentRange::parse(header).is_err(), "{header}");
        }
        assert_eq!(
            ContentRange {
                first: 0,
                last: u64::MAX
            }
            .length(),
            u64::MAX
        );
    }

    proptest! {
        #[test]
        fn parts_lie_within(header in "bytes=[0-9, -]{0,40}", size in any::<u64>()) {
            if let Requested::Parts(parts) = requested(&header, size) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
            }
        }

        #[test]
        fn no_header_panics(header in ".{0,60}", size in any::<u64>()) {
            let _ = requested(&header, size);
            let _ = ContentRange::parse(&header).map(ContentRange::length);
        }
    }
}
