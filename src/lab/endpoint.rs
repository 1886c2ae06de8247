//! The lab's HTTP endpoint: tells the protocols apart, calls the action, writes the answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    actions::{ACTIONS, Action},
    call::{self, Fate},
    fault::{Blow, SKEW_BORNE_MS, Strike, Struck},
    functions_at,
    json::{self, Members},
    metrics::{self, told::Protocol},
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    skew, xml,
};
use crate::{
    base::{Code, Result, clock},
    fail,
};

/// How AWS JSON names the action: `secretsmanager.GetSecretValue`.
const TARGET: &str = "x-amz-target";

const JSON_TYPE: &str = "application/x-amz-json-1.1";

/// Where faults are added, listed and cleared; no action of AWS has a path.
pub(super) const FAULTS: &str = "/lab/faults";

pub(super) fn router(site: Arc<Site>) -> Router {
    let faults = get(list_faults).post(add_fault).delete(clear_faults);
    Router::new().route(FAULTS, faults).merge(functions_at::routes()).fallback(answer).with_state(site)
}

async fn list_faults(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    faults_answer(&headers, || Ok(site.faults.list()))
}

async fn clear_faults(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    faults_answer(&headers, || Ok(site.faults.clear()))
}

async fn add_fault(State(site): State<Arc<Site>>, headers: HeaderMap, body: Bytes) -> Response {
    faults_answer(&headers, || {
        let fault = serde_json::from_slice(&body).map_err(|error| fail!(Code::Usage, "that is no fault: {error}"))?;
        site.faults.add(fault)?;
        Ok(site.faults.list())
    })
}

fn faults_answer(headers: &HeaderMap, work: impl FnOnce() -> Result<Vec<Struck>>) -> Response {
    let (status, text) = match require_signature(headers) {
        Err(refusal) => (refusal.status, refusal.message),
        Ok(()) => match work() {
            Ok(list) => (200, serde_json::json!({ "schema": 1, "faults": list }).to_string()),
            Err(error) => (400, error.to_string()),
        },
    };
    (status_of(status), [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// One call, in one of the two protocols.
struct Asked {
    headers: HeaderMap,
    body: Bytes,
    /// What the Query protocol asks.
    query: Option<Query>,
    /// The JSON protocol's name of the action.
    target: Option<String>,
    /// CloudWatch has protocols of its own.
    metrics: Option<Protocol>,
    request_id: String,
}

async fn answer(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get(TARGET).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // CBOR names the action in the path, and gets the same name as by JSON here.
    let path = uri.path().strip_prefix("/service/").and_then(|path| path.split_once("/operation/"));
    let by_cbor = path.filter(|(service, _)| *service == metrics::SERVICE);
    let query = (target.is_none() && by_cbor.is_none()).then(|| Query::parse(&body));
    let version = query.as_ref().and_then(|query| query.text("Version"));
    let metrics = match &target {
        _ if by_cbor.is_some() => Some(Protocol::Cbor),
        Some(target) if target.starts_with(metrics::SERVICE) => Some(Protocol::Json),
        None if version == Some(metrics::VERSION) => Some(Protocol::Query),
        _ => None,
    };
    let target = by_cbor.map(|(service, action)| format!("{service}.{action}")).or(target);
    let asked = Asked { headers, body, query, target, metrics, request_id: uuid::Uuid::new_v4().to_string() };
    let action = asked.action();
    site.ledger.call(&action, asked.target.is_none());
    let Some(Strike { blow, hold_ms }) = site.faults.strike_call(&action) else { return asked.perform(&site) };
    let hold = Duration::from_millis(hold_ms);
    match blow {
        Blow::Throttle => asked.refused(&asked.throttled()),
        Blow::Unavailable => asked.refused(&Refusal {
            status: 503,
            code: "ServiceUnavailable",
            message: "The service is unavailable. Please try again shortly.".into(),
        }),
        Blow::ErrorAfter => {
            drop(asked.perform(&site));
            let message = "An internal error occurred.".into();
            asked.refused(&Refusal { status: 500, code: "InternalFailure", message })
        }
        Blow::ResetBefore => cut_off(),
        Blow::ResetAfter => {
            drop(asked.perform(&site));
            cut_off()
        }
        Blow::Slow => {
            clock::sleep(hold).await;
            asked.perform(&site)
        }
        Blow::Stale => call::with(Fate { past: site.past(hold), ..Fate::default() }, || asked.perform(&site)),
        Blow::CutLog => call::with(Fate { cuts_log: true, ..Fate::default() }, || asked.perform(&site)),
        // The others strike no calls.
        _ => asked.perform(&site),
    }
}

/// An answer that ends before its body: the server closes the connection.
fn cut_off() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut off by a fault")) });
    ([(header::CONTENT_LENGTH, "1000")], Body::from_stream(broken)).into_response()
}

impl Asked {
    /// The action as AWS names it.
    fn action(&self) -> String {
        let by_target = self.target.as_ref().and_then(|target| target.rsplit('.').next());
        by_target.or_else(|| self.query.as_ref()?.text("Action")).unwrap_or_default().to_owned()
    }

    fn perform(&self, site: &Arc<Site>) -> Response {
        if let Err(refusal) = self.require_time(site) {
            return self.refused(&refusal);
        }
        if let Some(protocol) = self.metrics {
            let action = self.action();
            let read = || protocol.read(&self.body).and_then(|asked| metrics::answer(site, &action, &asked));
            return match require_signature(&self.headers).and_then(|()| read()) {
                Ok(told) => self.response(200, protocol.kind(), protocol.write(&action, told, &self.request_id)),
                Err(refusal) => self.refused(&refusal),
            };
        }
        let (status, kind, text) = match &self.query {
            Some(query) => query_answer(site, &self.headers, query.clone(), &self.request_id),
            None => json_answer(site, &self.headers, self.target.as_deref().unwrap_or_default(), &self.body),
        };
        self.response(status, kind, text)
    }

    /// A request bears the time at which it was signed, and AWS takes none that is too old or from the future. What
    /// has no time, such as a presigned one, is no business of the lab's.
    fn require_time(&self, site: &Site) -> Outcome<()> {
        let text = self.headers.get("x-amz-date").and_then(|value| value.to_str().ok());
        let Some(signed_ms) = text.and_then(clock::ms_of_compact) else { return Ok(()) };
        let now_ms = site.clock.now_ms().saturating_add_signed(site.clock.skew_ms());
        if signed_ms.abs_diff(now_ms) <= SKEW_BORNE_MS || site.clock.skew_ms() == 0 {
            return Ok(());
        }
        let (signed, now) = (text.unwrap_or_default(), clock::compact_of_ms(now_ms));
        let message = if signed_ms < now_ms {
            let least = clock::compact_of_ms(now_ms - SKEW_BORNE_MS);
            format!("Signature expired: {signed} is now earlier than {least} ({now} - 5 min.)")
        } else {
            let most = clock::compact_of_ms(now_ms + SKEW_BORNE_MS);
            format!("Signature not yet current: {signed} is still later than {most} ({now} + 5 min.)")
        };
        Err(match self.target {
            Some(_) => Refusal::new("InvalidSignatureException", message),
            None => Refusal { status: 403, code: "SignatureDoesNotMatch", message },
        })
    }

    /// How each service says that calls come too fast ("Common Errors" of both API references).
    fn throttled(&self) -> Refusal {
        let code = if self.target.is_some() && self.metrics.is_none() { "ThrottlingException" } else { "Throttling" };
        Refusal::new(code, "Rate exceeded")
    }

    fn refused(&self, refusal: &Refusal) -> Response {
        if let Some(protocol) = self.metrics {
            let mut response =
                self.response(refusal.status, protocol.kind(), protocol.refuse(refusal, &self.request_id));
            // A service that once spoke Query alone names its old codes so.
            let blame = if refusal.status < 500 { "Sender" } else { "Receiver" };
            if let Ok(code) = format!("{};{blame}", refusal.code).parse() {
                response.headers_mut().insert("x-amzn-query-error", code);
            }
            return response;
        }
        let (kind, text) = match self.target {
            Some(_) => (JSON_TYPE, json::refusal(refusal)),
            None => ("text/xml", xml::refusal(refusal, &self.request_id)),
        };
        self.response(refusal.status, kind, text)
    }

    fn response(&self, status: u16, kind: &'static str, text: impl Into<Body>) -> Response {
        let headers = [(header::CONTENT_TYPE.as_str(), kind), ("x-amzn-requestid", self.request_id.as_str())];
        let mut response = (status_of(status), headers, text.into()).into_response();
        if self.metrics == Some(Protocol::Cbor) {
            response.headers_mut().insert("smithy-protocol", header::HeaderValue::from_static("rpc-v2-cbor"));
        }
        response
    }
}

/// Signatures are not checked, but there must be one, as for AWS. This also keeps web pages out: a browser sends no
/// such header to a foreign address without asking first.
pub(super) fn require_signature(headers: &HeaderMap) -> Outcome<()> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    Err(Refusal { status: 403, code: "MissingAuthenticationToken", message: "Missing Authentication Token".into() })
}

fn json_answer(site: &Arc<Site>, headers: &HeaderMap, target: &str, body: &[u8]) -> (u16, &'static str, String) {
    let name = target.strip_prefix("secretsmanager.").unwrap_or_default();
    let done = require_signature(headers).and_then(|()| match find(name) {
        Some(Action::Json(act)) => act(site, &Members::parse(body)?),
        _ => Err(Refusal::new("UnknownOperationException", format!("{target} is no action of the lab"))),
    });
    match done {
        Ok(mut value) => {
            skew::json(&mut value, site.clock.skew_ms());
            (200, JSON_TYPE, value.to_string())
        }
        Err(refusal) => (refusal.status, JSON_TYPE, json::refusal(&refusal)),
    }
}

fn query_answer(site: &Arc<Site>, headers: &HeaderMap, query: Query, id: &str) -> (u16, &'static str, String) {
    let skew_ms = site.clock.skew_ms();
    let query = query.shifted(skew_ms.saturating_neg());
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
        Ok(result) => (200, "text/xml", skew::xml(&xml::answer(name, result, id), skew_ms)),
        Err(refusal) => (refusal.status, "text/xml", xml::refusal(&refusal, id)),
    }
}

fn find(name: &str) -> Option<Action> {
    ACTIONS.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
}
