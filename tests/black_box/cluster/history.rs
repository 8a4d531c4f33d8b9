//! Whether what clients saw of one tag can be told as if each request happened at one moment between its beginning
//! and its end (linearizability), by the search of Wing and Gong with the memory of Lowe.

use std::collections::HashSet;

/// A request of one tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// When it began; any clock that all requests share.
    pub(super) begun: u64,
    /// When its answer came. Nothing for a write whose answer was lost: it may have happened at any time since, or
    /// never.
    pub(super) answered: Option<u64>,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The tag was set to this, or deleted.
    Write(Option<u64>),
    /// The tag was seen at this, or absent.
    Read(Option<u64>),
}

/// Whether there is an order of the requests that explains all answers, beginning without the tag.
pub(super) fn is_linearizable(requests: &[Request]) -> bool {
    let mut search = Search {
        requests,
        done: vec![0; requests.len().div_ceil(64)],
        seen: HashSet::new(),
    };
    search.explain(None)
}

struct Search<'a> {
    requests: &'a [Request],
    /// A bit for each request that has its moment.
    done: Vec<u64>,
    seen: HashSet<(Vec<u64>, Option<u64>)>,
}

impl Search<'_> {
    fn explain(&mut self, value: Option<u64>) -> bool {
        let open: Vec<usize> = (0..self.requests.len())
            .filter(|index| self.done[index / 64] & (1 << (index % 64)) == 0)
            .collect();
        // Lost writes need not have happened.
        if open
            .iter()
            .all(|index| self.requests[*index].answered.is_none())
        {
            return true;
        }
        if !self.seen.insert((self.done.clone(), value)) {
            return false;
        }
        let first_answer = open
            .iter()
            .filter_map(|index| self.requests[*index].answered)
            .min()
            .expect("one has an answer");
        for index in open {
            let request = self.requests[index];
            // What began after somebody's answer comes after that one.
            if request.begun > first_answer {
                continue;
            }
            let after = match request.what {
                What::Write(written) => written,
                What::Read(read) if read == value => value,
                What::Read(_) => continue,
            };
            self.done[index / 64] |= 1 << (index % 64);
            if self.explain(after) {
                return true;
            }
            self.done[index / 64] &= !(1 << (index % 64));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::What::{Read, Write};
    use super::*;

    fn request((begun, answered, what): (u64, u64, What)) -> Request {
        Request {
            begun,
            answered: (answered > 0).then_some(answered),
            what,
        }
    }

    #[test]
    fn table() {
        let (one, two) = (Some(1), Some(2));
        type Seen = [(u64, u64, What)];
        let cases: [(&str, bool, &Seen); 9] = [
            ("nothing", true, &[]),
            ("in turn", true, &[(1, 2, Write(one)), (3, 4, Read(one))]),
            (
                "a read that is behind",
                false,
                &[(1, 2, Write(one)), (3, 4, Read(None))],
            ),
            (
                "at once, seen",
                true,
                &[(1, 9, Write(one)), (2, 3, Read(one))],
            ),
            (
                "at once, not seen",
                true,
                &[(1, 9, Write(one)), (2, 3, Read(None))],
            ),
            (
                "seen and then not",
                false,
                &[(1, 9, Write(one)), (2, 3, Read(one)), (4, 5, Read(None))],
            ),
            (
                "two writes, seen in two orders",
                false,
                &[
                    (1, 9, Write(one)),
                    (1, 9, Write(two)),
                    (2, 3, Read(one)),
                    (4, 5, Read(two)),
                    (6, 7, Read(one)),
                ],
            ),
            (
                "a lost write that happened late",
                true,
                &[(1, 0, Write(one)), (2, 3, Read(None)), (4, 5, Read(one))],
            ),
            (
                "a deletion",
                true,
                &[(1, 2, Write(one)), (3, 4, Write(None)), (5, 6, Read(None))],
            ),
        ];
        for (what, expected, requests) in cases {
            let requests: Vec<Request> = requests.iter().copied().map(request).collect();
            assert_eq!(is_linearizable(&requests), expected, "{what}");
        }
    }
}
