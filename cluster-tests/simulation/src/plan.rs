//! What a seed means: how many nodes, their options, and which faults may happen. Drawn once, before anything runs.
//!
//! Each run allows another subset of the faults, and most bounds are either the usual ones or absurdly small: both reach
//! places that the average never reaches.

use std::path::PathBuf;
use std::time::Duration;

use aerodb_raft::{LogOptions, Options};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::check::model::{Act, Fields, Op, Pre, Step, Value};
use crate::client::{COLLECTIONS, indexed};
use crate::nemesis::Kind;
use crate::seams::Slowness;

/// Where lists are appended to, where values are fought over, and where indexes come and go.
pub const APPEND: &str = "append";
/// See [`APPEND`].
pub const UNIQUE: &str = "unique";
/// See [`APPEND`].
pub const INDEXED: &str = "indexed";

/// The seconds of history that these keep.
const RETENTION_SECONDS: u64 = 3_600;

/// What half of the clients do, beside what clients always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// The same as the others.
    Documents,
    /// Transactions append to lists, and several lists are read at one revision.
    Append,
    /// Values of a unique index are claimed and given up.
    Unique,
    /// Indexes are made, built and dropped while their collection is written.
    Indexes,
    /// Queries, now and as of before, through indexes and without.
    Queries,
}

impl Workload {
    /// Where it works, if that is nowhere else.
    fn collection(self) -> Option<&'static str> {
        match self {
            Self::Documents | Self::Queries => None,
            Self::Append => Some(APPEND),
            Self::Unique => Some(UNIQUE),
            Self::Indexes => Some(INDEXED),
        }
    }

    /// What is done before it begins.
    pub(crate) fn begins_with(self, plan: &Plan) -> Vec<Op> {
        let index = |collection: &str, index| Op::CreateIndex { collection: collection.to_owned(), index };
        match self {
            Self::Documents => Vec::new(),
            Self::Append => {
                let empty = || Act::Insert(Fields::from([(indexed::LIST.to_owned(), Value::List(Vec::new()))]));
                let step = |n| Step { collection: APPEND.to_owned(), id: format!("l{n}"), pre: Pre::Any, act: empty() };
                vec![Op::Transact { steps: (0..plan.lists).map(step).collect(), read_revision: 0 }]
            }
            Self::Unique => vec![index(UNIQUE, indexed::owned())],
            Self::Indexes => {
                let fields = |n: u64| Fields::from([("a".to_owned(), Value::Whole((n % 20) as i64))]);
                let documents = (0..indexed::DOCUMENTS).map(|n| (format!("i{n:02}"), fields(n))).collect();
                vec![Op::Insert { collection: INDEXED.to_owned(), documents }]
            }
            Self::Queries => {
                let all = COLLECTIONS.iter().flat_map(|(name, _)| [0, 1, 2].map(|at| index(name, indexed::index(at))));
                all.collect()
            }
        }
    }
}

/// What is asked of a run, beside its seed.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// So many nodes, instead of a number that follows from the seed.
    pub nodes: Option<u64>,
    /// No faults at all.
    pub calm: bool,
    /// The disks acknowledge before anything is durable: the run must fail.
    pub lying_disks: bool,
    /// This workload, instead of one that is dealt by the seed.
    pub workload: Option<Workload>,
    /// Where real files lie, instead of in a folder of this run's own.
    pub folder: Option<PathBuf>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed that it follows from.
    pub seed: u64,
    /// Nodes.
    pub nodes: u64,
    /// Clients that write and read.
    pub clients: u64,
    /// The pause of a client between two operations, at most, milliseconds. A leader that has nothing to write is another
    /// one than one that always has.
    pub pace_ms: u64,
    /// Documents of each collection that clients fight over.
    pub documents: u64,
    /// How long things break.
    pub chaos: Duration,
    /// The pause between two faults, at most.
    pub pause_max: Duration,
    /// The faults that may happen.
    pub kinds: Vec<Kind>,
    /// Latency of a message.
    pub latency: (Duration, Duration),
    /// How long storage takes.
    pub slowness: Slowness,
    /// Chance that a write begins a background flush of the state.
    pub flushes: f64,
    /// Chance that a store says that it is stalled.
    pub stalls: f64,
    /// The disks lie.
    pub lying_disks: bool,
    /// The options that all nodes share.
    pub options: Options,
    /// Clients use a key again for another request now and then.
    pub reuses_keys: bool,
    /// The bytes of idempotency keys that are remembered.
    pub idempotency_bytes_max: u64,
    /// Bytes of documents in a node's memory.
    pub document_cache_bytes_max: usize,
    /// What half of the clients do.
    pub workload: Workload,
    /// Lists that are appended to.
    pub lists: u64,
}

impl Plan {
    /// The run of `seed`.
    pub fn draw(seed: u64, asked: &Asked) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rng = &mut rng;
        let drawn = *[3, 3, 3, 3, 5, 5, 7].choose(rng).unwrap_or(&3);
        let nodes = asked.nodes.unwrap_or(drawn);
        let kinds = Kind::ALL.into_iter().filter(|_| rng.random_bool(0.45)).collect();
        let latency_max = Duration::from_millis(*[2, 5, 20, 60].choose(rng).unwrap_or(&5));
        let micros = |rng: &mut SmallRng, most: &[u64]| Duration::from_micros(*most.choose(rng).unwrap_or(&0));
        let slowness =
            Slowness { blocking: micros(rng, &[0, 2_000, 30_000]), log: micros(rng, &[0, 0, 2_000, 10_000, 40_000]) };
        let options = options(rng);
        let drawn = Self {
            seed,
            nodes,
            clients: rng.random_range(2..=6),
            pace_ms: *[60, 60, 60, 600].choose(rng).unwrap_or(&60),
            documents: rng.random_range(2..=12),
            chaos: Duration::from_millis(rng.random_range(5_000..=12_000)),
            pause_max: Duration::from_millis(*[150, 500, 1_500].choose(rng).unwrap_or(&500)),
            kinds: if asked.calm { Vec::new() } else { kinds },
            latency: (Duration::from_millis(rng.random_range(0..=1)), latency_max),
            slowness,
            flushes: *[0.0, 0.02, 0.3].choose(rng).unwrap_or(&0.0),
            stalls: *[0.0, 0.0, 0.3].choose(rng).unwrap_or(&0.0),
            lying_disks: asked.lying_disks,
            // Drawn from nothing: the seeds that were there before it go on meaning what they meant.
            reuses_keys: seed % 4 == 3,
            // As large as it usually is, a few documents that drive each other out, and none.
            document_cache_bytes_max: [32 << 20, 2_000, 0][seed as usize % 3],
            options,
            idempotency_bytes_max: *[256 << 20, 256 << 20, 2_000].choose(rng).unwrap_or(&0),
            workload: Workload::Documents,
            lists: 0,
        };
        drawn.deal(asked)
    }

    /// Deals the workload. By a chance of its own: what else a seed means does not depend on it.
    fn deal(self, asked: &Asked) -> Self {
        use Workload::{Append, Documents, Indexes, Queries, Unique};
        let mut rng = SmallRng::seed_from_u64(self.seed.wrapping_mul(32_452_843));
        let dealt = [Documents, Documents, Documents, Append, Unique, Indexes, Queries].choose(&mut rng).copied();
        let workload = asked.workload.or(dealt).unwrap_or(Documents);
        if workload == Documents {
            return self;
        }
        let options = Options {
            build_step_documents_max: *[1, 3, 10, self.options.build_step_documents_max].choose(&mut rng).unwrap_or(&1),
            ..self.options
        };
        // An index is worth its while only where it leads past most documents.
        let documents = if workload == Queries { rng.random_range(20..60) } else { self.documents };
        Self { workload, options, documents, clients: self.clients.max(4), lists: rng.random_range(2..6), ..self }
    }

    /// The collections, and the seconds of history that each keeps.
    pub fn collections(&self) -> Vec<(&'static str, u64)> {
        let own = self.workload.collection().map(|name| (name, RETENTION_SECONDS));
        COLLECTIONS.into_iter().chain(own).collect()
    }

    /// The names of all nodes.
    pub fn names(&self) -> Vec<String> {
        (1..=self.nodes).map(name).collect()
    }
}

/// The host name of a node.
pub fn name(node: u64) -> String {
    format!("n{node}")
}

fn options(rng: &mut SmallRng) -> Options {
    let usual = Options::new(0, "");
    let log = usual.log.clone();
    // Either all is as usual, or each bound by chance.
    if rng.random_bool(0.2) {
        return usual;
    }
    let mut pick = |choices: &[u64]| choices.choose(rng).copied().unwrap_or_default();
    let entries_in_flight_max = pick(&[1, 2, 4, 16]) as usize;
    // Mostly all that are allowed: several in flight are what is hard.
    let entries_in_flight_min = if pick(&[0, 0, 1]) == 1 { 1 } else { entries_in_flight_max };
    Options {
        entries_in_flight_min,
        snapshot_log_entries: pick(&[8, 30, 120, 200_000]),
        snapshot_log_bytes: pick(&[4_000, 256 << 20, 256 << 20]),
        log_keep_bytes: pick(&[2_000, 256 << 20, 256 << 20]),
        log_keep_entries: pick(&[0, 3, 40, 20_000]),
        entry_bytes_max: pick(&[1, 600, 4_000, 16 << 20]) as usize,
        entries_in_flight_max,
        intake_max: pick(&[1, 8, 16_384, 16_384]) as usize,
        session_window_max: pick(&[1, 4, 4_096, 4_096]) as usize,
        promotion_lag_max: pick(&[0, 5, 100]),
        log: LogOptions {
            ring_bytes_max: pick(&[0, 700, 5_000, log.ring_bytes_max]),
            replication_read_bytes_max: pick(&[1, 900, log.replication_read_bytes_max]),
            stream_step_entries_max: pick(&[1, 3, log.stream_step_entries_max as u64]) as usize,
            write_batch_bytes_max: pick(&[1, 2_000, log.write_batch_bytes_max]),
            write_batch_jobs_max: pick(&[1, 2, log.write_batch_jobs_max as u64]) as usize,
        },
        ..usual
    }
}
