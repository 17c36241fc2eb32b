//! probe
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]
use cluster_tests::{Cluster, Options};
use cluster_tests::workload::{Load, Options as Work};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe() {
    let c = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let show = async |what: &str| {
        tokio::time::sleep(Duration::from_millis(700)).await;
        eprintln!("== {what}");
        for id in c.ids() {
            eprintln!("   {id}: {}", c.client(id).get("/admin/digest").await.unwrap().body);
        }
    };
    show("start").await;
    let n: usize = std::env::var("N").unwrap().parse().unwrap();
    let clients: usize = std::env::var("C").unwrap().parse().unwrap();
    let load = Load::start(&c, Work{ clients, ..Work::default() }).await.unwrap();
    load.wait_progress(n, Duration::from_secs(30)).await.unwrap();
    let report = load.stop().await;
    eprintln!("{}", report.figures());
    show("load").await;
    report.verify(&c, Duration::from_secs(3)).await;
}
