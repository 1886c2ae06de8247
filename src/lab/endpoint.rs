//! The lab's HTTP endpoint: tells the two protocols apart, calls the action, writes the answer.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    actions::{ACTIONS, Action},
    json::{self, Members},
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    xml,
};

/// How AWS JSON names the action: `secretsmanager.GetSecretValue`.
const TARGET: &str = "x-amz-target";

const JSON_TYPE: &str = "application/x-amz-json-1.1";

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new().fallback(answer).with_state(site)
}

async fn answer(State(site): State<Arc<Site>>, headers: HeaderMap, body: Bytes) -> Response {
    let request_id = uuid::Uuid::new_v4().to_string();
    let target = headers.get(TARGET).and_then(|value| value.to_str().ok());
    let (status, kind, text) = match target {
        Some(target) => json_answer(&site, &headers, target, &body),
        None => query_answer(&site, &headers, &body, &request_id),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE.as_str(), kind), ("x-amzn-requestid", request_id.as_str())], text).into_response()
}

/// Signatures are not checked, but there must be one, as for AWS. This also keeps web pages out: a browser sends no
/// such header to a foreign address without asking first.
fn require_signature(headers: &HeaderMap) -> Outcome<()> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    Err(Refusal { status: 403, code: "MissingAuthenticationToken", message: "Missing Authentication Token".into() })
}

fn json_answer(site: &Site, headers: &HeaderMap, target: &str, body: &[u8]) -> (u16, &'static str, String) {
    let name = target.strip_prefix("secretsmanager.").unwrap_or_default();
    let done = require_signature(headers).and_then(|()| match find(name) {
        Some(Action::Json(act)) => act(site, &Members::parse(body)?),
        _ => Err(Refusal::new("UnknownOperationException", format!("{target} is no action of the lab"))),
    });
    match done {
        Ok(value) => (200, JSON_TYPE, value.to_string()),
        Err(refusal) => (refusal.status, JSON_TYPE, json::refusal(&refusal)),
    }
}

fn query_answer(site: &Arc<Site>, headers: &HeaderMap, body: &[u8], id: &str) -> (u16, &'static str, String) {
    let query = Query::parse(body);
    let name = query.text("Action").unwrap_or_default();
    let unknown = || {
        let version = query.text("Version").unwrap_or("2014-10-31");
        Refusal::new("InvalidAction", format!("Could not find operation {name} for version {version}"))
    };
    let done = require_signature(headers).and_then(|()| match find(name) {
        Some(Action::Query(act)) => act(site, &query),
        _ => Err(unknown()),
    });
    match done {
        Ok(result) => (200, "text/xml", xml::answer(name, result, id)),
        Err(refusal) => (refusal.status, "text/xml", xml::refusal(&refusal, id)),
    }
}

fn find(name: &str) -> Option<Action> {
    ACTIONS.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
}
