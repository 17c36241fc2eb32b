//! Rates and latencies, by size of documents, number of connections and kind of request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aerodb_load::{Keys, Load};
use anyhow::Result;
use serde_json::json;

use crate::measured::Measured;
use crate::product::{Aerodb, Bare, Etcd, Mode, Postgres, Product};
use crate::table::{Report, Spread, Table, millis};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    time: f64,
    /// Seconds before each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warmup: f64,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_parser = clap::value_parser!(u32).range(1..=350))]
    connections: Vec<u32>,
    /// Sizes of documents, bytes of JSON
    #[arg(long, value_delimiter = ',', default_values_t = [256, 1024], value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    bytes: Vec<u32>,
    /// What requests do
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Mode::Write, Mode::Read, Mode::Mixed, Mode::Stale])]
    modes: Vec<Mode>,
    /// How many documents there are
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    documents: u64,
    /// How documents are chosen
    #[arg(long, value_enum, default_value_t = KeysArg::Zipfian)]
    keys: KeysArg,
    /// Beside whom
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Peer::Etcd, Peer::Postgres, Peer::Bare])]
    peers: Vec<Peer>,
    /// The AeroDB to measure [default: the one built beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// A second AeroDB to measure beside the first: an older build, say
    #[arg(long, value_name = "FILE")]
    other_binary: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    /// Three nodes of etcd, over its JSON gateway
    Etcd,
    /// PostgreSQL with two standbys of which one must have a write on disk, over its own protocol: writes only
    Postgres,
    /// An axum handler that returns the same bytes: stale reads only
    Bare,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeysArg {
    /// A few documents most of the time, as real users do
    Zipfian,
    /// All alike: nobody waits for another's row lock
    Uniform,
}

impl From<KeysArg> for Keys {
    fn from(keys: KeysArg) -> Self {
        match keys {
            KeysArg::Zipfian => Self::Zipfian,
            KeysArg::Uniform => Self::Uniform,
        }
    }
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let mut products = vec![("AeroDB".to_owned(), Product::Aerodb(Aerodb::start(args.binary.as_ref(), 3, &[]).await?))];
    report.version("AeroDB", env!("CARGO_PKG_VERSION"));
    if let Some(other) = &args.other_binary {
        products.push(("AeroDB (other)".to_owned(), Product::Aerodb(Aerodb::start(Some(other), 3, &[]).await?)));
    }
    for peer in &args.peers {
        let product = match peer {
            Peer::Etcd => Product::Etcd(Etcd::start().await?),
            Peer::Postgres => Product::Postgres(Postgres::start(2, &[]).await?),
            Peer::Bare => Product::Bare(Bare::start().await?),
        };
        match &product {
            Product::Etcd(etcd) => report.version("etcd", &etcd.version),
            Product::Postgres(postgres) => report.version("PostgreSQL", &postgres.version),
            Product::Aerodb(_) | Product::Bare(_) => {}
        }
        products.push((product.label().to_owned(), product));
    }
    report.settings(json!({
        "rounds": args.rounds, "seconds": args.time, "warmup_seconds": args.warmup, "documents": args.documents,
        "nodes": 3, "load_generator_threads": 1, "loop": "closed", "keys": Keys::from(args.keys), "fsync": "on a majority",
    }));
    for bytes in &args.bytes {
        for (name, product) in &products {
            eprintln!("filling {name} with {} documents of {bytes} bytes", args.documents);
            product.fill(args.documents, *bytes).await?;
        }
        for mode in &args.modes {
            let table = compare(args, &products, *bytes, *mode)?;
            report.add(table);
        }
    }
    Ok(())
}

/// One kind of request on documents of one size, for all numbers of connections.
fn compare(args: &Args, products: &[(String, Product)], bytes: u32, mode: Mode) -> Result<Table> {
    let title = format!("{}, {bytes} bytes", mode.label());
    let columns = [
        " product",
        "connections",
        "per second",
        "of ours",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "server µs",
        "client µs",
        "failed",
    ];
    let mut table = Table::new(&title, &columns);
    for &connections in &args.connections {
        let mut all: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
        for round in 0..args.rounds {
            for (name, product) in products.iter().filter(|(_, product)| product.does(mode)) {
                let measured = measure(args, product, mode, bytes, connections)?;
                eprintln!("{title}, {connections} connections, round {round}: {name} {:.0}/s", measured.rate);
                let about = json!({ "product": name, "mode": mode, "bytes": bytes, "connections": connections });
                table.measured(measured.value(about));
                all.entry(name).or_default().push(measured);
            }
        }
        let ours = all.get(products[0].0.as_str()).map(|list| Spread::of(list.iter().map(|one| one.rate)).median);
        for (name, _) in products {
            let Some(list) = all.get(name.as_str()) else { continue };
            let rate = Spread::of(list.iter().map(|one| one.rate));
            let latency = |at: &str| millis(Spread::of(list.iter().map(|one| one.latency_us[at])).median);
            let cpu = |of: fn(&Measured) -> f64| format!("{:.0}", Spread::of(list.iter().map(of)).median);
            table.row(vec![
                name.clone(),
                connections.to_string(),
                rate.whole(),
                format!("{:.2}", rate.median / ours.unwrap_or(rate.median)),
                latency("p50"),
                latency("p99"),
                latency("p99_9"),
                cpu(|one| one.server_us),
                cpu(|one| one.client_us),
                list.iter().map(|one| one.failed).sum::<u64>().to_string(),
            ]);
        }
    }
    Ok(table)
}

fn measure(args: &Args, product: &Product, mode: Mode, bytes: u32, connections: u32) -> Result<Measured> {
    let load = Load {
        connections,
        threads: 1,
        rate: None,
        warmup: Duration::from_secs_f64(args.warmup),
        duration: Duration::from_secs_f64(args.time),
        timeout: Duration::from_secs(10),
        reads_percent: mode.reads_percent(),
        inserts: false,
        documents: args.documents,
        value_bytes: bytes,
        keys: args.keys.into(),
    };
    Measured::take(load, &product.pids(), |load| product.load(mode, load))
}
