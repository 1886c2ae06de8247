//! The faults of a lab that another process runs, over HTTP.

use std::time::Duration;

use axum::http::Method;
use serde::Deserialize;

use super::{Fault, Struck};
use crate::{
    base::{Code, Result},
    fail,
    lab::{endpoint, http},
};

/// How long the lab may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Listed {
    faults: Vec<Struck>,
}

/// Adds a fault to the lab at `url`; gives all of them.
///
/// # Errors
/// `usage` for a fault that there is not; `lab_failed` when the lab does not answer.
pub async fn add_fault(url: &str, fault: &Fault) -> Result<Vec<Struck>> {
    fault.check()?;
    ask(url, Method::POST, serde_json::to_string(fault).unwrap_or_default()).await
}

/// The faults of the lab at `url`, with how often each has struck.
///
/// # Errors
/// `lab_failed` when the lab does not answer.
pub async fn faults(url: &str) -> Result<Vec<Struck>> {
    ask(url, Method::GET, String::new()).await
}

/// Ends all faults of the lab at `url`; gives those that there were.
///
/// # Errors
/// `lab_failed` when the lab does not answer.
pub async fn clear_faults(url: &str) -> Result<Vec<Struck>> {
    ask(url, Method::DELETE, String::new()).await
}

async fn ask(url: &str, method: Method, body: String) -> Result<Vec<Struck>> {
    let answer = http::ask(method, &format!("{url}{}", endpoint::FAULTS), body, ANSWER)
        .await
        .map_err(|error| error.hint("pgrun lab status"))?;
    let words = || String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status != 200 {
        return Err(fail!(Code::LabFailed, "the lab at {url} refuses: {}", words()));
    }
    let listed: Listed = serde_json::from_slice(&answer.body)
        .map_err(|error| fail!(Code::LabFailed, "the lab at {url} answers {}: {error}", words()))?;
    Ok(listed.faults)
}
