//! Groups and their figures.

use super::*;
use crate::json::Path;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn grouping(group_by: &[&str], aggregates: &[(&str, Aggregate)]) -> Option<Grouping> {
    let aggregates = aggregates.iter().map(|(name, aggregate)| ((*name).to_owned(), aggregate.clone())).collect();
    Some(Grouping { group_by: group_by.iter().map(|text| path(text)).collect(), aggregates })
}

fn texts(page: &Page) -> Vec<String> {
    page.items.iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect()
}

fn five() -> Leader {
    check(
        r#"
        insert c [{"id":"a","city":"Oslo","n":1},{"id":"b","city":"Oslo","n":2.5},{"id":"d","city":"Rome","n":"x"},{"id":"e","n":9007199254740993},{"id":"f","city":null,"n":1}] => changed 3 a@3 b@3 d@3 e@3 f@3 created
        append  => seq 3
        apply   => [Effective]
        "#,
    )
}

#[test]
fn figures_are_what_they_say() {
    let leader = five();
    let all = [
        ("docs", Aggregate::Count(None)),
        ("have", Aggregate::Count(Some(path("n")))),
        ("sum", Aggregate::Sum(path("n"))),
        ("avg", Aggregate::Avg(path("n"))),
        ("min", Aggregate::Min(path("n"))),
        ("max", Aggregate::Max(path("n"))),
    ];
    let by_city = ListQuery { grouping: grouping(&["city"], &all), ..query(10) };
    assert_eq!(
        texts(&list(&leader, "c", &by_city).unwrap()),
        [
            r#"{"city":null,"docs":2,"have":2,"sum":9007199254740994,"avg":4503599627370497.0,"min":1,"max":9007199254740993}"#,
            r#"{"city":"Oslo","docs":2,"have":2,"sum":3.5,"avg":1.75,"min":1,"max":2.5}"#,
            r#"{"city":"Rome","docs":1,"have":1,"sum":0,"avg":null,"min":"x","max":"x"}"#,
        ]
    );
    let whole = ListQuery { grouping: grouping(&[], &all[..3]), ..query(10) };
    assert_eq!(texts(&list(&leader, "c", &whole).unwrap()), [r#"{"docs":5,"have":5,"sum":9007199254740998.0}"#]);
    let none = ListQuery { filter: filter(r#"{"n":77}"#), grouping: grouping(&[], &all[..1]), ..query(10) };
    assert_eq!(texts(&list(&leader, "c", &none).unwrap()), [r#"{"docs":0}"#], "no documents are one group too");
    let none = ListQuery { filter: filter(r#"{"n":77}"#), grouping: grouping(&["city"], &[]), ..query(10) };
    assert_eq!(list(&leader, "c", &none).unwrap().items, Vec::<bytes::Bytes>::new());
}

/// Equal values may be written in several ways: one of them stands for all, whichever comes first.
#[test]
fn what_a_group_shows_does_not_depend_on_who_comes_first() {
    let mut leader = Leader::new();
    for (id, value) in [("a", "1.0"), ("b", "1"), ("d", "[1.0]"), ("e", "[1]"), ("f", "2"), ("g", "2.0")] {
        leader.submit(&put("c", id, &format!(r#"{{"n":{value}}}"#)));
    }
    let page = list(&leader, "c", &ListQuery { grouping: grouping(&["n"], &[]), ..query(10) }).unwrap();
    assert_eq!(texts(&page), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":[1.0]}"#]);
}

#[test]
fn groups_come_in_the_order_of_what_they_show() {
    let leader = five();
    let ask = |order: &str| ListQuery {
        grouping: grouping(&["city"], &[("docs", Aggregate::Count(None))]),
        order: Order::parse(order).unwrap(),
        count: Count::Exact,
        ..query(2)
    };
    let page = list(&leader, "c", &ask("docs.desc")).unwrap();
    assert_eq!(texts(&page), [r#"{"city":null,"docs":2}"#, r#"{"city":"Oslo","docs":2}"#]);
    assert_eq!(page.count, Some(3));
    let next = list(&leader, "c", &ListQuery { cursor: page.next_cursor, ..ask("docs.desc") }).unwrap();
    assert_eq!((texts(&next), next.next_cursor), (vec![r#"{"city":"Rome","docs":1}"#.to_owned()], None));
    assert!(matches!(list(&leader, "c", &ask("n")), Err(ReadError::InvalidOrder(_))));
}

#[test]
fn groups_are_bounded_and_say_what_cannot_be() {
    let limits = crate::Limits { query_bytes_max: 1_000, ..crate::Limits::default() };
    let documents: Vec<String> = (0..40).map(|n| format!(r#"{{"id":"{n}","n":{n},"a":[{{"b":1}}]}}"#)).collect();
    let mut leader = Leader::with(limits);
    leader.submit(&crate::testing::insert("c", &format!("[{}]", documents.join(","))));
    let by = |field: &str| ListQuery { grouping: grouping(&[field], &[]), ..query(10) };
    assert!(matches!(list(&leader, "c", &by("n")), Err(ReadError::TooExpensive(_))));
    assert!(matches!(list(&leader, "c", &by("a.b")), Err(ReadError::InvalidGroup(_))));
    assert!(list(&leader, "c", &by("s")).is_ok());
}

/// Counts of groups, beside counting what the model has; pages go on at the first one's revision.
#[test]
fn groups_of_a_revision_stay_while_writes_go_on() {
    for seed in 0..12 {
        let mut dice = Dice::new(seed);
        let (mut model, mut leader) = (Model::new(), Leader::new());
        for _ in 0..25 {
            reads::step(&mut model, &mut leader, &mut dice);
        }
        let Some(&number) = model.names.get("c") else { continue };
        let field = *dice.one_of(&["n", "m", "s"]);
        let revision = model.revision();
        let mut expected: Vec<(Value, u64)> = Vec::new();
        for doc in model.at(number, revision).values() {
            let value = model::parse(&doc.body).get(field).cloned().unwrap_or(Value::Null);
            match expected.iter_mut().find(|(found, _)| found.equals(&value)) {
                Some((_, count)) => *count += 1,
                None => expected.push((value, 1)),
            }
        }
        expected.sort_by(|(a, _), (b, _)| a.compare(b));
        let mut ask = ListQuery { grouping: grouping(&[field], &[("docs", Aggregate::Count(None))]), ..query(2) };
        let mut found = Vec::new();
        loop {
            let page = list(&leader, "c", &ask).unwrap();
            assert_eq!(page.revision, revision);
            found.extend(page.items.iter().map(|item| {
                let row = model::parse(item);
                (row.get(field).unwrap().clone(), row.get("docs").unwrap().clone())
            }));
            ask.cursor = page.next_cursor;
            if ask.cursor.is_none() || leader.node.view().collection("c").is_none_or(|now| now.id != number) {
                break;
            }
            for _ in 0..3 {
                reads::step(&mut model, &mut leader, &mut dice);
            }
            if leader.node.view().collection("c").is_none_or(|now| now.id != number) {
                break;
            }
        }
        for ((value, count), (wanted, documents)) in found.iter().zip(&expected) {
            assert!(value.equals(wanted) && *count == Value::from(*documents), "seed {seed}: {value} {wanted}");
        }
        assert!(ask.cursor.is_some() || found.len() == expected.len(), "seed {seed}");
    }
}
