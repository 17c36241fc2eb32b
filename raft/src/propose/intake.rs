//! What waits for the leader's decision: bounded in number, in bytes, and in the time that it has waited.
//!
//! A queue that is long for a moment does its work: what came at once is decided one after the other. A queue that stays
//! long only makes everybody wait, and what is turned away early can be tried elsewhere or later. So commands are turned
//! away once for a whole [`INTERVAL`] every one of them had waited for [`TARGET`] or longer: the rule of CoDel (RFC 8289),
//! without its slow start, because whoever is turned away here is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Answer, Task};
use crate::metrics::Metrics;

/// How long a command may wait while the queue stands.
const TARGET: Duration = Duration::from_millis(100);
/// How long that may go on before anything is turned away.
const INTERVAL: Duration = Duration::from_millis(500);

/// The way in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Entrance {
    tasks: mpsc::Sender<Task>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    metrics: Arc<Metrics>,
}

/// The other end.
pub(super) struct Intake {
    tasks: mpsc::Receiver<Task>,
    bytes: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    /// Since when everybody has waited too long.
    standing_since: Option<Instant>,
}

/// An intake of at most `tasks_max` tasks with commands of `bytes_max` bytes in all.
pub(super) fn intake(tasks_max: usize, bytes_max: usize, metrics: Arc<Metrics>) -> (Entrance, Intake) {
    let (sender, tasks) = mpsc::channel(tasks_max);
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        Entrance { tasks: sender, bytes: bytes.clone(), bytes_max, metrics: metrics.clone() },
        Intake { tasks, bytes, metrics, standing_since: None },
    )
}

impl Entrance {
    /// Takes `task` in, or answers it at once when there is no room.
    pub(super) fn submit(&self, task: Task) {
        let (bytes, before) = (task.bytes, self.bytes.fetch_add(task.bytes, Ordering::Relaxed));
        let refused = match before + bytes > self.bytes_max {
            true => Err(mpsc::error::TrySendError::Full(task)),
            false => self.tasks.try_send(task),
        };
        if let Err(refused) = refused {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(task) => task.reply.send(Answer::NotTaken { overloaded: true }),
                mpsc::error::TrySendError::Closed(task) => task.reply.send(Answer::NotTaken { overloaded: false }),
            }
        }
        self.metrics.intake_depth.set((self.tasks.max_capacity() - self.tasks.capacity()) as i64);
        self.metrics.intake_bytes.set(self.bytes.load(Ordering::Relaxed) as i64);
    }

    #[cfg(test)]
    pub(super) async fn closed(&self) {
        self.tasks.closed().await;
    }
}

impl Intake {
    /// The next task to decide; `None` when nobody can send one any more.
    pub(super) async fn recv(&mut self) -> Option<Task> {
        loop {
            let task = self.tasks.recv().await?;
            if let Some(task) = self.admit(task) {
                return Some(task);
            }
        }
    }

    /// Forgets how long tasks have waited: nothing was decided meanwhile, so it says nothing about how much there is to do.
    pub(super) fn begin_anew(&mut self) {
        self.standing_since = None;
    }

    /// The next task, however long it has waited.
    pub(super) async fn recv_any(&mut self) -> Option<Task> {
        let task = self.tasks.recv().await?;
        self.note_gone(&task);
        Some(task)
    }

    /// The next task, if one waits.
    pub(super) fn try_recv(&mut self) -> Option<Task> {
        loop {
            let Ok(task) = self.tasks.try_recv() else {
                self.standing_since = None;
                return None;
            };
            if let Some(task) = self.admit(task) {
                return Some(task);
            }
        }
    }

    fn note_gone(&self, task: &Task) {
        let before = self.bytes.fetch_sub(task.bytes, Ordering::Relaxed);
        self.metrics.intake_bytes.set((before - task.bytes) as i64);
        self.metrics.intake_depth.set(self.tasks.len() as i64);
    }

    /// Gives the task back if it is to be decided; otherwise it is answered.
    fn admit(&mut self, task: Task) -> Option<Task> {
        self.note_gone(&task);
        let now = Instant::now();
        if now.duration_since(task.arrived) < TARGET {
            self.standing_since = None;
            return Some(task);
        }
        let since = *self.standing_since.get_or_insert(now);
        // What the nodes ask for themselves is little, and is not asked again by anybody.
        if task.place.session == 0 || now.duration_since(since) < INTERVAL {
            return Some(task);
        }
        task.reply.send(Answer::NotTaken { overloaded: true });
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;
    use crate::propose::{Place, Reply};

    fn task(number: u64, bytes: usize) -> (Task, oneshot::Receiver<Answer>) {
        let (reply, answer) = Reply::here();
        let place = Place { session: 1, number, attempt: 1 };
        let arrived = Instant::now();
        let (command, acknowledged) = (Arc::default(), Vec::new());
        (Task { place, term: 1, command, bytes, arrived, acknowledged, reply }, answer)
    }

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap())
    }

    const TURNED_AWAY: Answer = Answer::NotTaken { overloaded: true };

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_decided_and_a_queue_that_stands_is_not() {
        let (entrance, mut intake) = intake(1_000, 1_000, metrics());
        // A burst that is worked off within the interval, though its last waits for long.
        let burst: Vec<_> = (0..4).map(|number| task(number, 1)).collect();
        let answers: Vec<_> = burst
            .into_iter()
            .map(|(task, answer)| {
                entrance.submit(task);
                answer
            })
            .collect();
        for _ in &answers {
            advance(TARGET).await;
            assert!(intake.try_recv().is_some());
        }
        assert!(intake.try_recv().is_none());
        // Each waits longer than the target, one after the other, without end.
        let mut waiting = Vec::new();
        for number in 10..30 {
            let (task, answer) = task(number, 1);
            entrance.submit(task);
            waiting.push(answer);
        }
        let mut decided = 0;
        for _ in 0..5 {
            advance(TARGET).await;
            decided += usize::from(intake.try_recv().is_some());
        }
        assert_eq!(decided, 5);
        advance(TARGET).await;
        assert!(intake.try_recv().is_none(), "the rest is turned away at once");
        // Those that were decided are dropped here without an answer.
        let answers: Vec<_> = waiting.iter_mut().filter_map(|answer| answer.try_recv().ok()).collect();
        assert_eq!(answers, [vec![Answer::Unknown; 5], vec![TURNED_AWAY; 15]].concat());
        // What comes then finds an empty queue.
        let (task, _answer) = task(40, 1);
        entrance.submit(task);
        assert!(intake.try_recv().is_some());
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_given_back() {
        let (entrance, mut intake) = intake(1_000, 100, metrics());
        let (first, _answer) = task(1, 60);
        entrance.submit(first);
        let (second, mut answer) = task(2, 60);
        entrance.submit(second);
        assert_eq!(answer.try_recv(), Ok(TURNED_AWAY));
        assert_eq!(intake.try_recv().map(|task| task.place.number), Some(1));
        let (third, _answer) = task(3, 60);
        entrance.submit(third);
        assert_eq!(intake.try_recv().map(|task| task.place.number), Some(3));
    }
}
