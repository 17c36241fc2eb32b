//! `/openapi.json`, generated from the handlers, and the shapes that documents have in it.

use std::collections::BTreeMap;

use axum::Extension;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Response as Documented, ResponseBuilder, Schema, SecurityRequirement,
};
use utoipa::{IntoResponses, ToSchema};

use crate::error::Code;
use crate::response::json;

/// Any JSON object with an `id`; `_revision`, `_created_at` and `_updated_at` are the system's and ignored in bodies.
#[derive(serde::Serialize, ToSchema)]
#[schema(value_type = Object, example = json!({"id": "a", "_revision": 7, "_created_at": "2026-01-02T03:04:05.678Z", "_updated_at": "2026-01-02T03:04:05.678Z", "text": "hello"}))]
pub(crate) struct Document(serde_json::Value);

/// What an insert answers with.
#[derive(serde::Serialize, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
pub(crate) enum Inserted {
    /// One document.
    One(Document),
    /// The documents of an array.
    Many { items: Vec<Document> },
}

/// A page of documents.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ListPage {
    items: Vec<Document>,
    /// Set exactly if more documents match.
    next_cursor: Option<String>,
    /// How many match, when it was asked.
    count: Option<u64>,
    /// The revision that the page was read at.
    revision: u64,
}

/// The versions of a document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct History {
    /// Oldest first.
    items: Vec<HistoryItem>,
    /// Set exactly if more versions are kept.
    next_cursor: Option<String>,
    revision: u64,
}

/// A version and the revisions in which it held.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct HistoryItem {
    from: u64,
    /// Not included; null while it is the latest.
    to: Option<u64>,
    document: Document,
}

/// A query as a body.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct QueryBody {
    /// Such as `{"age":{"$gte":21}}`.
    #[schema(value_type = Option<Object>)]
    filter: Option<serde_json::Value>,
    select: Option<Vec<String>>,
    /// Such as `age.desc,name`.
    order: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
    cursor: Option<String>,
    /// `none`, `estimated` or `exact`.
    count: Option<String>,
    as_of: Option<u64>,
    /// Groups of documents that are equal in these fields; `order` is then over what the groups show.
    group_by: Option<Vec<String>>,
    /// Figures of each group, such as `{"n":{"count":"*"},"total":{"sum":"amount"}}`: `count`, `sum`, `avg`, `min`, `max`.
    #[schema(value_type = Option<Object>)]
    aggregates: Option<serde_json::Value>,
    /// A field, or several: each combination of their values once.
    distinct: Option<Vec<String>>,
}

/// An error (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ProblemShape {
    #[schema(rename = "type")]
    r#type: String,
    title: String,
    status: u16,
    code: ErrorCode,
    detail: String,
    request_id: String,
    /// What is wrong where.
    errors: Option<Vec<MistakeShape>>,
    /// When it makes sense to try again.
    retry_after_ms: Option<u64>,
}

/// One mistake within a request.
#[derive(ToSchema)]
#[schema(as = Mistake)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct MistakeShape {
    /// A JSON pointer into the body, or the name of a parameter or header.
    path: String,
    code: ErrorCode,
    message: String,
}

/// A word of the published list.
pub(crate) struct ErrorCode;

impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        let row = |code: &Code| format!("- `{}` ({}): {}", code.name(), code.status(), code.meaning());
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Code::ALL.iter().map(|code| code.name())))
            .description(Some(Code::ALL.iter().map(row).collect::<Vec<_>>().join("\n")))
            .into()
    }
}

impl ToSchema for ErrorCode {}

/// Every error of a route that needs a key.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let problem = |description: &str| {
            let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
            let content = ContentBuilder::new().schema(Some(schema)).build();
            RefOr::T(
                ResponseBuilder::new().description(description).content("application/problem+json", content).build(),
            )
        };
        BTreeMap::from([
            ("401".to_owned(), problem("No valid key")),
            ("4XX".to_owned(), problem("The request cannot be carried out as it is; `code` says why")),
            ("5XX".to_owned(), problem("The node cannot answer now; `Retry-After` says when to try again")),
        ])
    }
}

/// What a list answers with: a page, or all that matches as a stream.
pub(crate) struct Lists;

impl IntoResponses for Lists {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let page = RefOr::Ref(Ref::from_schema_name("ListPage"));
        let text = RefOr::from(utoipa::openapi::ObjectBuilder::new().schema_type(Type::String));
        let content = |schema: &RefOr<Schema>| ContentBuilder::new().schema(Some(schema.clone())).build();
        let answer = ResponseBuilder::new()
            .description("A page, or a stream of all that matches")
            .content("application/json", content(&page))
            .content("application/x-ndjson", content(&text))
            .content("text/csv", content(&text))
            .header("Aerodb-Next-Cursor", header("Of a stream of one page: where it goes on"))
            .header("Aerodb-Count", header("Of a stream that was asked to count: how many match"));
        BTreeMap::from([("200".to_owned(), RefOr::T(answer.build()))])
    }
}

fn header(description: &str) -> Header {
    let text = utoipa::openapi::ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(text).description(Some(description)).build()
}

/// Adds to every answer the headers that every answer has.
fn mark_answers(document: &mut OpenApi) {
    const ALWAYS: [(&str, &str); 3] = [
        ("X-Request-Id", "The request's id: the client's own, or a new one"),
        ("Aerodb-Node", "The node that answered"),
        ("Aerodb-Revision", "The revision written, or the one read at"),
    ];
    for item in document.paths.paths.values_mut() {
        if let Some(head) = &mut item.head {
            // It has the name of its `get`, and names are unique.
            head.operation_id = head.operation_id.take().map(|name| format!("{name}Head"));
        }
        let operations =
            [&mut item.get, &mut item.head, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                for (name, description) in ALWAYS {
                    response.headers.entry(name.to_owned()).or_insert_with(|| header(description));
                }
                if status.starts_with('5') {
                    let when = header("Seconds after which to try again; with every 503");
                    response.headers.insert("Retry-After".to_owned(), when);
                }
            }
        }
    }
}

/// The description of the API, before the routes.
pub(crate) fn base(version: &str) -> OpenApi {
    let description = "Every node answers every request. Errors are `application/problem+json` with a `code` of the list \
                       in the schema `ErrorCode`. Every answer carries `X-Request-Id`, `Aerodb-Node` and \
                       `Aerodb-Revision` (the revision written, or the one read at).";
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("AeroDB")
        .version(version)
        .description(Some(description))
        .license(Some(license))
        .build();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let apikey = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("apikey")));
    let mut schemas = Vec::new();
    for add in [ProblemShape::schemas, MistakeShape::schemas, ListPage::schemas] {
        add(&mut schemas);
    }
    let components = utoipa::openapi::ComponentsBuilder::new()
        .security_scheme("bearer", bearer)
        .security_scheme("apikey", apikey)
        .schema("Problem", <ProblemShape as utoipa::PartialSchema>::schema())
        .schema("ListPage", <ListPage as utoipa::PartialSchema>::schema())
        .schema("Document", <Document as utoipa::PartialSchema>::schema())
        .schema("Mistake", <MistakeShape as utoipa::PartialSchema>::schema())
        .schema("ErrorCode", <ErrorCode as utoipa::PartialSchema>::schema())
        .schemas_from_iter(schemas)
        .build();
    let needs = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([needs("bearer"), needs("apikey")]))
        .build()
}

/// The description of every route, as `/openapi.json` shows it.
pub fn openapi(version: &str) -> OpenApi {
    let mut document = crate::router::describe(version);
    mark_answers(&mut document);
    document
}

/// The rendered description.
#[derive(Clone)]
pub(crate) struct Rendered(pub(crate) Bytes);

impl Rendered {
    /// The description of this version.
    pub(crate) fn of(version: &str) -> Self {
        Self(openapi(version).to_json().unwrap_or_default().into())
    }
}

/// The description of this API (OpenAPI 3.1).
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations", operation_id = "readDescription", security(()),
    responses((status = 200, description = "This document", body = Object))
)]
pub(crate) async fn show(Extension(Rendered(text)): Extension<Rendered>) -> Response {
    json(StatusCode::OK, text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&openapi("1.2.3").to_json().unwrap()).unwrap()
    }

    #[test]
    fn every_route_of_the_contract_is_described() {
        let document = document();
        assert_eq!(document["info"]["version"], "1.2.3");
        for (path, methods) in [
            ("/api/{collection}", &["get", "post"][..]),
            ("/api/{collection}/{id}", &["get", "head", "put", "patch", "delete"]),
            ("/api/{collection}/{id}/_history", &["get"]),
            ("/api/{collection}/_changes", &["get"]),
            ("/api/{collection}/query", &["post"]),
            ("/admin/collections", &["get", "post"]),
            ("/admin/collections/{collection}", &["get", "delete"]),
            ("/admin/collections/{collection}/stats", &["get"]),
            ("/admin/digest", &["get"]),
            ("/cluster", &["get"]),
            ("/cluster/lag", &["get"]),
            ("/cluster/events", &["get"]),
            ("/cluster/nodes/{node}", &["get"]),
            ("/cluster/nodes/{node}/promotion", &["get"]),
            ("/cluster/nodes/{node}/promote", &["post"]),
            ("/health/live", &["get"]),
            ("/health/ready", &["get"]),
            ("/health/startup", &["get"]),
            ("/metrics", &["get"]),
            ("/openapi.json", &["get"]),
        ] {
            for method in methods {
                assert!(document["paths"][path][method].is_object(), "{method} {path}");
            }
        }
    }

    /// Whoever makes a client from it needs a name for each operation, and every answer has its headers.
    #[test]
    fn every_operation_has_a_name_and_its_answers_their_headers() {
        let document = document();
        let mut names = std::collections::BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap_or_default();
                assert!(!name.is_empty(), "{method} {path}");
                assert!(names.insert(name.to_owned()), "{method} {path}: {name} comes twice");
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let has = |name: &str| response["headers"][name].is_object();
                    assert!(has("X-Request-Id") && has("Aerodb-Node") && has("Aerodb-Revision"), "{method} {path}");
                    assert_eq!(has("Retry-After"), status.starts_with('5'), "{method} {path} {status}");
                }
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_code_is_listed() {
        let document = document();
        let text = document.to_string();
        for reference in text.split(r##""$ref":"#/components/schemas/"##).skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let listed = document["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
        assert_eq!(listed.len(), Code::ALL.len());
    }
}
