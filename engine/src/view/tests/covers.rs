//! Indexes whose bounds say all of a filter: documents are counted by entries alone, and not checked again.

use super::*;

/// Scalars only: with an array among them no index would say all of anything.
const VALUES: [&str; 12] =
    ["null", "0", "-0.0", "1", "1.0", "1.5", "2", r#""""#, r#""x""#, r#""xy""#, "true", "9007199254740993"];

fn field(dice: &mut Dice, name: &str) -> String {
    if dice.once_in(4) { String::new() } else { format!(r#""{name}":{},"#, dice.one_of(&VALUES)) }
}

fn random_test(dice: &mut Dice) -> String {
    let value = *dice.one_of(&VALUES);
    match dice.below(9) {
        0 => format!(r#"{{"$eq":{value}}}"#),
        1 => format!(r#"{{"$gt":{value}}}"#),
        2 => format!(r#"{{"$gte":{value}}}"#),
        3 => format!(r#"{{"$lt":{value}}}"#),
        4 => format!(r#"{{"$lte":{value}}}"#),
        5 => format!(r#"{{"$in":[{value},{}]}}"#, dice.one_of(&VALUES)),
        6 => r#"{"$in":[]}"#.to_owned(),
        7 => format!(r#"{{"$gte":{value},"$lt":{}}}"#, dice.one_of(&VALUES)),
        _ => format!(r#"{{"$startsWith":"{}"}}"#, dice.one_of(&["", "x", "xy", "z"])),
    }
}

fn random_filter(dice: &mut Dice) -> String {
    let (n, m) = (random_test(dice), random_test(dice));
    match dice.below(6) {
        0 => format!(r#"{{"n":{n}}}"#),
        1 => format!(r#"{{"n":{n},"m":{m}}}"#),
        2 => format!(r#"{{"$and":[{{"n":{n}}},{{"n":{m}}}]}}"#),
        3 => format!(r#"{{"n":{n},"on":1}}"#),
        4 => format!(r#"{{"n":{n},"$or":[{{"m":{m}}}]}}"#),
        _ => format!(r#"{{"n":{n},"m":{{"$exists":false}}}}"#),
    }
}

#[test]
fn what_is_counted_by_entries_is_what_matches() {
    CHEAP.set(Cheap::Fetches);
    let indexes = [
        r#"{"name":"i","fields":["n"]}"#,
        r#"{"name":"i","fields":["n.desc"]}"#,
        r#"{"name":"i","fields":["n","m.desc"]}"#,
        r#"{"name":"i","fields":["m.desc","n"]}"#,
        r#"{"name":"i","fields":["n"],"filter":{"on":1}}"#,
    ];
    let orders = ["", "n", "n.desc", "n,m.desc", "n.desc,m", "m"];
    let mut covered = 0;
    for seed in 0..60 {
        let (mut dice, mut leader) = (Dice::new(seed), Leader::new());
        let mut revisions = Vec::new();
        leader.submit(&create_index("c", indexes[seed as usize % indexes.len()]));
        leader.build(100);
        for step in 0..40 {
            let id = *dice.one_of(&IDS);
            let (n, m) = (field(&mut dice, "n"), field(&mut dice, "m"));
            let body = format!(r#"{{{n}{m}"on":{}}}"#, dice.below(2));
            let command = if dice.once_in(6) { delete("c", id) } else { put("c", id, &body) };
            leader.submit(&command);
            if step % 4 == 0 {
                let view = leader.node.view();
                let all = view.list(&view.collection("c").unwrap(), &query(100), &|| false).unwrap();
                revisions.push((view.revision(), all.items.iter().map(|body| model::parse(body)).collect::<Vec<_>>()));
            }
        }
        let view = leader.node.view();
        let collection = view.collection("c").unwrap();
        for _ in 0..60 {
            let text = random_filter(&mut dice);
            let (as_of, all) = dice.one_of(&revisions);
            let order = *dice.one_of(&orders);
            let query = ListQuery {
                filter: filter(&text),
                order: Order::parse(order).unwrap(),
                as_of: Some(*as_of),
                count: Count::Exact,
                ..query(1 + dice.below(4) as usize)
            };
            let expected = ids_in_order(all, &query);
            // Page after page, each of which counts all.
            let (found, counts) = ids_by_page(&view, &collection, &query);
            assert!(counts.iter().all(|count| *count == Some(expected.len() as u64)), "seed {seed}: {text} at {as_of}");
            assert_eq!(found, expected, "seed {seed}: {text} at {as_of} by {:?}", query.order);
            let explained = view.explain(&collection, &query, false, &|| false).unwrap();
            let chosen = explained.candidates.iter().find(|candidate| candidate.chosen).unwrap();
            covered += usize::from(chosen.reason.contains("counted by its entries"));
        }
    }
    assert!(covered > 500, "{covered} queries were counted by entries");
}
