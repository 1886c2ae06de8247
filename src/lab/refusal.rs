//! What AWS answers when it does not do what was asked: code, HTTP status, message. The codes and their statuses are
//! those of the service models of RDS (2014-10-31) and Secrets Manager (2017-10-17).

use super::kind::Kind;
use crate::base::Error;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

pub(crate) type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    /// An error with HTTP 400, which most are.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// A resource that does not exist: HTTP 404.
    pub(crate) fn absent(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 404, code, message: message.into() }
    }

    /// RDS: a value that this parameter does not take.
    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// RDS: parameters that do not go together, or not with the state of the resource.
    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// RDS: the instance or cluster does not exist.
    pub(crate) fn no_database(kind: Kind, id: &str) -> Self {
        Self::absent(kind.words().absent, format!("{} {id} not found.", kind.words().noun))
    }

    /// RDS: the snapshot does not exist.
    pub(crate) fn no_snapshot(kind: Kind, id: &str) -> Self {
        Self::absent(
            kind.words().snapshot_absent,
            format!("{}Snapshot {id} not found.", kind.words().noun.trim_end_matches("Instance")),
        )
    }

    /// RDS: the blue/green deployment does not exist.
    pub(crate) fn no_deployment(id: &str) -> Self {
        Self::absent("BlueGreenDeploymentNotFoundFault", format!("BlueGreenDeployment {id} not found."))
    }

    /// RDS: the parameter group does not exist.
    pub(crate) fn no_group(name: &str) -> Self {
        Self::absent("DBParameterGroupNotFound", format!("DBParameterGroup not found: {name}"))
    }

    /// The lab itself failed, for example because its disk is full.
    pub(crate) fn internal(error: &Error) -> Self {
        Self { status: 500, code: "InternalFailure", message: error.to_string() }
    }
}
