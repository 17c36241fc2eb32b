//! The state of a cluster as a table.

use serde_json::Value;

use crate::output::{Align, Table, cell};
use crate::units;

/// The summary and the table of `aerodb cluster status`.
pub(crate) fn render(cluster: &Value) -> String {
    let nodes = cluster["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut table = Table::new([
        ("id", Align::Right),
        ("role", Align::Left),
        ("state", Align::Left),
        ("http", Align::Left),
        ("applied", Align::Right),
        ("lag", Align::Right),
        ("version", Align::Left),
        ("last contact", Align::Right),
    ]);
    for node in nodes {
        table.row([
            cell(node.get("id")),
            cell(node.get("role")),
            cell(node.get("state")),
            cell(node.get("http_addr")),
            number(&node["applied_index"]),
            lag_entries(&node["lag"]),
            cell(node.get("version")),
            last_contact(node),
        ]);
    }
    format!("{}\n\n{table}", summary(cluster))
}

/// The table of `aerodb cluster lag`: what each replica lacks.
pub(crate) fn render_lag(nodes: &[Value]) -> String {
    let mut table = Table::new([
        ("id", Align::Right),
        ("role", Align::Left),
        ("entries", Align::Right),
        ("bytes", Align::Right),
        ("time", Align::Right),
    ]);
    for node in nodes {
        // The figures stand in `lag`, as in /cluster, or in the node itself.
        let lag = if node["lag"].is_object() { &node["lag"] } else { node };
        let seconds = lag["seconds"].as_f64();
        table.row([
            cell(node.get("id").or(node.get("node"))),
            cell(node.get("role")),
            lag_entries(lag),
            lag["bytes"].as_u64().map(units::bytes).unwrap_or_default(),
            seconds.map(|seconds| units::millis(seconds * 1e3)).unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn summary(cluster: &Value) -> String {
    let quorum = &cluster["quorum"];
    let health = match quorum["ok"].as_bool() {
        Some(true) => "quorum ok",
        Some(false) => "QUORUM LOST",
        None => "quorum unknown",
    };
    let leader = match &cluster["leader"] {
        Value::Null => "no leader".to_owned(),
        id => format!("node {id} leads"),
    };
    format!(
        "cluster {}: {leader} in term {}, {health} ({} of {} healthy), revision {}",
        cell(cluster.get("cluster_id")),
        cell(cluster.get("term")),
        cell(quorum.get("healthy")),
        cell(quorum.get("size")),
        number(&cluster["revision"]),
    )
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| cell(Some(value)), units::count)
}

fn lag_entries(lag: &Value) -> String {
    number(&lag["entries"])
}

fn last_contact(node: &Value) -> String {
    let millis = node["last_contact_ms"].as_f64();
    let seconds = node["last_contact_seconds"].as_f64().map(|seconds| seconds * 1e3);
    match millis.or(seconds) {
        Some(millis) => format!("{} ago", units::millis(millis)),
        None => cell(node.get("last_contact")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster() {
        let cluster = serde_json::json!({"cluster_id":"c-1","term":4,"leader":2,"revision":1234,
            "quorum":{"size":3,"healthy":2,"ok":true},
            "nodes":[
              {"id":2,"role":"leader","state":"healthy","http_addr":"127.0.0.1:7402","version":"0.1.0","applied_index":1500,
               "lag":{"entries":0,"bytes":0,"seconds":0.0}},
              {"id":3,"role":"follower","state":"unreachable","http_addr":"127.0.0.1:7403","version":"0.1.0","applied_index":12,
               "lag":{"entries":1488,"bytes":90000,"seconds":12.5},"last_contact_ms":12500}]});
        let expected = "\
cluster c-1: node 2 leads in term 4, quorum ok (2 of 3 healthy), revision 1,234

ID  ROLE      STATE        HTTP            APPLIED    LAG  VERSION  LAST CONTACT
 2  leader    healthy      127.0.0.1:7402    1,500      0  0.1.0
 3  follower  unreachable  127.0.0.1:7403       12  1,488  0.1.0      12.5 s ago";
        assert_eq!(render(&cluster), expected);
        let lag = render_lag(cluster["nodes"].as_array().unwrap());
        assert_eq!(lag.lines().last().unwrap(), " 3  follower    1,488  87.9 KiB  12.5 s");
    }

    #[test]
    fn what_is_missing_is_left_blank() {
        let text = render(&serde_json::json!({"leader":null,"nodes":[{"id":1}]}));
        assert!(text.starts_with("cluster : no leader"), "{text}");
    }
}
