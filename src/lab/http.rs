//! One HTTP request over plain TCP, to something on this machine. There is no TLS and no proxy in it.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Request, header},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{
    base::{Code, Result, clock, span},
    fail,
};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Asks, and waits for the whole answer at most for `limit`.
pub(crate) async fn ask(method: Method, url: &str, body: String, limit: Duration) -> Result<Answer> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let broken = |why: String| fail!(Code::LabFailed, "{url} does not answer: {why}");
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(header::AUTHORIZATION, "lab")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(error.to_string()))?;
    let asked = async {
        let response = client.request(request).await.map_err(|error| broken(error.to_string()))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.map_err(|error| broken(error.to_string()))?.to_bytes();
        Ok(Answer { status, headers, body })
    };
    let late = || broken(format!("no answer within {}", span::duration_text(limit)));
    clock::within(limit, asked).await.ok_or_else(late)?
}
