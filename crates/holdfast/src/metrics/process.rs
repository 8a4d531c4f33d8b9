//! What the system knows of this process, under the names that every Prometheus client uses.
//!
//! Source: proc(5). What cannot be read is left out.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Page;

pub(super) fn write(page: &mut Page) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let name = "process_cpu_seconds_total";
    page.counter(name, "Processor time used by this process.");
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.sample(name, &[], seconds);
    let mut gauge = |name, about, value: Option<f64>| {
        if let Some(value) = value {
            page.gauge(name, about);
            page.sample(name, &[], value);
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = Stat::parse(&stat);
    gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is in RAM.",
        stat.as_ref()
            .map(|stat| (stat.pages * page_size() as u64) as f64),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Address space of this process.",
        stat.as_ref().map(|stat| stat.virtual_bytes as f64),
    );
    gauge(
        "process_threads",
        "Threads of this process.",
        stat.as_ref().map(|stat| stat.threads as f64),
    );
    let booted = fs::read_to_string("/proc/stat").ok();
    let booted = booted.and_then(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok())
    });
    gauge(
        "process_start_time_seconds",
        "When this process started, in seconds since 1970.",
        stat.as_ref()
            .zip(booted)
            .map(|(stat, booted)| booted + stat.started as f64 / clock_ticks_per_second() as f64),
    );
    // The directory that is being listed is one of them.
    let open = fs::read_dir("/proc/self/fd").ok();
    gauge(
        "process_open_fds",
        "Files and sockets that this process has open.",
        open.map(|entries| entries.count().saturating_sub(1) as f64),
    );
    gauge(
        "process_max_fds",
        "Files and sockets that this process may have open.",
        getrlimit(Resource::Nofile)
            .current
            .map(|limit| limit as f64),
    );
}

/// Fields of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    threads: u64,
    /// Clock ticks between the start of the system and that of the process.
    started: u64,
    virtual_bytes: u64,
    pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, whatever that holds.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Numbered from 1 in proc(5); the third is the first one here.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Stat {
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
            pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses() {
        let text = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n";
        let wanted = Stat {
            threads: 17,
            started: 19,
            virtual_bytes: 20,
            pages: 21,
        };
        assert_eq!(Stat::parse(text), Some(wanted));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
    }
}
