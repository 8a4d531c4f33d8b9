//! Which calls go wrong, and how: a table of rules, and chance from a seed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A call that can go wrong: the methods of the three traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after its method")]
pub enum Operation {
    BeginUpload,
    ResumeUpload,
    UncommitUpload,
    AbortUpload,
    StagedUploads,
    Open,
    Size,
    Get,
    List,
    Children,
    Modified,
    Put,
    Link,
    Delete,
    Probe,
    Write,
    Suspend,
    Digest,
    Commit,
    ReadAt,
    NextListed,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the answer is [`Error::Full`](crate::Error::Full).
    Full,
    /// Nothing happens, and the answer is [`Error::Unavailable`](crate::Error::Unavailable).
    Unavailable,
    /// Everything happens, and the answer is [`Error::Unavailable`](crate::Error::Unavailable).
    AnswerLost,
    /// A part happens. `Write`, `Put` and `Delete` then answer [`Error::Unavailable`](crate::Error::Unavailable), `ReadAt` returns fewer
    /// bytes than asked; any other call is as with `Unavailable`.
    Torn,
    /// All is well after this time.
    Delay(Duration),
}

/// Which calls go wrong. The first rule that applies to a call decides.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    rules: Vec<(Operation, When, Fault)>,
}

#[derive(Clone, Copy, Debug)]
enum When {
    Call(u64),
    OneIn(u64),
}

impl Schedule {
    /// Nothing goes wrong yet; chance will come from `seed`.
    pub fn new(seed: u64) -> Schedule {
        Schedule {
            seed,
            rules: Vec::new(),
        }
    }

    /// The `call`th call of `operation`, counted from 1 over the whole store, goes wrong.
    pub fn on_call(mut self, operation: Operation, call: u64, fault: Fault) -> Schedule {
        self.rules.push((operation, When::Call(call), fault));
        self
    }

    /// One call of `operation` in `calls`, on average, goes wrong.
    pub fn one_in(mut self, operation: Operation, calls: u64, fault: Fault) -> Schedule {
        self.rules
            .push((operation, When::OneIn(calls.max(1)), fault));
        self
    }
}

/// A fault that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The operation that went wrong.
    pub operation: Operation,
    /// Which call of that operation, counted from 1.
    pub call: u64,
    /// How.
    pub fault: Fault,
}

/// What becomes of each call.
pub(super) struct Fate {
    rules: Vec<(Operation, When, Fault)>,
    course: Mutex<Course>,
}

struct Course {
    random: u64,
    calls: HashMap<Operation, u64>,
    injected: Vec<Injected>,
    healed: bool,
}

impl Course {
    /// The next number of splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Fate {
    pub(super) fn new(schedule: Schedule) -> Fate {
        let course = Course {
            random: schedule.seed,
            calls: HashMap::new(),
            injected: Vec::new(),
            healed: false,
        };
        Fate {
            rules: schedule.rules,
            course: Mutex::new(course),
        }
    }

    pub(super) fn heal(&self) {
        self.course().healed = true;
    }

    pub(super) fn injected(&self) -> Vec<Injected> {
        self.course().injected.clone()
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn decide(&self, operation: Operation) -> Option<Fault> {
        let mut course = self.course();
        let counter = course.calls.entry(operation).or_default();
        *counter += 1;
        let call = *counter;
        if course.healed {
            return None;
        }
        let fault = self
            .rules
            .iter()
            .filter(|rule| rule.0 == operation)
            .find_map(|(_, when, fault)| {
                let applies = match when {
                    When::Call(chosen) => *chosen == call,
                    When::OneIn(calls) => course.random().is_multiple_of(*calls),
                };
                applies.then_some(*fault)
            })?;
        course.injected.push(Injected {
            operation,
            call,
            fault,
        });
        Some(fault)
    }

    /// How much of `whole` a torn call does: less than all, perhaps nothing.
    pub(super) fn part(&self, whole: usize) -> usize {
        match whole {
            0 => 0,
            // Less than `whole`, so it fits.
            _ => (self.course().random() % whole as u64) as usize,
        }
    }
}
