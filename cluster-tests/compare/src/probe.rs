//! What the disk does at this moment: no figure of a write means anything without it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How often it is tried.
const TIMES: usize = 100;

/// The median time of an `fdatasync` behind 4 KiB that were overwritten, in `folder`.
pub(crate) fn fdatasync(folder: &Path) -> Result<Duration> {
    let block = [7u8; 4096];
    let mut file = tempfile::tempfile_in(folder)?;
    // Space that is there already, as in a log that is written again: only data goes to the disk.
    for _ in 0..TIMES {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let mut times = Vec::with_capacity(TIMES);
    for number in 0..TIMES {
        file.write_all_at(&block, (number * block.len()) as u64)?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[TIMES / 2])
}
