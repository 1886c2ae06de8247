//! `/lab/functions`: rotation functions are registered, listed and removed, at the endpoint and by `pgrun lab function`
//! from another process. No action of AWS has a path.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::{Deserialize, Serialize};

use super::{
    endpoint::require_signature,
    function::{Function, Registered},
    http,
    refusal::Refusal,
    site::Site,
    world::World,
};
use crate::{
    base::{Code, Result},
    fail,
};

const FUNCTIONS: &str = "/lab/functions";

/// How long the lab may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Listed {
    schema: u32,
    functions: Vec<Registered>,
}

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new().route(FUNCTIONS, get(list).post(add)).route(&format!("{FUNCTIONS}/{{name}}"), delete(remove))
}

async fn list(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    require_signature(&headers).map_or_else(|refusal| refused(&refusal), |()| listed(&site))
}

async fn add(State(site): State<Arc<Site>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&site, &headers, |world| {
        let read = serde_json::from_slice(&body);
        let function: Function = read.map_err(|error| fail!(Code::Usage, "that is no function: {error}"))?;
        function.check()?;
        let known = world.functions.remove(&function.name);
        let (calls, last) = known.map_or((0, None), |known| (known.calls, known.last));
        world.functions.insert(function.name.clone(), Registered { function, calls, last });
        Ok(())
    })
}

async fn remove(State(site): State<Arc<Site>>, headers: HeaderMap, Path(name): Path<String>) -> Response {
    answer(&site, &headers, |world| {
        let none = || fail!(Code::Usage, "there is no function `{name}`").hint("pgrun lab function list");
        world.functions.remove(&name).map(drop).ok_or_else(none)
    })
}

/// Changes the functions and gives all of them.
fn answer(site: &Site, headers: &HeaderMap, change: impl FnOnce(&mut World) -> Result<()>) -> Response {
    if let Err(refusal) = require_signature(headers) {
        return refused(&refusal);
    }
    let mut done = Ok(());
    site.record(|world| done = change(world));
    if let Err(error) = done {
        return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
    }
    listed(site)
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    (status, refusal.message.clone()).into_response()
}

fn listed(site: &Site) -> Response {
    let functions = site.look(|world| world.functions.values().cloned().collect());
    let text = serde_json::to_string(&Listed { schema: 1, functions }).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Registers a function with the lab at `url`; gives all of them. One of the same name is replaced.
///
/// # Errors
/// `usage` for what is no function; `lab_failed` when the lab does not answer.
pub async fn add_function(url: &str, function: &Function) -> Result<Vec<Registered>> {
    function.check()?;
    ask(Method::POST, format!("{url}{FUNCTIONS}"), serde_json::to_string(function).unwrap_or_default()).await
}

/// The functions of the lab at `url`.
///
/// # Errors
/// `lab_failed` when the lab does not answer.
pub async fn functions(url: &str) -> Result<Vec<Registered>> {
    ask(Method::GET, format!("{url}{FUNCTIONS}"), String::new()).await
}

/// Removes a function from the lab at `url`; gives those that are left.
///
/// # Errors
/// `usage` when there is none of this name; `lab_failed` when the lab does not answer.
pub async fn remove_function(url: &str, name: &str) -> Result<Vec<Registered>> {
    let known = functions(url).await?;
    if !known.iter().any(|known| known.function.name == name) {
        return Err(fail!(Code::Usage, "there is no function `{name}`").hint("pgrun lab function list"));
    }
    ask(Method::DELETE, format!("{url}{FUNCTIONS}/{name}"), String::new()).await
}

async fn ask(method: Method, url: String, body: String) -> Result<Vec<Registered>> {
    let answer = http::ask(method, &url, body, ANSWER).await.map_err(|error| error.hint("pgrun lab status"))?;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status != 200 {
        return Err(fail!(Code::LabFailed, "the lab did not do it: {said}"));
    }
    let listed: Listed =
        serde_json::from_slice(&answer.body).map_err(|error| fail!(Code::LabFailed, "{error}: {said}"))?;
    Ok(listed.functions)
}
