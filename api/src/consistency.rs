//! How fresh a read must be: `consistency`, `max_staleness_ms`, `as_of` and `Aerodb-Min-Revision`.

use std::time::Duration;

use aerodb_raft::Consistency;
use http::HeaderMap;

use crate::error::Problem;
use crate::params::{Params, number};

/// The revision that a client has seen and must not fall behind.
const MIN_REVISION: &str = "aerodb-min-revision";

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freshness {
    pub(crate) mode: Mode,
    /// Read history at this revision.
    pub(crate) as_of: Option<u64>,
}

/// How the node makes sure that it is fresh enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Linearizable,
    Session { min_revision: u64 },
    Stale { max_staleness: Option<Duration> },
}

impl Freshness {
    /// Takes the parameters that say it.
    pub(crate) fn take(params: &mut Params, headers: &HeaderMap) -> Result<Self, Problem> {
        let as_of = params.take_number("as_of", 0, u64::MAX)?;
        Ok(Self { mode: Mode::take(params, headers)?, as_of })
    }

    /// What the cluster is asked. A revision does not change once it is reached, so `as_of` needs no more than that.
    pub(crate) fn consistency(self) -> Consistency {
        match (self.as_of, self.mode) {
            (Some(revision), _) => Consistency::AtLeast { revision },
            (None, Mode::Linearizable) => Consistency::Linearizable,
            (None, Mode::Session { min_revision }) => Consistency::Session { min_revision },
            (None, Mode::Stale { max_staleness }) => Consistency::Stale { max_staleness },
        }
    }

    /// Whether the answer must say how old it may be.
    pub(crate) fn shows_age(self) -> bool {
        self.as_of.is_none() && matches!(self.mode, Mode::Stale { .. })
    }
}

impl Mode {
    pub(crate) fn take(params: &mut Params, headers: &HeaderMap) -> Result<Self, Problem> {
        let max_staleness_ms = params.take_number("max_staleness_ms", 0, u64::MAX)?;
        let min_revision = match headers.get(MIN_REVISION) {
            None => None,
            Some(value) => {
                let revision =
                    value.to_str().map_err(|_| "a revision".to_owned()).and_then(|text| number(text, 0, u64::MAX));
                Some(revision.map_err(|message| Problem::header("Aerodb-Min-Revision", message))?)
            }
        };
        let mode = match params.take("consistency").as_deref() {
            // Everything acknowledged is at or above what any client has seen: the minimum holds by itself.
            None | Some("linearizable") => Mode::Linearizable,
            Some("session") => Mode::Session { min_revision: min_revision.unwrap_or(0) },
            Some("stale") if min_revision.is_some() => {
                return Err(Problem::header(
                    "Aerodb-Min-Revision",
                    "a stale read keeps to no minimum: use consistency=session",
                ));
            }
            Some("stale") => Mode::Stale { max_staleness: max_staleness_ms.map(Duration::from_millis) },
            Some(_) => return Err(Problem::parameter("consistency", "`linearizable`, `session` or `stale`")),
        };
        match (max_staleness_ms, mode) {
            (Some(_), Mode::Linearizable | Mode::Session { .. }) => {
                Err(Problem::parameter("max_staleness_ms", "it goes with consistency=stale"))
            }
            _ => Ok(mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::error::Code;

    fn check(query: &str, min_revision: Option<&str>) -> Result<Freshness, Code> {
        let mut headers = HeaderMap::new();
        if let Some(value) = min_revision {
            headers.insert(MIN_REVISION, HeaderValue::from_str(value).unwrap());
        }
        let mut params = Params::parse(Some(query)).unwrap();
        let freshness = Freshness::take(&mut params, &headers).map_err(|problem| problem.code())?;
        params.finish().expect("every parameter is taken");
        Ok(freshness)
    }

    fn mode(mode: Mode) -> Result<Freshness, Code> {
        Ok(Freshness { mode, as_of: None })
    }

    #[test]
    fn what_is_asked_is_what_is_meant() {
        assert_eq!(check("", None), mode(Mode::Linearizable));
        assert_eq!(check("consistency=linearizable", Some("7")), mode(Mode::Linearizable));
        assert_eq!(check("consistency=session", Some("7")), mode(Mode::Session { min_revision: 7 }));
        assert_eq!(check("consistency=session", None), mode(Mode::Session { min_revision: 0 }));
        assert_eq!(check("consistency=stale", None), mode(Mode::Stale { max_staleness: None }));
        let bounded = Mode::Stale { max_staleness: Some(Duration::from_millis(250)) };
        assert_eq!(check("consistency=stale&max_staleness_ms=250", None), mode(bounded));
        assert_eq!(check("as_of=9", None), Ok(Freshness { mode: Mode::Linearizable, as_of: Some(9) }));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (query, min_revision, code) in [
            ("consistency=eventual", None, Code::InvalidParameter),
            ("consistency=", None, Code::InvalidParameter),
            ("max_staleness_ms=1", None, Code::InvalidParameter),
            ("consistency=session&max_staleness_ms=1", None, Code::InvalidParameter),
            ("consistency=stale&max_staleness_ms=-1", None, Code::InvalidParameter),
            ("consistency=stale", Some("7"), Code::InvalidHeader),
            ("consistency=session", Some("x"), Code::InvalidHeader),
            ("as_of=-1", None, Code::InvalidParameter),
            ("as_of=latest", None, Code::InvalidParameter),
        ] {
            assert_eq!(check(query, min_revision), Err(code), "{query}");
        }
    }

    #[test]
    fn a_past_revision_needs_only_to_be_reached() {
        let as_of = Freshness { mode: Mode::Stale { max_staleness: None }, as_of: Some(3) };
        assert!(matches!(as_of.consistency(), Consistency::AtLeast { revision: 3 }));
        assert!(!as_of.shows_age());
    }
}
