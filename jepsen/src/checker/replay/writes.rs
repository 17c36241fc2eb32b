//! Writes against the feed: each took effect once or not at all, as it was told.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::floors::condition_holds;
use super::timeline::{Timeline, revision_of, show};
use super::{Asked, Floors};
use crate::checker::query::{fields, merged};
use crate::checker::{Change, Finding};
use crate::client::{Condition, Op};
use crate::history::Kind;

/// Finds for each write the revision at which it took effect, and checks that it was right to.
pub(super) fn check(asked: &[&Asked<'_>], timeline: &Timeline<'_>, floors: &Floors, finding: &mut Finding) {
    let mut checking = Checking { timeline, floors, finding, taken: HashSet::new() };
    let by_tag = by_tag(timeline.feed);
    let mut deletes = Vec::new();
    for asked in asked.iter().filter(|asked| asked.op.is_write()) {
        match &asked.op {
            Op::Delete { .. } => deletes.push(*asked),
            _ => checking.tagged(asked, &by_tag),
        }
    }
    checking.deletes(&mut deletes);
    for change in timeline.feed {
        if !checking.taken.contains(&(change.revision, change.position)) {
            let text =
                format!("revision {}: {} of {} was asked by nobody, or twice", change.revision, change.kind, change.id);
            checking.finding.wrong("write of no request", text, Vec::new());
        }
    }
}

/// The tags of the documents that a write brings.
fn tags(op: &Op) -> Vec<&str> {
    let documents: &[Value] = match op {
        Op::Insert { documents, .. } => documents,
        Op::Put { document, .. } => std::slice::from_ref(document),
        Op::Patch { patch, .. } => std::slice::from_ref(patch),
        _ => &[],
    };
    documents.iter().filter_map(|document| document["w"].as_str()).collect()
}

fn by_tag(feed: &[Change]) -> HashMap<&str, Vec<&Change>> {
    let mut changes: HashMap<&str, Vec<&Change>> = HashMap::new();
    for change in feed {
        if let Some(tag) = change.tag() {
            changes.entry(tag).or_default().push(change);
        }
    }
    changes
}

struct Checking<'c, 'r> {
    timeline: &'c Timeline<'r>,
    floors: &'c Floors,
    finding: &'c mut Finding,
    /// Changes that were asked for.
    taken: HashSet<(u64, u64)>,
}

impl Checking<'_, '_> {
    /// A write whose documents carry a tag.
    fn tagged(&mut self, asked: &Asked<'_>, by_tag: &HashMap<&str, Vec<&Change>>) {
        let (operation, tags) = (asked.operation, tags(&asked.op));
        let found: Vec<&Change> = tags.iter().flat_map(|tag| by_tag.get(tag).into_iter().flatten()).copied().collect();
        let me = vec![operation.begin];
        if tags.is_empty() || !self.expected(asked, !found.is_empty()) {
            return;
        }
        let revision = found[0].revision;
        for change in &found {
            if !self.taken.insert((change.revision, change.position)) {
                self.finding.wrong(
                    "write of no request",
                    format!("revision {revision}: two writes made it"),
                    me.clone(),
                );
            }
        }
        if found.iter().any(|change| change.revision != revision) {
            let revisions: Vec<u64> = found.iter().map(|change| change.revision).collect();
            let rule = if tags.len() == 1 { "written twice" } else { "batch split or written twice" };
            self.finding.wrong(rule, format!("one {} at revisions {revisions:?}", operation.f), me);
            return;
        }
        if found.len() != tags.len() || self.timeline.revision(revision).len() != tags.len() {
            let text = format!("{} of {} documents are in revision {revision}", found.len(), tags.len());
            self.finding.wrong("batch split", text, me);
            return;
        }
        self.content(asked, &found);
        self.place(asked, revision);
    }

    /// Whether the write took effect as it was told; true if there is more to look at.
    fn expected(&mut self, asked: &Asked<'_>, took_effect: bool) -> bool {
        let operation = asked.operation;
        match (operation.kind, took_effect) {
            (Kind::Ok, false) => {
                let text =
                    format!("{} was acknowledged at revision {:?} and is nowhere", operation.f, operation.revision);
                self.finding.wrong("lost write", text, vec![operation.begin]);
            }
            (Kind::Fail, true) => {
                let why = operation.error.as_deref().unwrap_or_default();
                let text = format!("{} was refused ({why}) and took effect", operation.f);
                self.finding.wrong("refused write took effect", text, vec![operation.begin]);
            }
            _ => {}
        }
        match operation.kind {
            Kind::Ok => self.finding.count("operations acknowledged"),
            Kind::Fail => self.finding.count("writes refused"),
            Kind::Info | Kind::Invoke if took_effect => self.finding.count("unknown writes that took effect"),
            Kind::Info | Kind::Invoke => self.finding.count("unknown writes without effect"),
        }
        took_effect
    }

    /// What was written is what was asked, over what was there.
    fn content(&mut self, asked: &Asked<'_>, found: &[&Change]) {
        let me = vec![asked.operation.begin];
        let answers: Vec<&Value> = match &asked.op {
            Op::Insert { .. } => asked.operation.answer["documents"].as_array().into_iter().flatten().collect(),
            _ => asked.operation.answer.get("document").into_iter().collect(),
        };
        for (place, change) in found.iter().enumerate() {
            let before = change.previous.as_ref();
            let mut wanted = match &asked.op {
                Op::Insert { documents, .. } => documents[place].clone(),
                Op::Put { document, .. } => document.clone(),
                Op::Patch { patch, .. } => merged(&fields(before.unwrap_or(&Value::Null)), patch),
                _ => Value::Null,
            };
            if let Some(wanted) = wanted.as_object_mut() {
                wanted.entry("id").or_insert_with(|| change.id.as_str().into());
            }
            let written = change.document.as_ref().map(fields).unwrap_or_default();
            if written != wanted {
                let text = format!("revision {}: wanted {wanted}, written {written}", change.revision);
                self.finding.wrong("wrong content", text, me.clone());
            }
            let may = match &asked.op {
                Op::Insert { .. } => before.is_none(),
                Op::Patch { .. } => before.is_some(),
                _ => true,
            };
            if !may || !condition_holds(asked.op.condition(), revision_of(before)) {
                let text = format!("revision {}: it took effect over {}", change.revision, show(before));
                self.finding.wrong("precondition ignored", text, me.clone());
            }
            let answered = answers.get(place).copied();
            // A remembered answer whose body is no longer kept has the id and the revision only.
            let bare = answered.is_some_and(|a| a.as_object().is_some_and(|a| a.len() == 2));
            if asked.operation.kind == Kind::Ok && answered != change.document.as_ref() && !bare {
                let text = format!("written {}, answered {}", show(change.document.as_ref()), show(answered));
                self.finding.wrong("wrong answer to a write", text, me.clone());
            }
        }
    }

    /// It took effect after everything that had ended before it began, at the revision that it was told.
    fn place(&mut self, asked: &Asked<'_>, revision: u64) {
        let operation = asked.operation;
        if operation.kind == Kind::Ok && operation.revision != Some(revision) {
            let text = format!("told revision {:?}, written at {revision}", operation.revision);
            self.finding.wrong("wrong revision", text, vec![operation.begin]);
        }
        let floor = self.floors.before(operation.begin);
        if revision <= floor.revision {
            let text = format!("written at revision {revision}, though {} was reached before it began", floor.revision);
            self.finding.wrong("write into the past", text, vec![floor.by, operation.begin]);
        }
    }

    /// Deletes leave no tag. Those that were told their revision come first, then those that name what they delete, and
    /// what is left over goes to whoever may have made it: any choice among those is as good as another, for whoever
    /// may have made a change may have made every later one of that document too.
    fn deletes(&mut self, deletes: &mut Vec<&Asked<'_>>) {
        let certain = |asked: &Asked<'_>| match (asked.operation.kind, asked.op.condition()) {
            (Kind::Ok, _) => 0,
            (_, Condition::Revision(_)) => 1,
            _ => 2,
        };
        deletes.sort_by_key(|asked| (certain(asked), asked.operation.begin));
        let feed = self.timeline.feed;
        let mut open: HashMap<&str, Vec<&Change>> = HashMap::new();
        for change in feed.iter().filter(|change| change.document.is_none()) {
            open.entry(&change.id).or_default().push(change);
        }
        for asked in deletes.iter() {
            let (Op::Delete { id, condition, .. }, operation) = (&asked.op, asked.operation) else { continue };
            let floor = self.floors.before(operation.begin).revision;
            let may = |change: &Change| match operation.kind {
                Kind::Ok => operation.revision == Some(change.revision),
                Kind::Fail => false,
                _ => change.revision > floor && condition_holds(*condition, revision_of(change.previous.as_ref())),
            };
            let changes = open.entry(id).or_default();
            let place = changes.iter().position(|change| may(change));
            if !self.expected(asked, place.is_some()) {
                continue;
            }
            let change = changes.remove(place.unwrap_or(0));
            self.taken.insert((change.revision, change.position));
            if self.timeline.revision(change.revision).len() != 1 {
                let text = format!("revision {} holds more than one delete", change.revision);
                self.finding.wrong("batch split", text, vec![operation.begin]);
            }
            if !condition_holds(*condition, revision_of(change.previous.as_ref())) {
                let text = format!("it deleted {}", show(change.previous.as_ref()));
                self.finding.wrong("precondition ignored", text, vec![operation.begin]);
            }
            self.place(asked, change.revision);
        }
    }
}
