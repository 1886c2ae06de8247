//! Every wait for something outside the process: an interval, a deadline, and a sentence saying what is waited for.

use std::time::Duration;

use super::{Code, Result, clock, span};
use crate::fail;

/// How often to look, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Pause between two looks.
    pub every: Duration,
    /// After this long the wait fails.
    pub deadline: Duration,
}

impl Patience {
    /// Looks each `every_ms` milliseconds for at most `deadline_ms`.
    #[must_use]
    pub fn ms(every_ms: u64, deadline_ms: u64) -> Self {
        Self { every: Duration::from_millis(every_ms), deadline: Duration::from_millis(deadline_ms) }
    }
}

/// Asks `probe` until it gives a value. The first look is made at once, the last one at the deadline.
///
/// # Errors
/// The probe's own error at once, or `timeout` naming `what` and what was seen last.
pub async fn until<T>(what: &str, patience: Patience, mut probe: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
    let begun = clock::instant();
    loop {
        let last = match probe().await? {
            Seen::Ready(value) => return Ok(value),
            Seen::NotYet(state) => state,
        };
        let left = patience.deadline.saturating_sub(begun.elapsed());
        if left.is_zero() {
            let after = span::duration_text(patience.deadline);
            return Err(fail!(Code::Timeout, "waited {after} for {what}; last seen: {last}"));
        }
        clock::sleep(patience.every.min(left)).await;
    }
}

/// What one look showed.
pub enum Seen<T> {
    /// The awaited value.
    Ready(T),
    /// Not yet; the text says what was seen, and stands in the error if it never comes.
    NotYet(String),
}

#[cfg(test)]
mod tests {
    use super::{Patience, Seen, until};

    #[tokio::test]
    async fn a_wait_says_what_it_waited_for_and_what_it_saw() {
        let error =
            until("the slot", Patience::ms(1, 5), async || Ok(Seen::<()>::NotYet("absent".into()))).await.unwrap_err();
        assert_eq!(error.message(), "waited 5 ms for the slot; last seen: absent");
        let mut looks = 0;
        let got = until("a number", Patience::ms(1, 5000), async || {
            looks += 1;
            Ok(if looks == 3 { Seen::Ready(looks) } else { Seen::NotYet("no".into()) })
        });
        assert_eq!(got.await.unwrap(), 3);
    }
}
