//! What `aerodb cluster up` says once its nodes run.

use std::path::Path;

use serde_json::{Value, json};

use super::events::Fate;
use super::key::Key;
use super::plan::{self, Plan};
use crate::output::{Align, Table};
use crate::units;

/// The ports at which client commands look by themselves.
const HTTP_PORT_DEFAULT: u16 = 7401;

/// What there is to say.
pub(super) struct Banner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dir: &'a Path,
    pub(super) key: &'a Key,
    pub(super) fates: &'a [Fate],
    /// The URLs of nodes that are not ready, and what they said last.
    pub(super) missing: &'a [(String, String)],
    /// Whether the cluster starts for the first time.
    pub(super) first: bool,
    /// Whether the cluster takes the key, if that is known.
    pub(super) key_works: Option<bool>,
}

impl Banner<'_> {
    /// For programs. The key is in it only if it was made now: this is the one time that it is shown.
    pub(super) fn value(&self) -> Value {
        let nodes: Vec<Value> = self.plan.ids().zip(self.fates).map(|(id, fate)| {
            let node_dir = plan::node_dir(self.dir, id);
            json!({
                "id": id, "pid": fate.pid, "url": format!("http://{}", self.plan.http_addr(id)),
                "peer_addr": self.plan.peer_addr(id), "data_dir": plan::data_dir(&node_dir), "log": plan::log_file(&node_dir),
            })
        }).collect();
        let mut value = json!({
            "event": if self.missing.is_empty() { "ready" } else { "not_ready" },
            "dir": self.dir, "first_start": self.first, "nodes": nodes,
            "not_ready": self.missing.iter().map(|(url, why)| json!({"url": url, "why": why})).collect::<Vec<_>>(),
        });
        if let Key::Generated(key) = self.key {
            value["service_key"] = key.expose().into();
        }
        value
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let count = units::plural(u64::from(self.plan.nodes), "node");
        let mut text = match self.missing {
            [] => format!("\nAeroDB {} is ready: {count} on this machine.\n\n", env!("CARGO_PKG_VERSION")),
            missing => {
                let list: String = missing.iter().map(|(url, why)| format!("  {url}: {why}\n")).collect();
                format!("\nNot all of the {count} are ready yet; it goes on trying.\n{list}\n")
            }
        };
        text.push_str(&indent(&self.nodes().to_string()));
        text.push_str(&format!("\n\n  data  {}  (logs: node-N/server.log in it)\n", self.dir.display()));
        text.push_str(&format!("  key   {}\n", self.key_line()));
        text.push_str(&format!(
            "\n{}\n\nCtrl-C stops the cluster; the same command starts it again.",
            self.next_steps()
        ));
        text
    }

    fn nodes(&self) -> Table {
        let mut table =
            Table::new([("node", Align::Right), ("http", Align::Left), ("peer", Align::Left), ("pid", Align::Right)]);
        for fate in self.fates {
            table.row([
                fate.id.to_string(),
                format!("http://{}", self.plan.http_addr(fate.id)),
                self.plan.peer_addr(fate.id),
                fate.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            ]);
        }
        table
    }

    fn key_line(&self) -> String {
        if self.key_works == Some(false) {
            return "the cluster in this folder has another key, from an earlier start; use that one, or begin anew in \
                    another folder (--dir)"
                .to_owned();
        }
        match self.key {
            Key::Given(_) => "the service key is what AERODB_SERVICE_KEY says".to_owned(),
            Key::Generated(key) => {
                format!("{}\n        the service key: it may do everything, and is shown only this once", key.expose())
            }
            Key::Kept => "the service key is the one from the first start".to_owned(),
        }
    }

    fn next_steps(&self) -> String {
        let mut steps = Vec::new();
        match self.key {
            Key::Generated(key) if self.key_works != Some(false) => {
                steps.push(format!("export AERODB_SERVICE_KEY={}", key.expose()));
            }
            _ => steps.push("export AERODB_SERVICE_KEY=…  (the service key)".to_owned()),
        }
        if self.plan.http_port != HTTP_PORT_DEFAULT {
            steps.push(format!("export AERODB_URL={}", self.plan.urls().join(",")));
        }
        steps.push("aerodb cluster status".to_owned());
        steps.push("aerodb collection create notes".to_owned());
        steps.push(format!(
            "curl -H \"Authorization: Bearer $AERODB_SERVICE_KEY\" -H 'Content-Type: application/json' \\\n         \
             -d '{{\"text\": \"hello\"}}' http://{}/api/notes",
            self.plan.http_addr(1)
        ));
        steps.push("aerodb query notes".to_owned());
        if self.plan.nodes >= 3 {
            steps.push(
                "kill -9 PID  (of any node: the others go on, nothing is lost, and it is started again)".to_owned(),
            );
        }
        format!("Try next, in another terminal:\n  {}", steps.join("\n  "))
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn check(key: &Key, key_works: Option<bool>) -> (String, String) {
        let plan = Plan { nodes: 3, http_port: 8401, peer_port: 8501, initialised: true };
        let fates: Vec<Fate> = plan.ids().map(|id| Fate { id, pid: Some(100 + u32::from(id)), deaths: 0 }).collect();
        let dir = Path::new("/data/c");
        let banner = Banner { plan: &plan, dir, key, fates: &fates, missing: &[], first: true, key_works };
        (banner.text(), banner.value().to_string())
    }

    #[test]
    fn a_generated_key_is_shown_and_a_given_one_is_not() {
        let (text, value) = check(&Key::Generated(Secret::new("aero_sk_new")), Some(true));
        assert!(
            text.contains("aero_sk_new") && text.contains("http://127.0.0.1:8403") && text.contains("/data/c"),
            "{text}"
        );
        assert!(text.contains("AERODB_URL=http://127.0.0.1:8401,"), "ports that commands would not find: {text}");
        assert!(value.contains("aero_sk_new"));
        let (text, value) = check(&Key::Given(Secret::new("aero_sk_mine")), None);
        assert!(!text.contains("aero_sk_mine") && !value.contains("aero_sk_mine"));
    }

    #[test]
    fn a_key_that_does_not_fit_is_not_recommended() {
        let (text, _) = check(&Key::Generated(Secret::new("aero_sk_new")), Some(false));
        assert!(text.contains("another key") && !text.contains("aero_sk_new"), "{text}");
    }
}
