//! Every way says the same: by id, through one index, and through several at once.

use super::*;

const VALUES: [&str; 8] = ["null", "0", "1", "2", r#""x""#, r#""xy""#, "[0,1]", "[1,2]"];
/// Ids that begin with others, and texts that no id can be.
const ID_TEXTS: [&str; 11] =
    ["", "a", "a b", "aa", "ab", "b", "\\u0001", "a\\u0000", "a\\u0000b", "a\\u0001", "\\u{10ffff}"];

fn random_id_test(dice: &mut Dice) -> String {
    let text = |dice: &mut Dice| match dice.once_in(2) {
        true => format!(r#""{}""#, dice.one_of(&IDS)),
        false => format!(r#""{}""#, dice.one_of(&ID_TEXTS).replace("\\u{10ffff}", "\u{10ffff}")),
    };
    let one = text(dice);
    match dice.below(10) {
        0 => format!(r#"{{"$eq":{one}}}"#),
        1 => format!(r#"{{"$gt":{one}}}"#),
        2 => format!(r#"{{"$gte":{one}}}"#),
        3 => format!(r#"{{"$lt":{one}}}"#),
        4 => format!(r#"{{"$lte":{one}}}"#),
        5 => format!(r#"{{"$in":[{one},{},{}]}}"#, text(dice), text(dice)),
        6 => format!(r#"{{"$gte":{one},"$lt":{}}}"#, text(dice)),
        7 => format!(r#"{{"$gt":{one},"$ne":{}}}"#, text(dice)),
        8 => r#"{"$in":[1,null]}"#.to_owned(),
        _ => format!(r#"{{"$startsWith":{one}}}"#),
    }
}

fn random_filter(dice: &mut Dice, depth: u32) -> String {
    let field = |dice: &mut Dice| match dice.below(8) {
        0..2 => format!(r#""id":{}"#, random_id_test(dice)),
        2..5 => format!(r#""n":{}"#, dice.one_of(&VALUES[..6])),
        5 => format!(r#""n":{{"$gte":{}}}"#, dice.one_of(&VALUES[..6])),
        6 => format!(r#""m":{{"$lte":{}}}"#, dice.one_of(&VALUES[..6])),
        _ => format!(r#""m":{}"#, dice.one_of(&VALUES[..6])),
    };
    let (one, other) = (field(dice), field(dice));
    match dice.below(if depth == 0 { 3 } else { 7 }) {
        0 => format!("{{{one}}}"),
        1 | 2 => format!(r#"{{"$and":[{{{one}}},{{{other}}}]}}"#),
        3 | 4 => format!(r#"{{"$or":[{},{}]}}"#, random_filter(dice, depth - 1), random_filter(dice, depth - 1)),
        5 => format!(r#"{{{one},"$or":[{},{{{other}}}]}}"#, random_filter(dice, depth - 1)),
        _ => format!(r#"{{"$and":[{{{one}}},{{"$or":[{},{{{other}}}]}}]}}"#, random_filter(dice, depth - 1)),
    }
}

#[test]
fn all_ways_say_the_same() {
    const INDEXES: [&str; 4] = [
        r#"{"name":"n","fields":["n"]}"#,
        r#"{"name":"m","fields":["m.desc"]}"#,
        r#"{"name":"nm","fields":["n","m"]}"#,
        r#"{"name":"p","fields":["m"],"filter":{"n":1}}"#,
    ];
    const ORDERS: [&str; 5] = ["", "id.desc", "n", "n.desc,id.desc", "m,n"];
    // By way: how many queries took it.
    let mut taken: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..80 {
        CHEAP.set(*[Cheap::Nothing, Cheap::Fetches, Cheap::Merges, Cheap::Merges].get(seed as usize % 4).unwrap());
        let (mut dice, mut leader) = (Dice::new(seed), Leader::new());
        for index in INDEXES {
            if !dice.once_in(4) {
                leader.submit(&create_index("c", index));
                leader.build(100);
            }
        }
        let mut revisions = Vec::new();
        for step in 0..40 {
            let id = *dice.one_of(&IDS);
            let body = format!(r#"{{"n":{},"m":{}}}"#, dice.one_of(&VALUES), dice.one_of(&VALUES));
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
        for _ in 0..80 {
            let (text, order) = (random_filter(&mut dice, 2), *dice.one_of(&ORDERS));
            let (as_of, all) = dice.one_of(&revisions);
            let query = ListQuery {
                filter: filter(&text),
                order: Order::parse(order).unwrap(),
                as_of: Some(*as_of),
                count: if dice.once_in(2) { Count::Exact } else { Count::None },
                ..query(1 + dice.below(4) as usize)
            };
            let expected = ids_in_order(all, &query);
            let (found, counts) = ids_by_page(&view, &collection, &query);
            assert_eq!(found, expected, "seed {seed}: {text} at {as_of} by {order}");
            let count = (query.count == Count::Exact).then_some(expected.len() as u64);
            assert!(counts.iter().all(|found| *found == count), "seed {seed}: {text} at {as_of}: {counts:?}");
            let explained = view.explain(&collection, &query, false, &|| false).unwrap();
            let way = &explained.candidates.iter().find(|candidate| candidate.chosen).unwrap().way;
            let plan = view.take_plan(&collection, &query, *as_of).unwrap();
            assert_eq!(plan.access.way(), *way, "seed {seed}: {text} at {as_of} by {order}");
            let way = match way {
                Way::Scan => "scan",
                Way::Ids => "ids",
                Way::Index(_) => "index",
                Way::Intersection(_) => "intersection",
                Way::Union(_) => "union",
            };
            *taken.entry(way).or_default() += 1;
        }
    }
    assert!(taken.len() == 5 && taken.values().all(|queries| *queries > 200), "{taken:?}");
}

/// A page that is taken without an estimate of its index goes the way that the estimates choose.
#[test]
fn what_is_surely_best_is_best() {
    let mut leader = Leader::new();
    for n in 0..200 {
        leader.submit(&put("c", &format!("d{n}"), &format!(r#"{{"n":{},"m":{}}}"#, n / 3, n % 7)));
    }
    let mut surely = [0; 2];
    for (others, index) in [r#"{"name":"n","fields":["n"]}"#, r#"{"name":"m","fields":["m"]}"#].iter().enumerate() {
        leader.submit(&create_index("c", index));
        leader.build(300);
        let view = leader.node.view();
        let collection = view.collection("c").unwrap();
        for text in [
            "{\"n\":{\"$gte\":5}}",
            "{\"n\":{\"$lt\":3},\"m\":1}",
            "{\"n\":70}",
            "{\"m\":{\"$gt\":2}}",
            "{\"id\":\"d7\",\"n\":{\"$gt\":1}}",
        ] {
            for (order, limit) in [("n", 10), ("n.desc", 45), ("n", 60), ("m", 10), ("", 10)] {
                let query = ListQuery { filter: filter(text), order: Order::parse(order).unwrap(), ..query(limit) };
                let taken = view.take_plan(&collection, &query, view.revision()).unwrap();
                let explained = view.explain(&collection, &query, true, &|| false).unwrap();
                let best = explained.candidates.iter().find(|candidate| candidate.chosen).unwrap();
                assert_eq!(taken.access.way(), best.way, "{text} by {order}");
                surely[others] += u32::from(taken.candidates.iter().all(|candidate| !candidate.chosen));
            }
        }
    }
    assert!(surely.iter().all(|queries| *queries >= 4), "{surely:?} were taken without an estimate");
}
