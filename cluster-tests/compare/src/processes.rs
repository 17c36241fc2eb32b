//! Processor time and memory of processes, from /proc.

use std::time::Duration;

/// Bytes of a page, as the kernel counts resident memory.
fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// What a process and its children use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time since they started, of children that ended too.
    pub(crate) cpu: Duration,
    /// Resident memory now.
    pub(crate) memory_bytes: u64,
}

/// The sum over these processes and their children.
pub(crate) fn usage(pids: &[u32]) -> Usage {
    let mut sum = Usage::default();
    for stat in std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = Stat::parse(&std::fs::read_to_string(entry.path().join("stat")).ok()?)?;
        (pids.contains(&pid) || pids.contains(&stat.parent)).then_some(stat)
    }) {
        sum.cpu += ticks(stat.ticks);
        sum.memory_bytes += stat.resident_pages * page_bytes();
    }
    sum
}

/// The processor time of this process so far.
pub(crate) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

struct Stat {
    parent: u32,
    ticks: u64,
    resident_pages: u64,
}

impl Stat {
    /// A line of /proc/PID/stat. The name in its second field may have anything in it, so fields count from its end.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |nth: usize| fields.get(nth)?.parse::<u64>().ok();
        // From the third field on: state, ppid, …, utime (14), stime, cutime, cstime, …, rss (24).
        let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
        Some(Self { parent: u32::try_from(number(1)?).ok()?, ticks, resident_pages: number(21)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "7 (a) b) S 3 7 7 0 -1 1 2 3 4 5 10 20 30 40 20 0 9 0 100 1000 55 18446744073709551615 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.ticks, stat.resident_pages), (3, 100, 55));
    }

    #[test]
    fn this_process_is_found() {
        let own = usage(&[std::process::id()]);
        assert!(own.memory_bytes > 100_000, "{own:?}");
        assert!(own_cpu() > Duration::ZERO);
    }
}
