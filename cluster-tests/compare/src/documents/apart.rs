//! The load generator on a processor of its own, so that what it costs is no part of what is compared: on shared ones a product
//! that takes half the time of another cannot have twice its rate, because the load generator takes as long for either.

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors for the products, and one for the load generator. Cheap to clone.
#[derive(Clone, Copy)]
pub(super) struct Apart {
    products: CpuSet,
    load: CpuSet,
}

impl Apart {
    /// Parts the processors that this program has, and leaves itself, and whatever it starts, those of the products.
    pub(super) fn part() -> Result<Self> {
        let all = sched_getaffinity(None).context("asking which processors there are")?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| all.is_set(*cpu)).context("there are no processors")?;
        let (mut products, mut load) = (all, CpuSet::new());
        products.unset(last);
        load.set(last);
        ensure!(products.count() > 0, "there is one processor only: the load generator cannot have one of its own");
        // Of each thread that is there: any of them may start a process.
        for task in std::fs::read_dir("/proc/self/task").context("asking for this program's threads")? {
            let id = task?.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            sched_setaffinity(id, &products).context("leaving a processor to the load generator")?;
        }
        Ok(Self { products, load })
    }

    /// Runs `start` so that the threads which it starts are the load generator's.
    pub(super) fn start_load<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        sched_setaffinity(None, &self.load).context("giving the load generator its processor")?;
        let started = start();
        sched_setaffinity(None, &self.products).context("taking the load generator's processor back")?;
        Ok(started)
    }
}
