//! Every way to read, at every revision, beside the model.

use super::*;

const FILTERS: [&str; 18] = [
    r#"{"n":{"$gt":1,"$lt":3}}"#,
    r#"{"n":{"$in":[1,2.5,null]},"m":1}"#,
    r#"{"m":{"$in":[1,[1,2],null,"x"]}}"#,
    r#"{"s":{"$startsWith":"x"}}"#,
    r#"{"s":{"$regex":"^x[a-z]*$"}}"#,
    r#"{"m":{"$gt":1,"$lt":2}}"#,
    r#"{"m.k":{"$gte":1},"s":"x"}"#,
    r#"{"n":{"$gte":1},"m":{"$lte":2}}"#,
    r#"{"$and":[{"n":2},{"m":{"$exists":false}}]}"#,
    "{}",
    r#"{"n":1}"#,
    r#"{"n":{"$gte":1},"s":{"$exists":false}}"#,
    r#"{"$or":[{"m":null},{"s":"x"}]}"#,
    r#"{"id":{"$in":["a","b!"]}}"#,
    r#"{"n":99}"#,
    r#"{"id":{"$gte":"ab","$lt":"c"},"n":{"$exists":true}}"#,
    r#"{"$or":[{"n":2},{"s":"x"},{"id":"b"}]}"#,
    r#"{"n":{"$gte":1},"s":"x","m":{"$gte":1}}"#,
];
const ORDERS: [&str; 11] = [
    "s",
    "m,n.desc",
    "n.desc",
    "m.desc,n",
    "",
    "n",
    "n.desc,m",
    "s.desc",
    "_revision.desc",
    "id.desc",
    "_created_at,m.desc",
];

fn random_query(dice: &mut Dice) -> ListQuery {
    let text = *dice.one_of(&FILTERS[..]);
    ListQuery {
        filter: if dice.once_in(3) { None } else { filter(text) },
        select: dice.once_in(3).then(|| Select::parse("n,s.k").unwrap()),
        order: Order::parse(ORDERS[dice.below(ORDERS.len() as u64) as usize]).unwrap(),
        offset: if dice.once_in(2) { 0 } else { dice.below(4) as usize },
        count: *dice.one_of(&[Count::None, Count::Exact, Count::Estimated]),
        ..query(1 + dice.below(4) as usize)
    }
}

/// All that match at `revision`, sorted, before offset and limit.
fn expected(model: &Model, collection: u32, revision: u64, query: &ListQuery) -> Vec<bytes::Bytes> {
    let docs = model.at(collection, revision);
    let mut rows: Vec<_> = docs
        .iter()
        .map(|(id, doc)| (id, model::parse(&doc.body)))
        .filter(|(_, value)| query.filter.as_ref().is_none_or(|filter| filter.matches(value)))
        .map(|(id, value)| ((query.order.key(&value).unwrap(), id.clone()), value))
        .collect();
    rows.sort_by(|(a, _), (b, _)| query.order.compare(a, b));
    let shown = |value: Value| query.select.as_ref().map_or(value.clone(), |select| select.apply(&value));
    rows.into_iter().map(|(_, value)| shown(value).to_bytes().into()).collect()
}

/// Compares everything that a reader can ask for.
fn compare(model: &Model, leader: &Leader, dice: &mut Dice) {
    let view = leader.node.view();
    assert_eq!(view.revision(), model.revision());
    let names: Vec<_> = view.collections().iter().map(|found| (found.name.clone(), found.id)).collect();
    assert_eq!(names, model.names.clone().into_iter().collect::<Vec<_>>());
    for (name, &number) in &model.names {
        let collection = view.collection(name).unwrap();
        let oldest = model.oldest.get(&number).copied().unwrap_or(0);
        let last = model.revision();
        let latest = model.at(number, last);
        let stats = view.stats(&collection).unwrap();
        assert_eq!(stats.documents, latest.len() as u64);
        assert_eq!(stats.bytes, latest.values().map(|doc| doc.body.len() as u64).sum::<u64>());
        for id in IDS.iter().copied().chain(["zz"]) {
            let found = view.get(&collection, id).unwrap().map(|found| (found.revision, found.body));
            assert_eq!(found, latest.get(id).map(|doc| (doc.revision, doc.body.clone())), "{id}");
            for revision in oldest..=last {
                let found = view.get_at(&collection, id, revision).unwrap().map(|found| found.body);
                assert_eq!(found, model.at(number, revision).get(id).map(|doc| doc.body.clone()), "{id} at {revision}");
            }
            let limit = 1 + dice.below(4) as usize;
            assert_eq!(
                versions::all(&view, &collection, id, limit),
                model.history(number, id),
                "{id}, {limit} at a time"
            );
        }
        for since in oldest..=last {
            changes(&view, &collection, since, dice.below(5) as usize, &model.events(number, since));
            let query = ListQuery { as_of: Some(since), limit: 100, offset: 0, ..random_query(dice) };
            let page = view.list(&collection, &query, &|| false).unwrap();
            assert_eq!(page.items, expected(model, number, since, &query), "at {since}: {query:?}");
            assert_eq!((page.next_cursor, page.revision), (None, since));
            let count = (query.count != Count::None).then_some(page.items.len() as u64);
            assert_eq!(page.count, count, "at {since}: {query:?}");
        }
        let below =
            (oldest > 0).then(|| oldest - 1).into_iter().map(|revision| (revision, format!("compacted {oldest}")));
        for (revision, expected) in below.chain([(last + 1, format!("ahead {last}"))]) {
            assert_eq!(word(view.get_at(&collection, "a", revision)), expected);
            assert_eq!(word(view.changes(&collection, revision, 10, usize::MAX)), expected);
            let query = ListQuery { as_of: Some(revision), ..query(1) };
            assert_eq!(word(view.list(&collection, &query, &|| false)), expected);
        }
    }
}

/// The feed from `since`, read in pieces: ordered, complete, with both images, no revision split.
fn changes(view: &View, collection: &Collection, since: u64, limit: usize, expected: &[Change]) {
    let all = view.changes(collection, since, usize::MAX, usize::MAX).unwrap();
    assert_eq!(all, Changes { items: expected.to_vec(), more: false }, "since {since}");
    let (mut position, mut found) = (since, Vec::new());
    loop {
        let piece = view.changes(collection, position, limit, usize::MAX).unwrap();
        let Some(last) = piece.items.last() else { break };
        // Positions count across the collections of a transaction: the first one here need not be 0.
        assert!(piece.items[0].revision > position, "a piece begins with a revision");
        let of_last = |changes: &[Change]| changes.iter().filter(|change| change.revision == last.revision).count();
        assert_eq!(of_last(&piece.items), of_last(expected), "no revision is split");
        assert!(piece.items.len() < limit.max(1) + of_last(expected), "as many as asked, and the rest of a revision");
        assert_eq!(piece.more, expected.last().is_some_and(|end| end.revision > last.revision));
        position = last.revision;
        found.extend(piece.items);
    }
    assert_eq!(found, expected, "since {since}, {limit} at a time");
}

/// Walks a random query to its end while writes go on: the pages hold exactly the documents of the first one's revision.
fn walk(model: &mut Model, leader: &mut Leader, dice: &mut Dice) -> (u32, u32) {
    let names: Vec<_> = model.names.keys().cloned().collect();
    let Some(name) = names.get(dice.below(names.len().max(1) as u64) as usize) else { return (0, 0) };
    let number = model.names[name];
    let oldest = model.oldest.get(&number).copied().unwrap_or(0);
    let mut query = random_query(dice);
    let revision = oldest + dice.below(model.revision() - oldest + 1);
    query.as_of = dice.once_in(2).then_some(revision);
    let revision = query.as_of.unwrap_or(model.revision());
    let all = expected(model, number, revision, &query);
    let through = through_index(leader, name, &query);
    let matched = (query.count != Count::None).then_some(all.len() as u64);
    let mut found = Vec::new();
    loop {
        let page = match model.names.get(name) {
            Some(&now) if now == number => list(leader, name, &query).unwrap(),
            _ => return through,
        };
        assert_eq!((page.revision, page.count), (revision, matched), "{query:?}");
        assert!(page.items.len() == query.limit || page.next_cursor.is_none(), "{query:?}");
        found.extend(page.items);
        query.limit = 1 + dice.below(4) as usize;
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
        for _ in 0..dice.below(3) {
            step(model, leader, dice);
        }
    }
    let skipped: Vec<_> = all.into_iter().skip(query.offset).collect();
    assert_eq!(found, skipped, "at {revision}: {query:?}");
    through
}

/// Whether an index is used, and whether its order is.
fn through_index(leader: &Leader, name: &str, query: &ListQuery) -> (u32, u32) {
    let view = leader.node.view();
    let explained = view.explain(&view.collection(name).unwrap(), query, false, &|| false).unwrap();
    let index = explained.candidates.iter().any(|candidate| candidate.chosen && matches!(candidate.way, Way::Index(_)));
    (u32::from(index), u32::from(index && explained.ordered))
}

/// One random command, on both sides.
pub(super) fn step(model: &mut Model, leader: &mut Leader, dice: &mut Dice) {
    let command = random(dice, model.revision());
    leader.clock_ms += dice.below(3);
    let time_ms = leader.clock_ms;
    let outcome = leader.submit(&command);
    assert_eq!(outcome.changed, model.play(&command, time_ms), "{command:?}: {outcome:?}");
    assert_eq!(outcome.revision, model.revision(), "{command:?}");
    if outcome.changed {
        leader.build(1 + dice.below(3) as usize);
        model.build(&command);
        assert_eq!(leader.node.view().revision(), model.revision(), "{command:?}");
    }
}

#[test]
fn every_read_says_what_the_model_says() {
    let mut through = (0, 0);
    CHEAP.set(Cheap::Fetches);
    for seed in 0..36 {
        let mut dice = Dice::new(seed);
        let (mut model, mut leader) = (Model::new(), Leader::new());
        for round in 0..5 {
            for _ in 0..12 {
                step(&mut model, &mut leader, &mut dice);
            }
            for _ in 0..6 {
                let (index, ordered) = walk(&mut model, &mut leader, &mut dice);
                through = (through.0 + index, through.1 + ordered);
            }
            // Read from memory, from files, and behind a watermark.
            match (seed + round) % 3 {
                0 => leader.node.engine().flush().unwrap(),
                1 => advance(&mut model, &mut leader, &mut dice),
                _ => {}
            }
            compare(&model, &leader, &mut dice);
        }
    }
    assert!(through.0 > 100 && through.1 > 20, "lists went through indexes: {through:?}");
}

/// Raises the watermark of every collection to some revision, and collects what is below.
fn advance(model: &mut Model, leader: &mut Leader, dice: &mut Dice) {
    for (name, &number) in &model.names.clone() {
        let oldest = model.oldest.get(&number).copied().unwrap_or(0);
        let revision = oldest + dice.below(model.revision() - oldest + 1);
        collecting::mark(leader, name, revision);
        model.oldest.insert(number, revision);
    }
    compare(model, leader, dice);
    let before = leader.node.digest();
    collecting::collect(leader);
    assert_eq!(leader.node.digest(), before, "collecting is no part of the digest");
}
