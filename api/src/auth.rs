//! Who asks. Until users exist this is the service key, as `Authorization: Bearer <key>` or `apikey: <key>`.
//!
//! The key is looked up three times, each for its own reason: here, so that strangers cost nothing; in the view that
//! answers a read ([`Caller::confirm`]); and at the write's place in the order of all writes (decide).

use std::fmt;
use std::sync::Arc;

use aerodb_engine::view::{View, api_key_id};
use aerodb_proto as proto;
use aerodb_raft::Consistency;
use arc_swap::ArcSwapOption;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use subtle::ConstantTimeEq;
use tokio::sync::SemaphorePermit;

use crate::context::answered_by;
use crate::error::{Code, Problem};
use crate::state::ApiState;

/// Bytes of a key that are looked at.
const KEY_BYTES_MAX: usize = 1_024;

/// An authenticated caller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Known>);

struct Known {
    identity: proto::Caller,
    /// Where the key was valid: epoch and revision.
    valid_at: (u64, u64),
}

/// Who was let in last. Who asks again, at a revision at which its key was found already, is not looked up once more.
#[derive(Default)]
pub(crate) struct LastCaller(ArcSwapOption<(Box<str>, Caller)>);

impl LastCaller {
    /// The caller with this key, if it was the last one and found at this place.
    fn at(&self, secret: &str, place: (u64, u64)) -> Option<Caller> {
        let last = self.0.load();
        let (known, caller) = last.as_deref()?;
        (caller.0.valid_at == place && is_same(known, secret)).then(|| caller.clone())
    }

    /// The key is valid no longer: it is not kept either.
    fn forget(&self, secret: &str) {
        if self.0.load().as_deref().is_some_and(|(known, _)| is_same(known, secret)) {
            self.0.store(None);
        }
    }
}

/// In a time that tells nothing of the key but its length.
fn is_same(known: &str, secret: &str) -> bool {
    known.as_bytes().ct_eq(secret.as_bytes()).into()
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.id()).finish()
    }
}

impl Caller {
    /// As commands name it.
    pub(crate) fn identity(&self) -> proto::Caller {
        self.0.identity.clone()
    }

    /// What cursors are sealed to.
    pub(crate) fn id(&self) -> &str {
        &self.0.identity.key_id
    }

    /// Refuses when the key is not valid in `view`.
    pub(crate) fn confirm(&self, view: &View) -> Result<(), Problem> {
        // A revision of an epoch is one state, wherever it is read (A4).
        if place(view) == self.0.valid_at || view.has_api_key(self.id())? { Ok(()) } else { Err(invalid_key()) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Problem::internal("a route that needs a caller stands outside of `auth::require`"))
    }
}

/// Lets only callers with a valid key pass, and no more requests than the node takes.
pub(crate) async fn require(
    State(state): State<ApiState>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    answered_by(route.into());
    let answering = async {
        let (_admitted, caller) = admit(&state, request.headers()).await?;
        request.extensions_mut().insert(caller);
        Ok::<_, Problem>(next.run(request).await)
    };
    answering.await.into_response()
}

/// Who asks, and the place that the request takes while it is under way.
pub(crate) async fn admit<'s>(
    state: &'s ApiState,
    headers: &HeaderMap,
) -> Result<(SemaphorePermit<'s>, Caller), Problem> {
    let admitted = state.admit()?;
    Ok((admitted, authenticate(state, headers).await?))
}

async fn authenticate(state: &ApiState, headers: &HeaderMap) -> Result<Caller, Problem> {
    let Some(secret) = secret(headers)? else {
        let detail = "this route needs a key: `Authorization: Bearer <key>`, or `apikey: <key>`";
        return Err(Problem::new(Code::Unauthorized, detail));
    };
    let mut view = state.local()?;
    if let Some(caller) = state.last_caller().at(secret, place(&view)) {
        return Ok(caller);
    }
    let key_id = api_key_id(secret);
    if !view.has_api_key(&key_id)? {
        // This node may lag behind the key's creation: a suspicion, until a read barrier has passed.
        view = state.fresh(Consistency::Linearizable).await?.view;
        if !view.has_api_key(&key_id)? {
            state.last_caller().forget(secret);
            return Err(invalid_key());
        }
    }
    let caller = Caller(Arc::new(Known { identity: proto::Caller { key_id }, valid_at: place(&view) }));
    state.last_caller().0.store(Some(Arc::new((secret.into(), caller.clone()))));
    Ok(caller)
}

/// The state that a view shows.
fn place(view: &View) -> (u64, u64) {
    (view.epoch(), view.revision())
}

fn invalid_key() -> Problem {
    Problem::new(Code::Unauthorized, "the key is not, or no longer, valid")
}

/// The key that the request brings.
fn secret(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let value = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let text = value.to_str().map_err(|_| invalid_key())?;
            let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Problem::new(Code::Unauthorized, "the scheme of Authorization is Bearer"));
            }
            Some(key.trim())
        }
        None => match headers.get("apikey") {
            Some(value) => Some(value.to_str().map_err(|_| invalid_key())?.trim()),
            None => None,
        },
    };
    match value {
        Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => Err(invalid_key()),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(lines: &[(&'static str, &str)]) -> Result<Option<String>, Code> {
        let line = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let headers = HeaderMap::from_iter(lines.iter().map(line));
        secret(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.code())
    }

    #[test]
    fn keys_come_in_two_headers() {
        assert_eq!(check(&[]), Ok(None));
        assert_eq!(check(&[("authorization", "Bearer k1")]), Ok(Some("k1".into())));
        assert_eq!(check(&[("authorization", "bearer  k1 ")]), Ok(Some("k1".into())));
        assert_eq!(check(&[("apikey", "k2")]), Ok(Some("k2".into())));
        assert_eq!(check(&[("authorization", "Bearer k1"), ("apikey", "k2")]), Ok(Some("k1".into())));
    }

    #[test]
    fn anything_else_is_no_key() {
        let long = format!("Bearer {}", "x".repeat(KEY_BYTES_MAX + 1));
        for bad in ["Basic YTpi", "Bearer", "Bearer ", "", &long] {
            assert_eq!(check(&[("authorization", bad)]), Err(Code::Unauthorized), "{bad}");
        }
        assert_eq!(check(&[("apikey", "")]), Err(Code::Unauthorized));
    }
}
