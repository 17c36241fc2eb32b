//! The text that `/metrics` answers with, read as far as tests need it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

/// A scrape of one node.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// The text itself.
    pub text: String,
    /// Samples: the name with its labels, as written, and the value.
    pub samples: BTreeMap<String, f64>,
    /// What `# HELP` says of each name.
    pub help: BTreeMap<String, String>,
    /// What `# TYPE` says of each name.
    pub types: BTreeMap<String, String>,
}

impl Exposition {
    /// Reads the text format.
    pub fn parse(text: &str) -> Result<Self> {
        let mut found = Self { text: text.to_owned(), ..Self::default() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let wrong = || format!("not a line of the text format: {line:?}");
            if let Some(rest) = line.strip_prefix("# ") {
                let (kind, rest) = rest.split_once(' ').with_context(wrong)?;
                let (name, rest) = rest.split_once(' ').with_context(wrong)?;
                match kind {
                    "HELP" => _ = found.help.insert(name.to_owned(), rest.to_owned()),
                    "TYPE" => _ = found.types.insert(name.to_owned(), rest.to_owned()),
                    _ => {}
                }
            } else {
                let (name, value) = line.rsplit_once(' ').with_context(wrong)?;
                found.samples.insert(name.to_owned(), value.parse().with_context(wrong)?);
            }
        }
        Ok(found)
    }

    /// The value of the sample of exactly this name, without labels.
    pub fn value(&self, name: &str) -> Result<f64> {
        let value = self.samples.get(name).copied();
        value.with_context(|| format!("there is no sample {name}"))
    }

    /// The names of all samples, without labels.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|sample| sample.split('{').next().unwrap_or_default()).collect()
    }

    /// The samples of this name, whatever their labels.
    pub fn all(&self, name: &str) -> Vec<(&str, f64)> {
        let of = |sample: &str| sample.split('{').next() == Some(name);
        self.samples.iter().filter(|(sample, _)| of(sample)).map(|(sample, value)| (sample.as_str(), *value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read() {
        let text = "# HELP a_b What it is.\n# TYPE a_b gauge\na_b 7\nc{x=\"y z\"} 1.5\nc{x=\"w\"} +Inf\n";
        let found = Exposition::parse(text).unwrap();
        assert_eq!((found.value("a_b").unwrap(), found.help["a_b"].as_str()), (7.0, "What it is."));
        assert_eq!(found.types["a_b"], "gauge");
        assert_eq!(found.names(), ["a_b", "c"].into());
        assert_eq!(found.all("c"), [("c{x=\"w\"}", f64::INFINITY), ("c{x=\"y z\"}", 1.5)]);
        assert!(found.value("d").is_err() && Exposition::parse("nonsense").is_err());
    }
}
