//! What is asked of a collection, as flags: `aerodb query` asks it, `aerodb explain` asks how it would be answered.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::Call;
use crate::exit::Advice;
use crate::units;

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Consistency {
    /// Everything that was acknowledged before is in it.
    Linearizable,
    /// At least as new as a revision that was seen before.
    Session,
    /// What the node has, with its age.
    Stale,
}

impl Consistency {
    /// The word for it in a request.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Session => "session",
            Self::Stale => "stale",
        }
    }
}

/// How exactly all that match are counted.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Count {
    /// All of them are met.
    Exact,
    /// As it can be had cheaply.
    Estimated,
}

/// Which documents, or which figures of them.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Which documents, such as '{"age": {"$gte": 21}}'
    #[arg(long, short, value_name = "JSON")]
    filter: Option<String>,
    /// Which fields of them: a,b.c
    #[arg(long, short, value_name = "FIELDS", conflicts_with_all = ["group_by", "aggregate", "distinct"])]
    select: Option<String>,
    /// In which order: age.desc,name.asc
    #[arg(long, value_name = "FIELDS")]
    order: Option<String>,
    /// How many, at most 1000
    #[arg(long, short, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// How many to pass over
    #[arg(long, value_name = "N", conflicts_with = "cursor")]
    offset: Option<u64>,
    /// Where the page before ended (its next_cursor)
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Count all that match, too; exactly unless said otherwise
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "exact")]
    count: Option<Count>,
    /// One row for all documents that are equal in these fields: city,address.street
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    group_by: Vec<String>,
    /// A figure of each group, or of all that match: total=sum:amount, n=count; count, sum, avg, min or max (repeatable)
    #[arg(long, short, value_name = "NAME=FUNCTION:FIELD", value_parser = figure)]
    aggregate: Vec<Figure>,
    /// Each combination of values of these fields once
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', conflicts_with_all = ["group_by", "aggregate"])]
    distinct: Vec<String>,
    /// How fresh the answer must be
    #[arg(long, value_enum)]
    consistency: Option<Consistency>,
    /// With --consistency session: the revision that must be in it
    #[arg(long, value_name = "REVISION")]
    min_revision: Option<u64>,
    /// With --consistency stale: how old it may be
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    max_staleness: Option<Duration>,
    /// As the collection was at a revision
    #[arg(long, value_name = "REVISION")]
    as_of: Option<u64>,
}

/// The same as a request has it; what is not asked for is left out.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    select: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<&'a str>,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Count>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    group_by: &'a [String],
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    aggregates: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    distinct: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    analyze: bool,
}

impl Question {
    /// The request that asks `path` for it. `analyze` is for explanations only.
    pub(super) fn call(&self, path: String, analyze: bool) -> anyhow::Result<Call> {
        let call = Call::ask(path)
            .json(&self.body(analyze)?)?
            .maybe_query("consistency", self.consistency.map(Consistency::as_str))
            .maybe_query("max_staleness_ms", self.max_staleness.map(|time| time.as_millis().to_string()));
        Ok(match self.min_revision {
            Some(revision) => call.header("aerodb-min-revision", revision.to_string()),
            None => call,
        })
    }

    fn body(&self, analyze: bool) -> Result<Body<'_>, Advice> {
        let mut aggregates = serde_json::Map::new();
        for Figure { name, function, of } in &self.aggregate {
            if aggregates.insert(name.clone(), serde_json::json!({ *function: of })).is_some() {
                return Err(Advice::usage(format!("two figures are called '{name}'")));
            }
        }
        Ok(Body {
            filter: self.filter.as_deref().map(filter).transpose()?,
            select: self.select.as_deref(),
            order: self.order.as_deref(),
            limit: self.limit,
            offset: self.offset,
            cursor: self.cursor.as_deref(),
            count: self.count,
            group_by: &self.group_by,
            aggregates,
            distinct: &self.distinct,
            as_of: self.as_of,
            analyze,
        })
    }

    /// Whether it asks for figures rather than documents.
    pub(super) fn is_grouped(&self) -> bool {
        !(self.group_by.is_empty() && self.aggregate.is_empty() && self.distinct.is_empty())
    }

    /// The fields by which groups are made.
    pub(super) fn grouped_by(&self) -> &[String] {
        if self.distinct.is_empty() { &self.group_by } else { &self.distinct }
    }

    /// The columns of a table of the answer, in the order in which they were asked for; none when all fields were.
    pub(super) fn columns(&self) -> Vec<&str> {
        let fields = self.select.iter().flat_map(|select| select.split(',')).map(str::trim);
        let figures = self.aggregate.iter().map(|figure| figure.name.as_str());
        self.grouped_by().iter().map(String::as_str).chain(figures).chain(fields).collect()
    }

    /// What documents are sorted by; nothing when that is their id.
    pub(super) fn order(&self) -> Option<&str> {
        self.order.as_deref().filter(|order| !order.is_empty())
    }

    /// Whether not every document is meant.
    pub(super) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// How many are passed over, and how many are taken then.
    pub(super) fn page(&self) -> (u64, u64) {
        (self.offset.unwrap_or(0), self.limit.into())
    }

    /// Whether all that match are counted.
    pub(super) fn is_counted(&self) -> bool {
        self.count.is_some()
    }
}

/// A filter that is not even JSON is found here, where the shell's quoting can be explained. It is sent as it is written.
pub(crate) fn filter(text: &str) -> Result<Box<RawValue>, Advice> {
    serde_json::from_str(text).map_err(|error| {
        Advice::usage("the filter is not JSON")
            .why(error.to_string())
            .remedy(r#"put it in single quotes and names in double quotes: --filter '{"age": {"$gte": 21}}'"#)
    })
}

/// A figure of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Figure {
    name: String,
    function: &'static str,
    /// The field that it is made of, or `*`.
    of: String,
}

/// Reads `total=sum:amount`. A count needs no field.
fn figure(text: &str) -> Result<Figure, String> {
    let (name, figure) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("it begins with the name of the figure: total=sum:amount")?;
    let (function, of) = figure.split_once(':').unwrap_or((figure, ""));
    let function = ["count", "sum", "avg", "min", "max"]
        .into_iter()
        .find(|known| *known == function)
        .ok_or_else(|| format!("'{function}' is none of count, sum, avg, min, max"))?;
    let of = match of {
        "" if function == "count" => "*",
        "" => return Err(format!("{function} needs a field: {name}={function}:amount")),
        "*" if function != "count" => return Err(format!("{function} needs a field; only count takes *")),
        of => of,
    };
    Ok(Figure { name: name.to_owned(), function, of: of.to_owned() })
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        question: Question,
    }

    /// The question that these flags ask.
    pub(crate) fn question(flags: &[&str]) -> Result<Question, clap::Error> {
        Alone::try_parse_from(["x"].iter().chain(flags)).map(|alone| alone.question)
    }

    fn body(flags: &[&str]) -> String {
        serde_json::to_string(&question(flags).unwrap().body(false).unwrap()).unwrap()
    }

    #[test]
    fn flags_become_a_body() {
        assert_eq!(body(&[]), r#"{"limit":20}"#);
        assert_eq!(
            body(&["-f", r#"{"a": 1.50}"#, "-s", "a,b.c", "--order", "a.desc", "-l", "5", "--offset", "2", "--count"]),
            r#"{"filter":{"a": 1.50},"select":"a,b.c","order":"a.desc","limit":5,"offset":2,"count":"exact"}"#
        );
        assert_eq!(
            body(&["--group-by", "city,a.b", "-a", "n=count", "-a", "t=sum:x", "--count=estimated", "--as-of", "7"]),
            r#"{"limit":20,"count":"estimated","group_by":["city","a.b"],"aggregates":{"n":{"count":"*"},"t":{"sum":"x"}},"as_of":7}"#
        );
        assert_eq!(body(&["--distinct", "city"]), r#"{"limit":20,"distinct":["city"]}"#);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for flags in [
            &["--distinct", "a", "--group-by", "b"][..],
            &["--select", "a", "--group-by", "b"],
            &["--offset", "1", "--cursor", "c"],
            &["-a", "n"],
            &["-a", "n=median:x"],
            &["-a", "=count"],
            &["-a", "t=sum"],
            &["-a", "t=sum:*"],
            &["--limit", "0"],
        ] {
            assert!(question(flags).is_err(), "{flags:?}");
        }
        assert!(question(&["-a", "n=count", "-a", "n=sum:x"]).unwrap().body(false).is_err());
    }

    #[test]
    fn a_filter_that_is_not_json_is_explained() {
        assert!(filter(r#"{"a":1}"#).is_ok());
        assert!(filter("{a:1}").unwrap_err().to_string().contains("single quotes"));
    }
}
