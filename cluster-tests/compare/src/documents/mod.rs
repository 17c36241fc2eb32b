//! The document engine beside PostgreSQL: a million documents, the same requests over each one's own protocol, the same
//! answers.
//!
//! Both have the documents on disk at each acknowledgement, and an index of each field that is asked by. AeroDB is asked over
//! HTTP, PostgreSQL by prepared statements over `jsonb` that is answered as text. What both are asked stands in [`Work`];
//! that they answer alike is checked before anything is measured.

mod aerodb;
mod answer;
mod apart;
mod cities;
mod postgres;
mod side;
mod verify;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aerodb_load::{Keys, Load};
use anyhow::Result;
use serde_json::json;

use crate::measured::Measured;
use crate::product::{Aerodb, Postgres};
use crate::table::{Report, Spread, Table, millis, thousands};
use apart::Apart;
use cities::Cities;
use side::{Product, Side};
use work::Work;

/// The fields that have an index, and what PostgreSQL makes one of.
const INDEXED: [(&str, &str); 2] = [("population", "((doc->>'population')::bigint)"), ("country", "(doc->>'country')")];
/// How long an index may take to be built, or one request that looks at all documents.
const BUILT_WITHIN: Duration = Duration::from_secs(1_800);
/// How much longer heavy requests are measured: one takes a while.
const HEAVY_TIMES: f64 = 3.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many documents there are
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    documents: u64,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement; three times as long for requests that look at many documents
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    time: f64,
    /// Seconds before each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warmup: f64,
    /// Connections; requests that look at many documents come one after the other
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=350))]
    connections: u32,
    /// What is measured, in this order: reads first, then what changes documents
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [
        Work::Get, Work::Range, Work::Sort, Work::Topk, Work::Count, Work::CountAll, Work::Group, Work::Update,
        Work::Insert, Work::Bulk,
    ])]
    rows: Vec<Work>,
    /// Nodes of each: by itself, or with two others of which one must have a write on disk
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    nodes: usize,
    /// MiB of memory that each keeps blocks of its files in
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    cache: u32,
    /// Give the load generator a processor of its own, and what is compared the others
    #[arg(long)]
    apart: bool,
    /// Measure AeroDB by itself
    #[arg(long)]
    alone: bool,
    /// Another AeroDB, in the place of PostgreSQL
    #[arg(long, value_name = "FILE", conflicts_with = "alone")]
    other_binary: Option<PathBuf>,
    /// The AeroDB to measure [default: the one built beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The places that documents are made of
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/data/cities.jsonl"))]
    data: PathBuf,
}

/// One or three.
fn nodes(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let cities = Arc::new(Cities::read(&args.data, args.documents)?);
    // Before anything is started.
    let apart = args.apart.then(Apart::part).transpose()?;
    let limit = format!("cache_bytes_max={}", u64::from(args.cache) << 20);
    let limits = ["--limit", &limit];
    let aerodb = Aerodb::start(args.binary.as_ref(), args.nodes, &limits).await?;
    let mut sides = vec![Side::new("AeroDB", Product::Ours(aerodb))];
    report.version("AeroDB", env!("CARGO_PKG_VERSION"));
    let settings = [format!("shared_buffers={}MB", args.cache), "max_wal_size=4GB".to_owned()];
    if let Some(other) = &args.other_binary {
        let other = Aerodb::start(Some(other), args.nodes, &limits).await?;
        sides.push(Side::new("AeroDB (other)", Product::Ours(other)));
    } else if !args.alone {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let postgres = Postgres::start(args.nodes - 1, &settings).await?;
        report.version("PostgreSQL", &postgres.version);
        sides.push(Side::new("PostgreSQL", Product::Theirs(postgres)));
    }
    report.settings(json!({
        "documents": args.documents, "variation": cities::VARIATION, "rounds": args.rounds, "seconds": args.time,
        "seconds_heavy": args.time * HEAVY_TIMES, "warmup_seconds": args.warmup, "nodes": args.nodes,
        "load_generator_threads": 1, "load_generator_apart": args.apart, "loop": "closed", "keys": Keys::Uniform, "fsync": "each acknowledged write",
        "indexes": INDEXED.map(|(field, _)| field), "postgresql": settings, "aerodb": limit,
    }));
    report.add(prepare(&sides, &cities).await?);
    if let [ours, theirs] = &sides[..] {
        verify::verify(ours, theirs, &cities, &args.rows).await?;
    }
    let names: Vec<&str> = sides.iter().map(Side::name).collect();
    let rate = |nth: usize| names.get(nth).map_or_else(String::new, |name| format!("{name}/s"));
    let mut table = Table::new(
        &format!("{} documents; {}", thousands(args.documents as f64), names.join(" · ")),
        &[" request", "connections", &rate(0), &rate(1), "ratio", "p50 ms", "p99 ms", "server µs", "failed"],
    );
    for work in &args.rows {
        compare((args, apart), &sides, &cities, *work, &mut table)?;
    }
    report.add(table);
    Ok(())
}

/// Loads the documents into all, makes the indexes, and waits until that is over in every sense.
async fn prepare(sides: &[Side], cities: &Arc<Cities>) -> Result<Table> {
    let columns = [" product", "documents/s, 500 a request, no index", "seconds for both indexes"];
    let mut table = Table::new("Loading", &columns);
    for side in sides {
        eprintln!("filling {} with {} documents", side.name(), cities.documents);
        let filled = cities.documents as f64 / side.fill(cities).await?.as_secs_f64();
        let indexed = side.index().await?.as_secs_f64();
        eprintln!("{}: {filled:.0} documents/s, then {indexed:.1} s for the indexes", side.name());
        table.measured(json!({"product": side.name(), "per_second": filled, "indexes_seconds": indexed}));
        table.row(vec![side.name().to_owned(), thousands(filled), format!("{indexed:.1}")]);
        side.settle().await?;
    }
    Ok(table)
}

/// One kind of request, all rounds.
fn compare(
    (args, apart): (&Args, Option<Apart>),
    sides: &[Side],
    cities: &Arc<Cities>,
    work: Work,
    table: &mut Table,
) -> Result<()> {
    let mut all: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
    let load = load(args, work);
    for round in 0..args.rounds {
        for (side, list) in sides.iter().zip(&mut all) {
            let put = |load| side.load(load, side.ask(work, cities), apart);
            let measured = Measured::take(load.clone(), &side.pids(), put)?.by_part(work.parts());
            eprintln!("{}, round {round}: {} {:.2}/s", work.label(), side.name(), measured.rate);
            let about = json!({ "product": side.name(), "row": work, "connections": load.connections, "round": round });
            table.measured(measured.value(about));
            list.push(measured);
        }
    }
    let rates: Vec<Spread> = all.iter().map(|list| Spread::of(list.iter().map(|one| one.rate))).collect();
    let each = |of: &dyn Fn(&Measured) -> f64, shown: &dyn Fn(f64) -> String| {
        let medians = all.iter().map(|list| shown(Spread::of(list.iter().map(of)).median));
        medians.collect::<Vec<_>>().join(" · ")
    };
    let rate = |nth: usize| rates.get(nth).map_or_else(String::new, Spread::rates);
    let ratio = rates.get(1).map_or_else(String::new, |theirs| ratio(rates[0].median / theirs.median));
    table.row(vec![
        work.label().to_owned(),
        load.connections.to_string(),
        rate(0),
        rate(1),
        ratio,
        each(&|one| one.latency_us["p50"], &millis),
        each(&|one| one.latency_us["p99"], &millis),
        each(&|one| one.server_us, &thousands),
        all.iter().flatten().map(|one| one.failed).sum::<u64>().to_string(),
    ]);
    Ok(())
}

/// With as many digits as mean something.
fn ratio(ratio: f64) -> String {
    match ratio {
        ..0.1 => format!("{ratio:.4}"),
        0.1..100.0 => format!("{ratio:.2}"),
        _ => thousands(ratio),
    }
}

/// How requests of this kind come.
fn load(args: &Args, work: Work) -> Load {
    let heavy = work.is_heavy();
    // A heavy request that began before the clock would take its time from those that count. Nothing is cold: answers were
    // compared just before.
    let (connections, warmup, times) = if heavy { (1, 0.0, HEAVY_TIMES) } else { (args.connections, args.warmup, 1.0) };
    Load {
        connections,
        threads: 1,
        rate: None,
        warmup: Duration::from_secs_f64(warmup),
        duration: Duration::from_secs_f64(args.time * times),
        timeout: BUILT_WITHIN,
        // Each request is a number, of which the row makes what it asks.
        reads_percent: 100,
        inserts: false,
        documents: args.documents,
        value_bytes: 64,
        keys: Keys::Uniform,
    }
}
