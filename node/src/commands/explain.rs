//! `aerodb explain`: how a query would be answered, what else was thought of, and why it was not taken.

use clap::Args;
use serde_json::Value;

use super::question::Question;
use crate::client::{ConnectArgs, segment};
use crate::output::{Align, Output, Table, cell};
use crate::units;

/// The question to explain: the flags are those of `aerodb query`.
#[derive(Debug, Args)]
pub(crate) struct ExplainCommand {
    /// The collection
    collection: String,
    #[command(flatten)]
    question: Question,
    /// Run it, too, and show what that took
    #[arg(long)]
    analyze: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks, and shows the plan.
pub(crate) async fn run(command: ExplainCommand, output: Output) -> anyhow::Result<()> {
    let call = command.question.call(format!("/api/{}/explain", segment(&command.collection)), command.analyze)?;
    let answer: Value = command.connect.client()?.send(&call).await?.json()?;
    Ok(output.result(&answer, || render(&answer, &command.question))?)
}

fn render(answer: &Value, question: &Question) -> String {
    let mut text = String::new();
    for (number, step) in steps(answer, question).iter().enumerate() {
        text.push_str(&format!("{}. {step}\n", number + 1));
    }
    if answer["actual"].is_object() {
        text.push_str(&format!("\n{}\n", actual(&answer["actual"], &answer["plan"])));
    }
    text.push_str(&format!("\n{}", ways(answer)));
    if let Some(revision) = answer["revision"].as_u64() {
        text.push_str(&format!("\n\nat revision {revision}; a cost of 1 is passing over one document"));
    }
    text
}

/// What is done, one thing after the other.
fn steps(answer: &Value, question: &Question) -> Vec<String> {
    let plan = &answer["plan"];
    let (offset, limit) = question.page();
    let ordered = answer["ordered"] == true;
    // An order that documents come in is worth a word only where there is a choice.
    let in_order = match question.order() {
        Some(order) if ordered && !question.is_grouped() => format!(", in the order asked for ({order})"),
        _ => String::new(),
    };
    let mut steps = Vec::new();
    let bounds: Vec<String> = super::items(&answer["bounds"], "bounds").iter().map(Value::to_string).collect();
    let place = match bounds[..] {
        [] => String::new(),
        _ => format!(" where {}", bounds.join(" and ")),
    };
    let fetch = "fetch the documents that it leads to".to_owned();
    match (plan["access"].as_str().unwrap_or_default(), ways_of(plan)) {
        ("index", _) => {
            let index = plan["index"].as_str().unwrap_or_default();
            steps.push(format!("go through the index {index}{place}{in_order}: {} entries", about(plan)));
            steps.push(fetch);
        }
        ("ids", _) => steps.push(format!("look at the documents{place}{in_order}: {}", about(plan))),
        (access @ ("intersection" | "union"), ways) => {
            let which = if access == "union" { "any" } else { "all" };
            steps.push(format!("gather the ids that {which} of {ways} lead to{place}: {}", about(plan)));
            steps.push(format!("fetch their documents{in_order}"));
        }
        _ => steps.push(format!("look at every document{in_order}: {}", about(plan))),
    }
    if question.is_filtered() {
        steps.push("keep those that the filter matches".to_owned());
    }
    if question.is_grouped() {
        steps.push(match question.grouped_by() {
            [] => "work out the figures of all of them".to_owned(),
            fields => format!("group them by {}", fields.join(", ")),
        });
        if let Some(order) = question.order() {
            steps.push(format!("sort the groups by {order}"));
        }
    } else if let Some(order) = question.order().filter(|_| !ordered) {
        steps.push(format!("sort them by {order}"));
    }
    let noun = if question.is_grouped() { "group" } else { "document" };
    let counting = if question.is_counted() { ", and count all" } else { "" };
    steps.push(match offset {
        0 => format!("take the first {}{counting}", units::plural(limit, noun)),
        _ => format!("pass over {}, and take {}{counting}", units::plural(offset, noun), units::count(limit)),
    });
    steps
}

/// The ways that an intersection or a union is of.
fn ways_of(way: &Value) -> String {
    let names = way["ways"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |name: &Value| match name.as_str() {
        Some("id") | None => "the ids".to_owned(),
        Some(name) => format!("index {name}"),
    };
    names.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn about(way: &Value) -> String {
    way["rows"].as_u64().map_or_else(|| "some".to_owned(), |rows| format!("about {}", units::count(rows)))
}

/// What a way is called.
fn name(way: &Value) -> String {
    match way["access"].as_str().unwrap_or_default() {
        "index" => format!("index {}", way["index"].as_str().unwrap_or_default()),
        "ids" => "some ids".to_owned(),
        "intersection" => format!("all of {}", ways_of(way)),
        "union" => format!("any of {}", ways_of(way)),
        _ => "every document".to_owned(),
    }
}

/// What it took, beside what was expected.
fn actual(actual: &Value, plan: &Value) -> String {
    let figure = |name: &str| actual[name].as_u64().map(units::count).unwrap_or_default();
    let bytes = actual["examined_bytes"].as_u64().map(units::bytes).unwrap_or_default();
    let took = actual["milliseconds"].as_f64().map(|ms| format!(", in {ms} ms")).unwrap_or_default();
    format!(
        "it took: {} documents looked at ({bytes}; {} expected), {} matched, {} returned{took}",
        figure("examined"),
        about(plan),
        figure("matched"),
        figure("returned"),
    )
}

/// A cost: its fraction matters only where it is small.
fn figure(cost: f64) -> String {
    match cost {
        _ if !cost.is_finite() => String::new(),
        _ if cost < 100.0 => format!("{cost:.1}"),
        _ => units::count(cost.round() as u64),
    }
}

/// Every way there is, the chosen one first, then by what they cost.
fn ways(answer: &Value) -> Table {
    let cost = |way: &Value| way["cost"].as_f64().unwrap_or(f64::INFINITY);
    let mut ways: Vec<&Value> = super::items(&answer["candidates"], "candidates").iter().collect();
    ways.sort_by(|a, b| {
        let chosen = |way: &Value| way["chosen"] == true;
        chosen(b).cmp(&chosen(a)).then(cost(a).total_cmp(&cost(b)))
    });
    let best = ways.first().map_or(f64::INFINITY, |way| cost(way));
    let columns = [
        ("way", Align::Left),
        ("rows", Align::Right),
        ("cost", Align::Right),
        ("", Align::Left),
        ("why", Align::Whole),
    ];
    let mut table = Table::new(columns);
    for way in ways {
        let possible = cost(way).is_finite();
        let verdict = match (way["chosen"] == true, possible) {
            (true, _) => "chosen".to_owned(),
            (false, false) => "not possible".to_owned(),
            (false, true) if best > 0.0 && cost(way) >= best * 1.05 => {
                format!("{:.1} times the cost", cost(way) / best)
            }
            (false, true) => "no cheaper".to_owned(),
        };
        table.row([
            name(way),
            if possible { way["rows"].as_u64().map(units::count).unwrap_or_default() } else { String::new() },
            figure(cost(way)),
            verdict,
            cell(way.get("reason")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::question::tests::question;
    use super::*;

    fn check(answer: &Value, flags: &[&str], expected: &str) {
        assert_eq!(render(answer, &question(flags).unwrap()), expected);
    }

    #[test]
    fn a_plan_through_an_index_that_was_run() {
        let by_age = json!({"access":"index","index":"by_age","rows":120,"cost":540.0,"chosen":true,
            "reason":"the filter bounds 1 of its 1 fields; what is found is sorted"});
        let scan = json!({"access":"scan","index":null,"rows":10_000,"cost":11_500.6,"chosen":false,
            "reason":"every document, then sorted"});
        let building =
            json!({"access":"index","index":"new","rows":0,"cost":null,"chosen":false,"reason":"it is being built"});
        let answer = json!({"plan":by_age,"ordered":false,"bounds":[{"age":{"$gte":21}}],
            "candidates":[building,scan,by_age],"revision":7,
            "actual":{"examined":118,"matched":100,"returned":20,"examined_bytes":35_000,"milliseconds":1.32}});
        check(
            &answer,
            &["--filter", r#"{"age":{"$gte":21}}"#, "--order", "name", "--offset", "5", "--count"],
            r#"1. go through the index by_age where {"age":{"$gte":21}}: about 120 entries
2. fetch the documents that it leads to
3. keep those that the filter matches
4. sort them by name
5. pass over 5 documents, and take 20, and count all

it took: 118 documents looked at (34.2 KiB; about 120 expected), 100 matched, 20 returned, in 1.32 ms

WAY               ROWS    COST                       WHY
index by_age       120     540  chosen               the filter bounds 1 of its 1 fields; what is found is sorted
every document  10,000  11,501  21.3 times the cost  every document, then sorted
index new                       not possible         it is being built

at revision 7; a cost of 1 is passing over one document"#,
        );
    }

    #[test]
    fn several_ways_at_once_and_ids() {
        let step = |plan: Value, bounds: Value| {
            let answer = json!({"plan":plan,"ordered":true,"bounds":bounds,"candidates":[plan],"revision":7});
            steps(&answer, &question(&["--filter", "{}"]).unwrap())[..2].join("; ")
        };
        let plan = json!({"access":"union","index":null,"ways":["a","id"],"rows":30});
        assert_eq!(name(&plan), "any of index a, the ids");
        assert_eq!(
            step(plan, json!([])),
            "gather the ids that any of index a, the ids lead to: about 30; fetch their documents"
        );
        let plan = json!({"access":"ids","index":null,"rows":3});
        assert_eq!(
            step(plan, json!([{"id":{"$gte":"k"}}])),
            r#"look at the documents where {"id":{"$gte":"k"}}: about 3; keep those that the filter matches"#
        );
    }

    #[test]
    fn groups_and_orders_that_come_by_themselves() {
        let scan = json!({"access":"scan","index":null,"rows":3,"cost":3.0,"chosen":true,"reason":"every document"});
        let answer = json!({"plan":scan,"ordered":true,"candidates":[scan],"revision":7});
        let flags = ["--group-by", "city", "-a", "n=count", "--order", "n.desc", "-l", "1"];
        let steps = |flags: &[&str]| steps(&answer, &question(flags).unwrap()).join("; ");
        assert_eq!(
            steps(&flags),
            "look at every document: about 3; group them by city; sort the groups by n.desc; take the first 1 group"
        );
        assert_eq!(
            steps(&["--order", "a"]),
            "look at every document, in the order asked for (a): about 3; take the first 20 documents"
        );
    }
}
