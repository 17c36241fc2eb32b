//! All routes, and what stands around them.

use std::any::Any;
use std::sync::Arc;

use axum::extract::MatchedPath;
use axum::response::IntoResponse;
use axum::{Extension, Router, middleware};
use http::{HeaderName, HeaderValue, Method, header};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Service;
use crate::error::{Code, Problem};
use crate::front::Front;
use crate::openapi::{Rendered, base};
use crate::shortcut::Shortcut;
use crate::state::ApiState;
use crate::{admin, auth, cluster, context, data, health, metrics, openapi, panics, prefer, request_id, response};

/// How long a browser may remember what CORS allows.
const CORS_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(3_600);

/// The whole API.
pub fn service(state: ApiState) -> Service {
    serving(routes(&state), state)
}

/// `routes`, those of the API among them, and the short way to documents.
pub(crate) fn serving(routes: Router<ApiState>, state: ApiState) -> Service {
    let service = around(routes, state.front().clone(), state.clone());
    // What CORS adds stands around the router.
    if state.options().cors_origins.is_empty() { service.with(Shortcut::new(state)) } else { service }
}

/// Every route, each behind what only it needs.
pub(crate) fn routes(state: &ApiState) -> Router<ApiState> {
    let described = Rendered::of(&state.options().version);
    let open = Router::from(open()).route_layer(middleware::from_fn(context::named)).layer(Extension(described));
    Router::from(closed())
        .route_layer(middleware::from_fn_with_state(state.clone(), auth::require))
        .merge(open)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
}

/// `routes` with what every request passes through.
pub(crate) fn around<S: Clone + Send + Sync + 'static>(routes: Router<S>, front: Front, state: S) -> Service {
    let routes = match cors(&front.options().cors_origins) {
        // A browser shows an error to its page only where CORS allows it: a panic is caught inside of it.
        Some(cors) => routes.layer(ServiceBuilder::new().layer(cors).layer(CatchPanicLayer::custom(panicked))),
        None => routes,
    };
    Service::new(front, routes.with_state(state))
}

/// The description of all routes.
pub(crate) fn describe(version: &str) -> OpenApi {
    OpenApiRouter::with_openapi(base(version)).merge(closed()).merge(open()).into_openapi()
}

/// The routes that need a key.
fn closed() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().merge(data::routes()).merge(admin::routes()).merge(cluster::routes())
}

/// The routes that do not.
fn open() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::startup))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::show))
}

async fn no_route() -> Problem {
    Problem::new(Code::RouteNotFound, "the path names nothing here: see /openapi.json")
}

async fn no_method(method: Method, route: Option<MatchedPath>) -> Problem {
    context::answered_by(route.into());
    let detail = format!("the path does not take {method}: `Allow` says what it takes");
    Problem::new(Code::MethodNotAllowed, detail)
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> axum::response::Response {
    Problem::internal(format!("a handler panicked: {}", panics::text(&*panic))).into_response()
}

/// What browsers on other origins may do; nothing, and nothing said, when there are none.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let known: Arc<[HeaderValue]> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    let all = origins.iter().any(|origin| origin == "*");
    let allowed = AllowOrigin::predicate(move |origin, _| all || known.contains(origin));
    let name = HeaderName::from_static;
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::ACCEPT,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            name("apikey"),
            name("idempotency-key"),
            name("prefer"),
            name("aerodb-min-revision"),
            name("last-event-id"),
            name("traceparent"),
            name("tracestate"),
            request_id::HEADER,
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            response::REVISION,
            response::NODE,
            response::AGE_MS,
            response::NEXT_CURSOR,
            response::COUNT,
            prefer::APPLIED,
            request_id::HEADER,
        ])
        .max_age(CORS_AGE_MAX);
    Some(layer)
}
