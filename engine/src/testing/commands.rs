//! Commands as a node hands them to the leader.

use aerodb_proto as proto;
use proto::command::Op;
use proto::precondition::Kind as Condition;
use proto::{Command, NumberRange, Precondition};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::limits::Limits;
use crate::{prepare, view};

/// The service key that [`bootstrap`] makes.
pub(crate) const SECRET: &str = "secret";

pub(crate) fn caller() -> proto::Caller {
    proto::Caller { key_id: view::api_key_id(SECRET) }
}

pub(crate) fn command(op: Op) -> Command {
    Command { caller: Some(caller()), idempotency: None, catalog_revision: 0, op: Some(op) }
}

pub(crate) fn bootstrap() -> Command {
    let service_key =
        proto::NewDocument { id: caller().key_id, fields: bytes::Bytes::from_static(br#"{"role":"service"}"#) };
    command(Op::Bootstrap(proto::Bootstrap {
        cluster_id: "test".into(),
        secret: vec![7; 32].into(),
        service_key: Some(service_key),
    }))
}

pub(crate) fn create(name: &str) -> Command {
    command(Op::CreateCollection(proto::CreateCollection { name: name.into(), ..Default::default() }))
}

/// A collection with references, as its owner describes them.
pub(crate) fn create_with(name: &str, references: &str) -> Command {
    let references = prepare::references(references.as_bytes(), &Limits::default()).unwrap();
    command(Op::CreateCollection(proto::CreateCollection { name: name.into(), references, ..Default::default() }))
}

/// All references that a collection is to have.
pub(crate) fn relate(collection: &str, references: &str) -> Command {
    let references = prepare::references(references.as_bytes(), &Limits::default()).unwrap();
    command(Op::ChangeSettings(proto::ChangeSettings {
        collection: collection.into(),
        references: Some(proto::NewReferences { references }),
        ..Default::default()
    }))
}

pub(crate) fn drop(name: &str) -> Command {
    command(Op::DropCollection(proto::DropCollection { name: name.into() }))
}

/// An insert of an object, or of an array of them; each brings its id.
pub(crate) fn insert(collection: &str, body: &str) -> Command {
    let mut no_id = || panic!("a document of a test has an id: {body}");
    let inserts = prepare::insert(body.as_bytes(), &mut no_id, &Limits::default()).unwrap();
    command(Op::Insert(proto::InsertDocuments {
        collection: collection.into(),
        documents: inserts.documents,
        many: inserts.many,
        ..Default::default()
    }))
}

pub(crate) fn put(collection: &str, id: &str, body: &str) -> Command {
    let document = Some(prepare::put(id, body.as_bytes(), &Limits::default()).unwrap());
    command(Op::Put(proto::PutDocument { collection: collection.into(), document, ..Default::default() }))
}

pub(crate) fn patch(collection: &str, id: &str, body: &str) -> Command {
    let patch = prepare::patch(id, body.as_bytes(), &Limits::default()).unwrap();
    let (collection, id) = (collection.into(), id.into());
    command(Op::Patch(proto::PatchDocument { collection, id, patch, preconditions: Vec::new() }))
}

pub(crate) fn delete(collection: &str, id: &str) -> Command {
    let (collection, id) = (collection.into(), id.into());
    command(Op::Delete(proto::DeleteDocument { collection, id, preconditions: Vec::new() }))
}

/// An index, as its owner describes it.
pub(crate) fn create_index(collection: &str, body: &str) -> Command {
    let index = Some(prepare::index(body.as_bytes(), &Limits::default()).unwrap());
    command(Op::CreateIndex(proto::CreateIndex { collection: collection.into(), index }))
}

/// A collection's new schema, as its owner writes it; `none` takes away the one that it has.
pub(crate) fn set_schema(collection: &str, schema: &str, validation: proto::Validation) -> Command {
    let json = (schema != "none").then(|| prepare::schema(schema.as_bytes(), &Limits::default()).unwrap());
    command(Op::ChangeSettings(proto::ChangeSettings {
        collection: collection.into(),
        drop_schema: json.is_none(),
        validation: json.as_ref().map(|_| validation.into()),
        schema: json,
        ..Default::default()
    }))
}

pub(crate) fn drop_index(collection: &str, name: &str) -> Command {
    command(Op::DropIndex(proto::DropIndex { collection: collection.into(), name: name.into() }))
}

/// A transaction, as its caller writes it.
pub(crate) fn transact(body: &str) -> Command {
    let mut no_id = || panic!("a document of a test has an id: {body}");
    command(Op::Transaction(prepare::transaction(body.as_bytes(), &mut no_id, &Limits::default()).unwrap()))
}

/// The same command under a precondition.
pub(crate) fn when(mut command: Command, condition: Condition) -> Command {
    let preconditions = match &mut command.op {
        Some(Op::Put(put)) => &mut put.preconditions,
        Some(Op::Patch(patch)) => &mut patch.preconditions,
        Some(Op::Delete(delete)) => &mut delete.preconditions,
        other => panic!("{other:?} takes no precondition"),
    };
    preconditions.push(Precondition { kind: Some(condition) });
    command
}

/// The same command with an idempotency key; `scope` is its method and path.
pub(crate) fn keyed(mut command: Command, scope: &str, key: &str, body: &str) -> Command {
    let body_digest = Sha256::digest(body).to_vec().into();
    command.idempotency = Some(proto::IdempotencyKey { key: key.into(), scope: scope.into(), body_digest });
    command
}

pub(crate) fn ack(first: u64, last: u64) -> [NumberRange; 1] {
    [NumberRange { first, last }]
}

/// Chance, the same for the same seed.
pub(crate) struct Dice(SmallRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// A number in `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Ids of random documents; one begins with another, so that keys that run into each other are noticed.
pub(crate) const IDS: [&str; 5] = ["a", "ab", "b", "b!", "ü"];

/// A command on the collections `c`, `d` and `e`, near `revision`.
pub(crate) fn random(dice: &mut Dice, revision: u64) -> Command {
    if dice.once_in(12) {
        return random_index(dice);
    }
    let name = *dice.one_of(&["c", "c", "c", "d", "e"]);
    let id = *dice.one_of(&IDS);
    let mut fields = Vec::new();
    for field in ["n", "m", "s"] {
        if dice.once_in(2) {
            let value = dice.one_of(&["1", "2", "2.5", "null", r#""x""#, "[1,2]", r#"{"k":1}"#]);
            fields.push(format!(r#""{field}":{value}"#));
        }
    }
    let body = format!("{{{}}}", fields.join(","));
    let command = match dice.below(20) {
        0..4 => return insert(name, &body.replacen('{', &with_id(id, &body), 1)),
        4..6 => return insert(name, &many(dice, &body)),
        6 => return create(name),
        7 if dice.once_in(4) => return drop(name),
        8..12 => put(name, id, &body),
        12..14 => patch(name, id, &body),
        14 => patch(name, id, &random_update(dice)),
        15..17 => return random_transaction(dice, revision),
        _ => delete(name, id),
    };
    match dice.below(10) {
        0 => when(command, Condition::IfExists(true)),
        1 => when(command, Condition::IfAbsent(true)),
        2 => when(command, Condition::IfRevision(revision.saturating_sub(dice.below(4)))),
        _ => command,
    }
}

fn random_index(dice: &mut Dice) -> Command {
    let collection = *dice.one_of(&["c", "c", "d"]);
    let name = *dice.one_of(&["i", "j", "k"]);
    if dice.once_in(4) {
        return drop_index(collection, name);
    }
    let fields = *dice.one_of(&[r#"["n"]"#, r#"["n.desc","m"]"#, r#"["s"]"#, r#"["m","n.desc"]"#, r#"["m.k","s"]"#]);
    let filter = *dice.one_of(&["", "", "", r#","filter":{"n":{"$gte":1}}"#]);
    let unique = if dice.once_in(6) { r#","unique":true"# } else { "" };
    create_index(collection, &format!(r#"{{"name":"{name}","fields":{fields}{filter}{unique}}}"#))
}

fn random_update(dice: &mut Dice) -> String {
    let field = *dice.one_of(&["n", "m.k", "s"]);
    let operator = *dice.one_of(&["$set", "$unset", "$inc", "$max", "$push", "$addToSet", "$pull"]);
    format!(r#"{{"{operator}":{{"{field}":{}}}}}"#, dice.one_of(&["1", "2"]))
}

fn random_transaction(dice: &mut Dice, revision: u64) -> Command {
    let operations: Vec<String> = (0..1 + dice.below(4)).map(|_| random_operation(dice, revision)).collect();
    let read_revision = match dice.below(3) {
        0 => format!(r#""read_revision":{},"#, 1 + revision.saturating_sub(1 + dice.below(6))),
        _ => String::new(),
    };
    transact(&format!(r#"{{{read_revision}"operations":[{}]}}"#, operations.join(",")))
}

fn random_operation(dice: &mut Dice, revision: u64) -> String {
    let (name, id) = (*dice.one_of(&["c", "c", "d"]), *dice.one_of(&IDS));
    let n = dice.below(3);
    let what = match dice.below(6) {
        0 => format!(r#""op":"insert","document":{{"n":{n}}}"#),
        1 => format!(r#""op":"put","document":{{"n":{n}}}"#),
        2 => format!(r#""op":"patch","patch":{{"m":{n}}}"#),
        3 => format!(r#""op":"patch","patch":{}"#, random_update(dice)),
        4 => r#""op":"delete""#.to_owned(),
        _ => r#""op":"get""#.to_owned(),
    };
    let condition = match dice.below(12) {
        0 => r#","if_exists":true"#.to_owned(),
        1 => r#","if_absent":true"#.to_owned(),
        2 => r#","if":{"n":{"$gte":1}}"#.to_owned(),
        3 => format!(r#","if_revision":{}"#, revision.saturating_sub(dice.below(4))),
        _ => String::new(),
    };
    format!(r#"{{"collection":"{name}","id":"{id}",{what}{condition}}}"#)
}

fn with_id(id: &str, body: &str) -> String {
    format!(r#"{{"id":"{id}"{}"#, if body == "{}" { "" } else { "," })
}

fn many(dice: &mut Dice, body: &str) -> String {
    let first = dice.below(IDS.len() as u64) as usize;
    let items: Vec<_> = IDS
        .iter()
        .cycle()
        .skip(first)
        .take(1 + dice.below(3) as usize)
        .map(|id| body.replacen('{', &with_id(id, body), 1))
        .collect();
    format!("[{}]", items.join(","))
}
