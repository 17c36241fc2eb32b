//! The change feed as it is sent: page after page, at most one in memory, never a part of a revision.

use std::sync::Arc;

use aerodb_engine::Matcher;
use aerodb_engine::filter::Filter;
use aerodb_engine::view::{Change, ChangeKind, ReadError, View};
use aerodb_proto as proto;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use crate::auth::Caller;
use crate::error::{Code, Problem};
use crate::events::{KEEP_ALIVE, event};
use crate::negotiate::Form;
use crate::state::ApiState;

/// After a change a feed waits so long for more: it then reads them together, and a busy node is not asked for each.
const GATHER: Duration = Duration::from_millis(2);

/// When a feed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Once it has sent about so many more changes, or all that there are.
    Count(usize),
    /// Once it has sent what there was when it began.
    Now,
    /// When the client goes, the collection is dropped, or the node stops.
    Stopped,
}

/// A change feed on its way to a client.
pub(super) struct Feed {
    state: ApiState,
    caller: Caller,
    collection: Arc<proto::Collection>,
    form: Form,
    /// Only changes of documents that match, before or after.
    filter: Option<Arc<Filter>>,
    until: Until,
    /// Everything up to this revision was sent.
    since: u64,
    /// The last revision that the client was told it has everything of.
    bookmark: Option<u64>,
    /// Changes above this are not for this feed.
    end: u64,
    changed: watch::Receiver<u64>,
    /// When the last part was sent.
    spoke: Instant,
    doing: Doing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Reading,
    /// Everything was sent; the next change wakes it.
    Waiting,
    Ended,
}

impl Feed {
    pub(super) fn new(
        state: ApiState,
        caller: Caller,
        collection: Arc<proto::Collection>,
        form: Form,
        filter: Option<Filter>,
        since: u64,
        until: Until,
    ) -> Self {
        let changed = state.changed();
        Self {
            state,
            caller,
            collection,
            form,
            filter: filter.map(Arc::new),
            until,
            since,
            bookmark: None,
            spoke: Instant::now(),
            end: u64::MAX,
            changed,
            doing: Doing::Reading,
        }
    }

    /// The first part, from `view`.
    pub(super) async fn begin(&mut self, view: Arc<View>) -> Result<Bytes, Problem> {
        if self.until != Until::Stopped {
            self.end = view.revision();
        }
        Ok(self.read(view).await?.into())
    }

    /// The next part; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let part = self.part().await?;
        self.spoke = Instant::now();
        Some(part.into())
    }

    async fn part(&mut self) -> Option<String> {
        loop {
            match self.doing {
                Doing::Ended => return None,
                Doing::Reading => {}
                Doing::Waiting => {
                    if let Some(part) = self.wait().await {
                        return Some(part);
                    }
                }
            }
            // Not the view of the part before: a slow client must not hold back what the storage can free.
            let read = match self.state.local() {
                Ok(view) => self.read(view).await,
                Err(problem) => Err(problem),
            };
            match read {
                // A change elsewhere: nothing to say, but for how far it has come, if that was not said for long.
                Ok(part) if part.is_empty() => {
                    if self.spoke.elapsed() >= self.state.options().keep_alive {
                        return Some(self.bookmark(self.since, self.doing == Doing::Reading));
                    }
                }
                Ok(part) => return Some(part),
                Err(problem) => return Some(self.fail(&problem)),
            }
        }
    }

    /// Waits for something to read; a part to send meanwhile, if the feed was silent for long or is about to end.
    async fn wait(&mut self) -> Option<String> {
        let silent_until = self.spoke + self.state.options().keep_alive;
        let shutdown = self.state.shutdown().clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                self.doing = Doing::Ended;
                Some(self.bookmark(self.since, false))
            }
            changed = timeout_at(silent_until, self.changed.changed()) => match changed {
                Ok(Ok(())) => {
                    sleep(GATHER).await;
                    self.doing = Doing::Reading;
                    None
                }
                Ok(Err(_)) => Some(self.fail(&Problem::new(Code::ShuttingDown, "the node is stopping"))),
                Err(_) if self.bookmark == Some(self.since) && self.form == Form::EventStream => Some(KEEP_ALIVE.to_owned()),
                Err(_) => Some(self.bookmark(self.since, false)),
            },
        }
    }

    /// Reads on in `view`: a page of changes, and a bookmark where there are no more for now.
    async fn read(&mut self, view: Arc<View>) -> Result<String, Problem> {
        self.caller.confirm(&view)?;
        let same = view.collection(&self.collection.name).is_some_and(|found| found.id == self.collection.id);
        if !same {
            return Err(Problem::collection_not_found(&self.collection.name));
        }
        let wanted = match self.until {
            Until::Count(left) => left,
            Until::Now | Until::Stopped => usize::MAX,
        };
        // With a filter, how many events few matches take is not known: a page of few would be one of many.
        let page = if self.filter.is_some() { usize::MAX } else { wanted };
        let page = page.min(self.state.limits().changes_page_max);
        let bytes_max = self.state.limits().page_bytes_max.min(self.state.options().feed_page_bytes_max);
        let reached = view.revision().min(self.end);
        let (collection, since, filter, end) = (self.collection.clone(), self.since, self.filter.clone(), self.end);
        let found = self.state.blocking(move |_| {
            let mut found = view.changes(&collection, since, page, bytes_max)?;
            found.items.retain(|change| change.revision <= end);
            let last = found.items.last().map(|change| change.revision);
            let mut told = passed(found.items, filter.as_deref())?;
            Ok(match cut(&mut told, wanted) {
                Some(last) => (told, Some(last), true),
                None => (told, last, found.more),
            })
        });
        let (changes, last, more) = found.await?;
        let more = more && last.is_some_and(|last| last < reached);
        self.since = if more { last.unwrap_or(self.since) } else { reached.max(self.since) };
        let left = wanted.saturating_sub(changes.len());
        if let Until::Count(wanted) = &mut self.until {
            *wanted = left;
        }
        let mut out = render(self.form, &changes);
        let ended = left == 0 || (self.until != Until::Stopped && !more);
        self.doing = match (ended, more) {
            (true, _) => Doing::Ended,
            (false, true) => Doing::Reading,
            (false, false) => Doing::Waiting,
        };
        if ended || (!more && (!changes.is_empty() || self.bookmark.is_none())) {
            out.push_str(&self.bookmark(self.since, more));
        }
        Ok(out)
    }

    fn fail(&mut self, problem: &Problem) -> String {
        self.doing = Doing::Ended;
        if let Some(cause) = problem.cause() {
            tracing::warn!(code = problem.code().name(), cause, "a change feed ended");
        }
        let mut data = problem.to_json(None);
        data["type"] = "error".into();
        frame(self.form, "error", None, &data.to_string())
    }

    fn bookmark(&mut self, revision: u64, more: bool) -> String {
        self.bookmark = Some(revision);
        let data = format!(r#"{{"type":"bookmark","revision":{revision},"more":{more}}}"#);
        frame(self.form, "bookmark", Some(revision), &data)
    }
}

/// A change that a feed tells of.
struct Told {
    change: Change,
    /// Whether the filter matches the document now, where there is one.
    matches: Option<bool>,
}

/// The changes of documents that `filter` matches, before or after.
fn passed(changes: Vec<Change>, filter: Option<&Filter>) -> Result<Vec<Told>, ReadError> {
    let Some(filter) = filter else {
        return Ok(changes.into_iter().map(|change| Told { change, matches: None }).collect());
    };
    let mut matcher = Matcher::new(filter);
    let mut told = Vec::new();
    for change in changes {
        let mut matches = |body: &Option<Bytes>| body.as_ref().map_or(Ok(false), |body| matcher.matches(body));
        let (before, after) = (matches(&change.before)?, matches(&change.after)?);
        if before || after {
            told.push(Told { change, matches: Some(after) });
        }
    }
    Ok(told)
}

/// Keeps about the first `wanted`, none of a revision that is not kept whole; the last revision that is, if others go.
fn cut(told: &mut Vec<Told>, wanted: usize) -> Option<u64> {
    let last = told.get(wanted.checked_sub(1)?)?.change.revision;
    let kept = told.partition_point(|told| told.change.revision <= last);
    (kept < told.len()).then(|| {
        told.truncate(kept);
        last
    })
}

/// The changes as text. The last one of a revision names it as the event's id: a client that reconnects from there has
/// all of that revision, and one that was cut off in the middle of it gets it again as a whole.
fn render(form: Form, changes: &[Told]) -> String {
    let mut out = String::new();
    for (position, told) in changes.iter().enumerate() {
        let revision = told.change.revision;
        let complete = changes.get(position + 1).is_none_or(|next| next.change.revision != revision);
        out.push_str(&frame(form, "change", complete.then_some(revision), &line(told)));
    }
    out
}

fn frame(form: Form, name: &str, id: Option<u64>, data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 48);
    match form {
        Form::EventStream => event(&mut out, name, id, data),
        _ => {
            out.push_str(data);
            out.push('\n');
        }
    }
    out
}

fn line(Told { change, matches }: &Told) -> String {
    let matches = matches.map(|matches| format!(r#","matches":{matches}"#)).unwrap_or_default();
    let kind = match change.kind {
        ChangeKind::Insert => "insert",
        ChangeKind::Update => "update",
        ChangeKind::Delete => "delete",
    };
    // Stored documents are canonical JSON: UTF-8, and without line breaks.
    let image =
        |body: &Option<Bytes>| body.as_ref().map_or("null".into(), |body| String::from_utf8_lossy(body).into_owned());
    format!(
        r#"{{"revision":{},"position":{},"type":"{kind}","id":{},"document":{},"previous":{}{matches}}}"#,
        change.revision,
        change.position,
        serde_json::Value::from(change.id.as_str()),
        image(&change.after),
        image(&change.before),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, position: u32, kind: ChangeKind, images: (Option<&str>, Option<&str>)) -> Told {
        let bytes = |text: Option<&str>| text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let (after, before) = (bytes(images.0), bytes(images.1));
        Told { change: Change { revision, position, kind, id: "a\"b".into(), after, before }, matches: None }
    }

    #[test]
    fn a_revision_is_never_cut() {
        let cut_at = |wanted| {
            let both = (Some("{}"), Some("{}"));
            let told = [1, 2, 2, 3].map(|revision| change(revision, 0, ChangeKind::Update, both));
            let mut told = Vec::from(told);
            (cut(&mut told, wanted), told.len())
        };
        let cuts = [0, 1, 2, 3, 4, usize::MAX].map(cut_at);
        assert_eq!(cuts, [(None, 4), (Some(1), 1), (Some(2), 3), (Some(2), 3), (None, 4), (None, 4)]);
    }

    #[test]
    fn a_filter_passes_what_matches_before_or_after() {
        let of = |images| change(7, 0, ChangeKind::Update, images).change;
        let (one, two) = (Some(r#"{"n":1}"#), Some(r#"{"n":2}"#));
        let changes = vec![of((one, None)), of((two, one)), of((None, two)), of((None, one)), of((two, two))];
        let filter = aerodb_engine::json::parse(br#"{"n":1}"#, &aerodb_engine::json::STORED).unwrap();
        let told = passed(changes, Some(&Filter::parse(&filter).unwrap())).unwrap();
        assert_eq!(told.iter().map(|told| told.matches).collect::<Vec<_>>(), [Some(true), Some(false), Some(false)]);
        assert!(line(&told[1]).ends_with(r#""previous":{"n":1},"matches":false}"#), "{}", line(&told[1]));
    }

    #[test]
    fn a_change_is_a_line() {
        let changes = [
            change(7, 0, ChangeKind::Insert, (Some(r#"{"n":1}"#), None)),
            change(9, 0, ChangeKind::Delete, (None, Some(r#"{"n":1}"#))),
        ];
        let expected = concat!(
            r#"{"revision":7,"position":0,"type":"insert","id":"a\"b","document":{"n":1},"previous":null}"#,
            "\n",
            r#"{"revision":9,"position":0,"type":"delete","id":"a\"b","document":null,"previous":{"n":1}}"#,
            "\n",
        );
        assert_eq!(render(Form::NdJson, &changes), expected);
    }

    #[test]
    fn only_the_end_of_a_revision_can_be_resumed_from() {
        let both = (Some("{}"), Some("{}"));
        let changes = [
            change(7, 0, ChangeKind::Update, both),
            change(7, 1, ChangeKind::Update, both),
            change(8, 0, ChangeKind::Update, both),
        ];
        let text = render(Form::EventStream, &changes);
        let ids: Vec<_> =
            text.split_terminator("\n\n").map(|event| event.lines().find(|line| line.starts_with("id:"))).collect();
        assert_eq!(ids, [None, Some("id: 7"), Some("id: 8")]);
    }
}
