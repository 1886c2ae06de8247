//! Which failed tries of a changing call may be repeated: those that AWS cannot have acted on.

use std::{error::Error as StdError, io::ErrorKind};

use aws_sdk_rds::config::{
    interceptors::InterceptorContext,
    retry::{ClassifyRetry, RetryAction},
};

/// Forbids the SDK to repeat a change whose outcome it does not know. A repeated CreateDBInstance would be answered
/// with `DBInstanceAlreadyExists`, and the true outcome, "made by the first try", would be lost.
#[derive(Debug)]
pub(super) struct OnlyWhenCertain;

impl ClassifyRetry for OnlyWhenCertain {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let certain = if error.is_operation_error() {
            // An answer of 4xx is a refusal, throttling included; one of 5xx may come from halfway through the work,
            // and one of 2xx that nobody can read from behind it.
            context.response().is_some_and(|answer| answer.status().is_client_error())
        } else {
            error.as_connector_error().is_some_and(|failure| never_sent(failure))
        };
        if certain { RetryAction::NoActionIndicated } else { RetryAction::RetryForbidden }
    }

    fn name(&self) -> &'static str {
        "pgrun: repeat a change only when AWS cannot have acted"
    }
}

/// True when the connection was never made, so that no byte of the request left this process.
///
/// The SDK keeps this to itself (`ConnectionStatus::NeverConnected` has no getter), so the chain of causes is read: the
/// kinds of `std::io::Error` that only connecting gives, and hyper-util's and the SDK's words for a failed connect. If
/// the words change, the answer becomes "may have been sent", which is the safe side.
pub(super) fn never_sent(error: &(dyn StdError + 'static)) -> bool {
    const WORDS: [&str; 2] = ["client error (Connect)", "HTTP connect timeout"];
    chain(error).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let words = cause.to_string();
        matches!(io, Some(ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable))
            || WORDS.iter().any(|word| words.contains(word))
    })
}

/// The error and its causes, outermost first.
pub(super) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> + 'a {
    std::iter::successors(Some(error), |&error| error.source())
}
