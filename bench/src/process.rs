//! What a server's processes have used, and on which cores they run.
//!
//! A server may be several processes (nginx has a master and workers): times and memory are summed.
//! Source: proc(5). `/proc/<pid>/stat` counts processor time of all threads in clock ticks (10 ms), so
//! short rounds are coarse; writing 5 to `/proc/<pid>/clear_refs` sets `VmHWM` back to the present size.

use std::fs;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// The core a pinned server runs on.
const SERVER_CORE: usize = 0;
/// The core its clients run on then.
const CLIENT_CORE: usize = 1;

/// The processes of one server.
pub(crate) struct Processes {
    pids: Vec<u32>,
}

/// Threads on cores of their own, until this is dropped.
pub(crate) struct Pinned {
    server: Processes,
    before: CpuSet,
}

impl Processes {
    /// A process and its children.
    pub(crate) fn of(pid: u32) -> Processes {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let mut pids = vec![pid];
        let children = children.split_whitespace().map(str::parse::<u32>);
        pids.extend(children.filter_map(std::result::Result::ok));
        Processes { pids }
    }

    /// Processor time of all of them, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in &self.pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            ticks += cpu_ticks(&stat).ok_or("/proc/<pid>/stat is not as proc(5) has it")?;
        }
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Lets the peak of memory begin anew.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        for pid in &self.pids {
            fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        }
        Ok(())
    }

    /// The peak of resident memory.
    pub(crate) fn peak_kib(&self) -> Result<u64> {
        self.sum_of("VmHWM:")
    }

    /// Resident memory now.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        self.sum_of("VmRSS:")
    }

    fn sum_of(&self, field: &str) -> Result<u64> {
        let mut sum = 0;
        for pid in &self.pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            sum += kib(&status, field).ok_or("/proc/<pid>/status is not as proc(5) has it")?;
        }
        Ok(sum)
    }

    fn run_on(&self, cores: &CpuSet) -> Result<()> {
        for pid in &self.pids {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let name = thread?.file_name();
                let id = name.to_str().and_then(|name| name.parse().ok());
                // A thread that has ended meanwhile needs no core.
                let _ = sched_setaffinity(id.and_then(Pid::from_raw), cores);
            }
        }
        Ok(())
    }
}

impl Pinned {
    /// The server on one core, this thread on another; nothing where there is one core only.
    pub(crate) fn pin(server: Processes) -> Result<Option<Pinned>> {
        let before = sched_getaffinity(None)?;
        if !before.is_set(SERVER_CORE) || !before.is_set(CLIENT_CORE) {
            return Ok(None);
        }
        server.run_on(&one(SERVER_CORE))?;
        sched_setaffinity(None, &one(CLIENT_CORE))?;
        Ok(Some(Pinned { server, before }))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
        let _ = self.server.run_on(&self.before);
    }
}

fn one(core: usize) -> CpuSet {
    let mut cores = CpuSet::new();
    cores.set(core);
    cores
}

/// `utime` and `stime`, the 14th and 15th field. The second field is a name in brackets, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 123 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a"), None);
        let status = "VmPeak:\t 10 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 7 kB\n";
        assert_eq!(kib(status, "VmHWM:"), Some(2048));
        assert_eq!(kib(status, "VmRSS:"), Some(7));
    }

    #[test]
    fn this_process_can_be_measured() {
        let here = Processes::of(std::process::id());
        here.reset_peak().unwrap();
        let before = here.cpu_seconds().unwrap();
        // Until a tick of the kernel's clock is used up.
        while here.cpu_seconds().unwrap() <= before {}
        assert!(here.peak_kib().unwrap() >= here.resident_kib().unwrap() / 2);
    }
}
