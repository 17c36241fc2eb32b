//! What a list asks for, as the parameters of a URL or as a JSON body.

use aerodb_engine::Limits;
use aerodb_engine::filter::Filter;
use aerodb_engine::json::{Path, Value};
use aerodb_engine::order::Order;
use aerodb_engine::prepare;
use aerodb_engine::select::Select;
use aerodb_engine::view::{AGGREGATES_MAX, Aggregate, Count, GROUP_PATHS_MAX, Grouping, ListQuery};
use http::HeaderMap;

use crate::consistency::{Freshness, Mode};
use crate::convert::bad_filter;
use crate::error::{Code, Problem};
use crate::params::Params;

/// A list that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) query: ListQuery,
    pub(super) freshness: Freshness,
    /// The request named a number of items: a stream then is one page.
    pub(super) limited: bool,
}

/// The parts of a query, wherever they came from.
#[derive(Default)]
struct Parts {
    filter: Option<Filter>,
    select: Option<Select>,
    order: Order,
    limit: Option<u64>,
    offset: Option<u64>,
    cursor: Option<String>,
    count: Count,
    group_by: Option<Vec<Path>>,
    aggregates: Vec<(String, Aggregate)>,
    distinct: Option<Vec<Path>>,
}

/// Takes `?filter=`.
pub(super) fn filter_param(params: &mut Params, limits: &Limits) -> Result<Option<Filter>, Problem> {
    let Some(text) = params.take("filter") else { return Ok(None) };
    let value = prepare::body(text.as_bytes(), limits).map_err(|error| {
        let problem = Problem::from(prepare::Error { path: "filter".into(), ..error });
        problem.prefixed("filter: ")
    })?;
    Ok(Some(Filter::parse(&value).map_err(|error| bad_filter("filter", error))?))
}

impl Wanted {
    /// Reads `?filter=..&select=..`.
    pub(super) fn from_params(
        mut params: Params,
        headers: &HeaderMap,
        limits: &Limits,
        caller: &str,
    ) -> Result<Self, Problem> {
        let freshness = Freshness::take(&mut params, headers)?;
        let filter = filter_param(&mut params, limits)?;
        let parts = Parts {
            filter,
            select: params.take("select").map(|text| Select::parse(&text)).transpose()?,
            order: Order::parse(&params.take("order").unwrap_or_default())?,
            limit: params.take_number("limit", 1, limits.page_items_max as u64)?,
            offset: params.take_number("offset", 0, limits.page_offset_max as u64)?,
            cursor: params.take("cursor"),
            count: match params.take("count") {
                Some(text) => count(&text).ok_or_else(|| Problem::parameter("count", COUNTS))?,
                None => Count::None,
            },
            ..Parts::default()
        };
        params.finish()?;
        parts.wanted(freshness, limits, caller)
    }

    /// The same with `analyze`: whether a query that is explained is run too.
    pub(super) fn to_explain(
        body: &[u8],
        params: Params,
        headers: &HeaderMap,
        limits: &Limits,
        caller: &str,
    ) -> Result<(Self, bool), Problem> {
        let Value::Object(mut members) = prepare::body(body, limits)? else {
            return Err(Problem::new(Code::InvalidParameter, "a query is a JSON object"));
        };
        let analyze = match members.iter().position(|(name, _)| name == "analyze").map(|at| members.remove(at).1) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(analyze)) => analyze,
            Some(_) => return Err(Problem::parameter("/analyze", "`true` or `false`")),
        };
        Ok((Self::from_members(members, params, headers, limits, caller)?, analyze))
    }

    /// Reads `{"filter":{..},"select":["a"],..}`. How fresh the read must be is said in the URL; `as_of` in either.
    pub(super) fn from_body(
        body: &[u8],
        params: Params,
        headers: &HeaderMap,
        limits: &Limits,
        caller: &str,
    ) -> Result<Self, Problem> {
        let Value::Object(members) = prepare::body(body, limits)? else {
            return Err(Problem::new(Code::InvalidParameter, "a query is a JSON object"));
        };
        Self::from_members(members, params, headers, limits, caller)
    }

    fn from_members(
        members: Vec<(String, Value)>,
        mut params: Params,
        headers: &HeaderMap,
        limits: &Limits,
        caller: &str,
    ) -> Result<Self, Problem> {
        let mut freshness = Freshness::take(&mut params, headers)?;
        params.finish()?;
        let mut parts = Parts::default();
        for (name, value) in members {
            let invalid = |message: &str| Problem::parameter(&format!("/{name}"), message);
            let whole = |min, max: usize| number(&value).filter(|number| (min..=max as u64).contains(number));
            let bounds = |min: u64, max: usize| invalid(&format!("a whole number from {min} to {max}"));
            match name.as_str() {
                // What is null was left out.
                _ if value.is_null() => {}
                "filter" => parts.filter = Some(Filter::parse(&value).map_err(|error| bad_filter("/filter", error))?),
                "select" => {
                    parts.select = Some(match &value {
                        Value::String(text) => Select::parse(text)?,
                        other => Select::from_value(other)?,
                    });
                }
                "order" => {
                    parts.order = Order::parse(value.as_str().ok_or_else(|| invalid("a string such as `n.desc,a`"))?)?
                }
                "limit" => {
                    let max = limits.page_items_max;
                    parts.limit = Some(whole(1, max).ok_or_else(|| bounds(1, max))?);
                }
                "offset" => {
                    let max = limits.page_offset_max;
                    parts.offset = Some(whole(0, max).ok_or_else(|| bounds(0, max))?);
                }
                "cursor" => parts.cursor = Some(value.as_str().ok_or_else(|| invalid("a string"))?.to_owned()),
                "count" => parts.count = value.as_str().and_then(count).ok_or_else(|| invalid(COUNTS))?,
                "group_by" => parts.group_by = Some(paths(&value).ok_or_else(|| invalid(PATHS))?),
                "distinct" => parts.distinct = Some(paths(&value).ok_or_else(|| invalid(PATHS))?),
                "aggregates" => parts.aggregates = aggregates(&value)?,
                "as_of" => {
                    let as_of = number(&value).ok_or_else(|| invalid("a revision"))?;
                    if freshness.as_of.is_some_and(|other| other != as_of) {
                        return Err(invalid("the URL names another revision"));
                    }
                    freshness.as_of = Some(as_of);
                }
                _ => {
                    let shown: String = name.chars().take(64).collect();
                    let problem = Problem::new(Code::UnknownParameter, format!("a query has no member {shown:?}"));
                    return Err(problem.with_mistake(format!("/{shown}"), "unknown here"));
                }
            }
        }
        parts.wanted(freshness, limits, caller)
    }
}

const COUNTS: &str = "`none`, `estimated` or `exact`";

fn count(text: &str) -> Option<Count> {
    match text {
        "none" => Some(Count::None),
        "estimated" => Some(Count::Estimated),
        "exact" => Some(Count::Exact),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::UInt(number) => Some(*number),
        _ => None,
    }
}

const PATHS: &str = "a field, or an array of 1 to 8 different fields such as `[\"city\",\"address.street\"]`";

/// A field, or several.
fn paths(value: &Value) -> Option<Vec<Path>> {
    let items = value.as_array().unwrap_or(std::slice::from_ref(value));
    let paths: Vec<Path> = items.iter().map(|item| Path::parse(item.as_str()?).ok()).collect::<Option<_>>()?;
    let apart = paths.iter().enumerate().all(|(at, path)| !paths[..at].contains(path));
    (apart && (1..=GROUP_PATHS_MAX).contains(&paths.len())).then_some(paths)
}

/// `{"n":{"count":"*"},"total":{"sum":"amount"}}`.
fn aggregates(value: &Value) -> Result<Vec<(String, Aggregate)>, Problem> {
    let refused = |path: &str, message: &str| {
        let problem = Problem::new(Code::InvalidGroup, format!("aggregates: {message}"));
        problem.with_mistake(format!("/aggregates{path}"), message)
    };
    let entries = value.as_object().ok_or_else(|| refused("", "an object of names and figures"))?;
    if entries.len() > AGGREGATES_MAX {
        return Err(refused("", "at most 32 figures"));
    }
    let one = |(name, figure): &(String, Value)| {
        let place = format!("/{}", name.chars().take(64).collect::<String>());
        let problem = || refused(&place, "one of `count` (a field or `*`), `sum`, `avg`, `min`, `max` with a field");
        let Some([(function, of)]) = figure.as_object() else { return Err(problem()) };
        let of = of.as_str().ok_or_else(problem)?;
        if (function.as_str(), of) == ("count", "*") {
            return Ok((name.clone(), Aggregate::Count(None)));
        }
        let path = Path::parse(of).map_err(|_| problem())?;
        let aggregate = match function.as_str() {
            "count" => Aggregate::Count(Some(path)),
            "sum" => Aggregate::Sum(path),
            "avg" => Aggregate::Avg(path),
            "min" => Aggregate::Min(path),
            "max" => Aggregate::Max(path),
            _ => return Err(problem()),
        };
        Ok((name.clone(), aggregate))
    };
    entries.iter().map(one).collect()
}

impl Parts {
    /// The groups that were asked for, if any were.
    fn grouping(&mut self) -> Result<Option<Grouping>, Problem> {
        let refused = |message: &str| Problem::new(Code::InvalidGroup, message).with_mistake("/group_by", message);
        let aggregates = std::mem::take(&mut self.aggregates);
        let group_by = match (self.group_by.take(), self.distinct.take()) {
            (Some(_), Some(_)) => return Err(refused("`distinct` is `group_by` without figures: send one of them")),
            (None, Some(_)) if !aggregates.is_empty() => {
                return Err(refused("`distinct` has no figures: use `group_by`"));
            }
            (Some(paths), None) | (None, Some(paths)) => paths,
            (None, None) if aggregates.is_empty() => return Ok(None),
            (None, None) => Vec::new(),
        };
        if self.select.is_some() {
            return Err(refused(
                "groups show what they are made by, and their figures: `select` has no place beside them",
            ));
        }
        let shown: Vec<String> = group_by.iter().map(Path::to_string).collect();
        if let Some((name, _)) = aggregates.iter().find(|(name, _)| shown.contains(name)) {
            return Err(refused(&format!("{name:?} names a field and a figure: call the figure something else")));
        }
        Ok(Some(Grouping { group_by, aggregates }))
    }

    fn wanted(mut self, freshness: Freshness, limits: &Limits, caller: &str) -> Result<Wanted, Problem> {
        let grouping = self.grouping()?;
        let offset = self.offset.unwrap_or(0) as usize;
        if offset > 0 && self.cursor.is_some() {
            return Err(Problem::parameter("offset", "a cursor already says where to go on: leave one of them out"));
        }
        let query = ListQuery {
            filter: self.filter,
            select: self.select,
            order: self.order,
            limit: self.limit.map_or(limits.page_items_default, |limit| limit as usize),
            offset,
            cursor: self.cursor,
            count: self.count,
            as_of: freshness.as_of,
            grouping,
            caller: caller.to_owned(),
        };
        // The cursor names the revision of all its pages; one that is named beside it must be the same, and nobody waits for it.
        let freshness = Freshness { as_of: freshness.as_of.filter(|_| query.cursor.is_none()), ..freshness };
        Ok(Wanted { query, freshness, limited: self.limit.is_some() })
    }
}

impl Wanted {
    /// The same, sure to be as new as anything acknowledged: for a cursor that this node has not caught up with.
    pub(super) fn caught_up(self) -> Self {
        Self { freshness: Freshness { mode: Mode::Linearizable, ..self.freshness }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(query: &str) -> Result<Wanted, Problem> {
        Wanted::from_params(Params::parse(Some(query))?, &HeaderMap::new(), &Limits::default(), "k")
    }

    fn body(body: &str) -> Result<Wanted, Problem> {
        Wanted::from_body(body.as_bytes(), Params::default(), &HeaderMap::new(), &Limits::default(), "k")
    }

    fn at(result: Result<Wanted, Problem>) -> (Code, Option<String>) {
        let problem = result.expect_err("it is refused");
        (problem.code(), problem.mistakes().first().map(|mistake| mistake.path.clone()))
    }

    #[test]
    fn a_url_and_a_body_mean_the_same() {
        let a = url(
            "filter=%7B%22n%22%3A%7B%22$gte%22%3A21%7D%7D&select=a,b.c&order=n.desc&limit=5&offset=2&count=exact&as_of=7",
        );
        let b = body(
            r#"{"filter":{"n":{"$gte":21}},"select":["a","b.c"],"order":"n.desc","limit":5,"offset":2,"count":"exact","as_of":7}"#,
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert_eq!((a.query.limit, a.query.offset, a.query.as_of, a.limited), (5, 2, Some(7), true));
        assert_eq!(a.freshness.as_of, Some(7));
    }

    #[test]
    fn pages_have_a_size_by_themselves() {
        let wanted = url("").unwrap();
        assert_eq!((wanted.query.limit, wanted.limited, wanted.query.caller.as_str()), (100, false, "k"));
        assert_eq!(body(r#"{"limit":null}"#).unwrap().query.limit, 100);
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["-1", "0", "1001", "x", ""] {
            assert_eq!(at(url(&format!("limit={bad}"))), (Code::InvalidParameter, Some("limit".into())), "{bad}");
        }
        for bad in ["-1", "0", "1001", "\"5\"", "5.0", "[]"] {
            let refused = at(body(&format!(r#"{{"limit":{bad}}}"#)));
            assert_eq!(refused, (Code::InvalidParameter, Some("/limit".into())), "{bad}");
        }
        assert_eq!(at(url("filter=%7B")), (Code::InvalidJson, Some("filter".into())));
        assert_eq!(at(url("filter=%7B%22a%22:1,%22a%22:2%7D")).0, Code::DuplicateKey);
        assert_eq!(at(url("filter=%5B%5D")).0, Code::InvalidFilter);
        assert_eq!(
            at(body(r#"{"filter":{"a":{"$near":1}}}"#)),
            (Code::UnknownOperator, Some("/filter/a/$near".into()))
        );
        assert_eq!(at(url("order=a,,b")).0, Code::InvalidOrder);
        assert_eq!(at(url("select=")).0, Code::InvalidSelect);
        assert_eq!(at(url("count=maybe")).0, Code::InvalidParameter);
        assert_eq!(at(url("page=2")), (Code::UnknownParameter, Some("page".into())));
        assert_eq!(at(body(r#"{"page":2}"#)), (Code::UnknownParameter, Some("/page".into())));
        for bad in [r#"{"group_by":[]}"#, r#"{"group_by":["a","a"]}"#, r#"{"group_by":[1]}"#, r#"{"distinct":"a..b"}"#]
        {
            assert_eq!(at(body(bad)).0, Code::InvalidParameter, "{bad}");
        }
        for bad in [
            r#"{"group_by":["a"],"distinct":"b"}"#,
            r#"{"group_by":["a"],"select":["a"]}"#,
            r#"{"group_by":["n"],"aggregates":{"n":{"count":"*"}}}"#,
            r#"{"aggregates":{"n":{"median":"a"}}}"#,
            r#"{"aggregates":{"n":{"sum":"*","avg":"a"}}}"#,
            r#"{"aggregates":[]}"#,
        ] {
            assert_eq!(at(body(bad)).0, Code::InvalidGroup, "{bad}");
        }
        assert_eq!(at(body("[]")).0, Code::InvalidParameter);
        assert_eq!(at(body("{")).0, Code::InvalidJson);
        assert_eq!(at(url("offset=5&cursor=x")), (Code::InvalidParameter, Some("offset".into())));
        assert!(url("offset=0&cursor=x").is_ok());
    }
}
