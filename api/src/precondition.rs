//! `If-Match` and `If-None-Match`. The entity tag of a document is its revision in quotes.

use aerodb_proto::precondition::Kind;
use aerodb_proto::{Precondition, Revisions};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::Problem;

/// Tags of one header, at most.
const TAGS_MAX: usize = 100;

/// What a header lists.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever there is.
    Any,
    List(Vec<Tag>),
}

/// An entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// `None` when it is no tag that this API gives: it matches nothing.
    revision: Option<u64>,
}

/// The entity tag of a revision.
pub(crate) fn etag(revision: u64) -> HeaderValue {
    let quoted = ["\"", &revision.to_string(), "\""].concat();
    HeaderValue::try_from(quoted).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// What a write asks for; all of it has to hold.
pub(crate) fn for_write(headers: &HeaderMap) -> Result<Vec<Precondition>, Problem> {
    let mut conditions = Vec::new();
    match tags(headers, header::IF_MATCH)? {
        None => {}
        Some(Tags::Any) => conditions.push(Kind::IfExists(true)),
        // Writes compare strongly, so a weak tag matches nothing; an empty list holds for no document.
        Some(Tags::List(tags)) => {
            let strong = tags.into_iter().filter(|tag| !tag.weak);
            let revisions: Vec<u64> = strong.filter_map(|tag| tag.revision).collect();
            conditions.push(match revisions[..] {
                [revision] => Kind::IfRevision(revision),
                _ => Kind::IfAnyRevision(Revisions { revisions }),
            });
        }
    }
    match tags(headers, header::IF_NONE_MATCH)? {
        None => {}
        Some(Tags::Any) => conditions.push(Kind::IfAbsent(true)),
        Some(Tags::List(_)) => {
            return Err(Problem::header("If-None-Match", "a write takes only `*`: the document must not exist"));
        }
    }
    Ok(conditions.into_iter().map(|kind| Precondition { kind: Some(kind) }).collect())
}

/// What a read asks for.
#[derive(Debug)]
pub(crate) struct ForRead {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// What becomes of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it.
    Send,
    /// The client has it: 304.
    NotModified,
    /// It is not what the client wants: 412.
    Failed,
}

impl ForRead {
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let if_match = tags(headers, header::IF_MATCH)?;
        Ok(Self { if_match, if_none_match: tags(headers, header::IF_NONE_MATCH)? })
    }

    /// The verdict for a document that exists, at `revision`.
    pub(crate) fn judge(&self, revision: u64) -> Verdict {
        let lists = |tags: &Tags, weak_counts: bool| match tags {
            Tags::Any => true,
            Tags::List(tags) => tags.iter().any(|tag| tag.revision == Some(revision) && (weak_counts || !tag.weak)),
        };
        if self.if_match.as_ref().is_some_and(|tags| !lists(tags, false)) {
            Verdict::Failed
        } else if self.if_none_match.as_ref().is_some_and(|tags| lists(tags, true)) {
            Verdict::NotModified
        } else {
            Verdict::Send
        }
    }
}

fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags>, Problem> {
    let mut values = headers.get_all(&name).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let refused = || Problem::header(name.as_str(), "`*`, or entity tags such as `\"7\"`, separated by commas");
    let mut list = Vec::new();
    let mut any = false;
    for value in values {
        let text = value.to_str().map_err(|_| refused())?.trim();
        match text {
            "*" => any = true,
            _ => parse_list(text, &mut list).ok_or_else(refused)?,
        }
    }
    match (any, list.len()) {
        (true, 0) => Ok(Some(Tags::Any)),
        (false, 1..=TAGS_MAX) => Ok(Some(Tags::List(list))),
        _ => Err(refused()),
    }
}

/// Reads `"1", W/"2"`. Tags may hold commas, so this is no split.
fn parse_list(mut text: &str, list: &mut Vec<Tag>) -> Option<()> {
    loop {
        let (weak, rest) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (opaque, rest) = rest.strip_prefix('"')?.split_once('"')?;
        let sound = opaque.bytes().all(|b| b == 0x21 || (0x23..=0x7e).contains(&b));
        if !sound {
            return None;
        }
        list.push(Tag { weak, revision: canonical(opaque) });
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Some(());
        }
        text = rest.strip_prefix(',')?.trim_start();
    }
}

/// A revision as [`etag`] writes it: `07` is another tag than `7`.
fn canonical(opaque: &str) -> Option<u64> {
    opaque.parse().ok().filter(|revision: &u64| revision.to_string() == opaque)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut map = HeaderMap::new();
        for line in lines {
            let (name, value) = pair(line);
            map.append(name, value);
        }
        map
    }

    fn check_write(lines: &[(&'static str, &str)]) -> Result<Vec<Kind>, Code> {
        let conditions = for_write(&headers(lines)).map_err(|problem| problem.code())?;
        Ok(conditions.into_iter().filter_map(|condition| condition.kind).collect())
    }

    fn any_of(revisions: &[u64]) -> Kind {
        Kind::IfAnyRevision(Revisions { revisions: revisions.to_vec() })
    }

    #[test]
    fn writes_compare_strongly() {
        assert_eq!(check_write(&[]), Ok(vec![]));
        assert_eq!(check_write(&[("if-match", "\"7\"")]), Ok(vec![Kind::IfRevision(7)]));
        assert_eq!(check_write(&[("if-match", "*")]), Ok(vec![Kind::IfExists(true)]));
        assert_eq!(check_write(&[("if-none-match", "*")]), Ok(vec![Kind::IfAbsent(true)]));
        assert_eq!(check_write(&[("if-match", "\"7\", \"9\" ,W/\"8\"")]), Ok(vec![any_of(&[7, 9])]));
        assert_eq!(check_write(&[("if-match", "\"7\""), ("if-match", "\"9\"")]), Ok(vec![any_of(&[7, 9])]));
        let both = check_write(&[("if-match", "\"7\""), ("if-none-match", "*")]);
        assert_eq!(both, Ok(vec![Kind::IfRevision(7), Kind::IfAbsent(true)]));
    }

    #[test]
    fn tags_that_are_not_ours_match_nothing() {
        for tag in ["W/\"7\"", "\"abc\"", "\"07\"", "\"\"", "\"18446744073709551616\""] {
            assert_eq!(check_write(&[("if-match", tag)]), Ok(vec![any_of(&[])]), "{tag}");
        }
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for bad in ["7", "\"7", "7\"", "\"7\" \"8\"", "\"7\",", "*, \"7\"", "w/\"7\"", "", "\"a b\""] {
            assert_eq!(check_write(&[("if-match", bad)]), Err(Code::InvalidHeader), "{bad}");
        }
        assert_eq!(check_write(&[("if-none-match", "\"7\"")]), Err(Code::InvalidHeader));
        let many = vec!["\"1\""; 101].join(",");
        assert_eq!(check_write(&[("if-match", &many)]), Err(Code::InvalidHeader));
    }

    #[test]
    fn reads_are_judged() {
        let judge = |lines: &[(&'static str, &str)]| ForRead::parse(&headers(lines)).unwrap().judge(7);
        assert_eq!(judge(&[]), Verdict::Send);
        assert_eq!(judge(&[("if-none-match", "\"7\"")]), Verdict::NotModified);
        assert_eq!(judge(&[("if-none-match", "W/\"7\", \"9\"")]), Verdict::NotModified);
        assert_eq!(judge(&[("if-none-match", "*")]), Verdict::NotModified);
        assert_eq!(judge(&[("if-none-match", "\"8\"")]), Verdict::Send);
        assert_eq!(judge(&[("if-match", "\"8\"")]), Verdict::Failed);
        assert_eq!(judge(&[("if-match", "W/\"7\"")]), Verdict::Failed);
        assert_eq!(judge(&[("if-match", "\"7\"")]), Verdict::Send);
        assert_eq!(judge(&[("if-match", "*"), ("if-none-match", "\"7\"")]), Verdict::NotModified);
    }
}
