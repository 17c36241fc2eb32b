//! `aerodb server --print-config`: what the node would run with, as TOML that can be used again.

use serde_json::Value;

use super::ServerConfig;
use crate::output::Output;

/// What stands for a secret.
const HIDDEN: &str = "(set, hidden)";

/// Prints the configuration with secrets hidden.
pub(crate) fn print(config: &ServerConfig, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        let mut value = serde_json::to_value(config)?;
        value["service_key"] = if config.service_key.is_some() { Value::from(HIDDEN) } else { Value::Null };
        output.json(&value)?;
    } else {
        output.line(to_toml(config)?.trim_end())?;
    }
    Ok(())
}

/// TOML that results in the same configuration, but for the service key, which is a remark.
fn to_toml(config: &ServerConfig) -> anyhow::Result<String> {
    let key = match config.service_key {
        Some(_) => HIDDEN,
        None => "(not set: generated at the first start of the cluster, and shown once)",
    };
    Ok(format!("# service_key {key}\n{}", toml::to_string(config)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::secret::Secret;
    use crate::server::{Layer, config};

    #[test]
    fn what_is_printed_can_be_read_again_and_hides_the_key() {
        let layer = Layer {
            node_id: Some(2),
            peer_addr: Some("127.0.0.1:7502".into()),
            peers: Some("1=127.0.0.1:7501,2=127.0.0.1:7502".parse().unwrap()),
            ..Layer::default()
        };
        let mut first = config::resolve(layer, None, &|_| None).unwrap();
        first.service_key = Some(Secret::new("aero_sk_do_not_print_this"));
        let text = to_toml(&first).unwrap();
        assert!(text.contains(HIDDEN) && !text.contains("do_not_print"), "{text}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("again.toml");
        std::fs::write(&path, &text).unwrap();
        let second = config::resolve(Layer::default(), Some(Path::new(&path)), &|_| None).unwrap();
        first.service_key = None;
        assert_eq!(to_toml(&first).unwrap(), to_toml(&second).unwrap());
    }
}
