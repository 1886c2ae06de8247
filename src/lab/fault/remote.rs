//! The faults of a lab that another process runs, over HTTP.

use axum::{
    body::Bytes,
    http::{Method, Request, header},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;

use super::{Fault, Struck};
use crate::{
    base::{Code, Result, clock},
    fail,
    lab::endpoint,
};

/// How long the lab may take to answer.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Deserialize)]
struct Answer {
    faults: Vec<Struck>,
}

/// Adds a fault to the lab at `url`; gives all of them.
///
/// # Errors
/// `usage` for a fault that there is not; `lab_failed` when the lab does not answer.
pub async fn add_fault(url: &str, fault: &Fault) -> Result<Vec<Struck>> {
    fault.check()?;
    ask(url, Method::POST, serde_json::to_vec(fault).unwrap_or_default()).await
}

/// The faults of the lab at `url`, with how often each has struck.
///
/// # Errors
/// `lab_failed` when the lab does not answer.
pub async fn faults(url: &str) -> Result<Vec<Struck>> {
    ask(url, Method::GET, vec![]).await
}

/// Ends all faults of the lab at `url`; gives those that there were.
///
/// # Errors
/// `lab_failed` when the lab does not answer.
pub async fn clear_faults(url: &str) -> Result<Vec<Struck>> {
    ask(url, Method::DELETE, vec![]).await
}

async fn ask(url: &str, method: Method, body: Vec<u8>) -> Result<Vec<Struck>> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let broken =
        |why: String| fail!(Code::LabFailed, "the lab at {url} does not answer: {why}").hint("pgrun lab status");
    let request = Request::builder()
        .method(method)
        .uri(format!("{url}{}", endpoint::FAULTS))
        .header(header::AUTHORIZATION, "lab")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(error.to_string()))?;
    let asked = async {
        let response = client.request(request).await.map_err(|error| broken(error.to_string()))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| broken(error.to_string()))?.to_bytes();
        Ok((status, body))
    };
    let (status, body) = clock::within(ANSWER, asked).await.ok_or_else(|| broken("no answer within 10 s".into()))??;
    if !status.is_success() {
        return Err(broken(String::from_utf8_lossy(&body).into_owned()));
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))?;
    Ok(answer.faults)
}
