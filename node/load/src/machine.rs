//! The machine that a benchmark ran on, without which its figures say nothing.

use serde::Serialize;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub struct Machine {
    cores: usize,
    cpu: Option<String>,
    memory_bytes: Option<u64>,
    kernel: Option<String>,
    load_average: Option<String>,
}

/// Looks at this machine. What cannot be found out is left out.
pub fn describe() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let memory = read("/proc/meminfo").and_then(|text| memory_bytes(&text));
    let cpu = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu,
        memory_bytes: memory,
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        load_average: read("/proc/loadavg").map(|text| text.split(' ').take(3).collect::<Vec<_>>().join(" ")),
    }
}

impl Machine {
    /// In one line.
    pub fn text(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        format!("{} cores, {cpu}, kernel {kernel}", self.cores)
    }
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory() {
        assert_eq!(super::memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(super::memory_bytes(""), None);
    }
}
