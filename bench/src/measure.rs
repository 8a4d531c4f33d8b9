//! One measurement, and what several of them come to.
//!
//! Source: proc(5). `/proc/<pid>/stat` counts processor time of all threads in clock ticks (10 ms), so
//! short rounds are coarse; writing 5 to `/proc/<pid>/clear_refs` sets `VmHWM` back to the present size.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use crate::Result;

/// The part of a round that is measured. Returns how much was done: bytes or requests.
pub(crate) type Work<'a> = Box<dyn FnOnce() -> Result<u64> + 'a>;

/// What a workload counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Throughput in MiB/s, processor seconds per GiB.
    Bytes,
    /// Requests per second, processor seconds per 1000 of them.
    Requests,
}

/// One round on one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) amount: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_kib: u64,
}

/// All rounds of one workload on one server.
pub(crate) struct Measured {
    pub(crate) workload: &'static str,
    pub(crate) unit: Unit,
    pub(crate) server: &'static str,
    pub(crate) samples: Vec<Sample>,
}

impl Unit {
    /// The amount that counts as one in speeds.
    fn speed_unit(self) -> f64 {
        match self {
            Unit::Bytes => 1024.0 * 1024.0,
            Unit::Requests => 1.0,
        }
    }

    /// The amount that processor time is given for.
    fn cost_unit(self) -> f64 {
        match self {
            Unit::Bytes => 1024.0 * 1024.0 * 1024.0,
            Unit::Requests => 1000.0,
        }
    }
}

impl Sample {
    /// MiB or requests per second.
    pub(crate) fn speed(&self, unit: Unit) -> f64 {
        self.amount as f64 / unit.speed_unit() / self.seconds
    }

    /// Processor seconds per GiB or per 1000 requests.
    pub(crate) fn cost(&self, unit: Unit) -> f64 {
        self.cpu_seconds / (self.amount as f64 / unit.cost_unit())
    }
}

impl Measured {
    pub(crate) fn speed(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.speed(self.unit)))
    }

    pub(crate) fn cost(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.cost(self.unit)))
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        let peak = self.samples.iter().map(|sample| sample.peak_kib).max();
        peak.unwrap_or_default() as f64 / 1024.0
    }
}

/// Does the work and measures it. `data` is on the disk that is synced before.
pub(crate) fn sample(pid: u32, data: &Path, work: Work<'_>) -> Result<Sample> {
    rustix::fs::syncfs(File::open(data)?)?;
    fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    let cpu_before = cpu_seconds(pid)?;
    let start = Instant::now();
    let amount = work()?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds(pid)? - cpu_before;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Sample {
        amount,
        seconds,
        cpu_seconds,
        peak_kib: peak_kib(&status).ok_or("/proc/<pid>/status has no VmHWM")?,
    })
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = cpu_ticks(&stat).ok_or("/proc/<pid>/stat is not as proc(5) has it")?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `utime` and `stime`, the 14th and 15th field. The second field is a name in brackets, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn files_of_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 123 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a"), None);
        assert_eq!(
            peak_kib("VmPeak:\t 10 kB\nVmHWM:\t    2048 kB\n"),
            Some(2048)
        );
    }

    #[test]
    fn this_process_can_be_measured() {
        let here = std::env::temp_dir();
        let sample = sample(std::process::id(), &here, Box::new(|| Ok(1 << 30))).unwrap();
        assert!(sample.peak_kib > 0 && sample.seconds > 0.0);
    }

    #[test]
    fn speeds_and_costs() {
        let sample = Sample {
            amount: 2 << 30,
            seconds: 4.0,
            cpu_seconds: 1.0,
            peak_kib: 0,
        };
        assert_eq!(sample.speed(Unit::Bytes), 512.0);
        assert_eq!(sample.cost(Unit::Bytes), 0.5);
        let sample = Sample {
            amount: 500,
            ..sample
        };
        assert_eq!(sample.speed(Unit::Requests), 125.0);
        assert_eq!(sample.cost(Unit::Requests), 2.0);
    }
}
