//! Every wait for something outside the process: an interval, a deadline, and a sentence saying what is waited for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Code, Result, clock, span};
use crate::fail;

tokio::task_local! {
    static SIGHT: Sight;
}

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
            Seen::Ready(value) => {
                Sight::tell(None);
                return Ok(value);
            }
            Seen::NotYet(state) => state,
        };
        Sight::tell(Some((what, &last)));
        let left = patience.deadline.saturating_sub(begun.elapsed());
        if left.is_zero() {
            let after = span::duration_text(patience.deadline);
            return Err(fail!(Code::Timeout, "waited {after} for {what}; last seen: {last}"));
        }
        clock::sleep(patience.every.min(left)).await;
    }
}

/// What a wait inside some work has seen last, for whoever ends that work from outside: a deadline that is not the
/// wait's own has to say the cause too.
#[derive(Clone, Default)]
pub struct Sight(Arc<Mutex<Option<String>>>);

impl Sight {
    /// Lets the waits of this work tell what they see. Work that is spawned elsewhere does not.
    pub async fn over<T>(&self, work: impl Future<Output = T>) -> T {
        SIGHT.scope(self.clone(), work).await
    }

    /// What is waited for now and what was seen last; none while nothing is waited for.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(seen: Option<(&str, &str)>) {
        let text = seen.map(|(what, state)| format!("{what}; last seen: {state}"));
        // Nobody may be there to hear it.
        let _ = SIGHT.try_with(|sight| *sight.0.lock().unwrap_or_else(PoisonError::into_inner) = text);
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
    use super::{Patience, Seen, Sight, until};

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

    /// Whoever gives a wait up from outside knows what it was about, and hears nothing of waits that are over.
    #[tokio::test]
    async fn a_wait_that_is_given_up_has_told_what_it_saw() {
        let sight = Sight::default();
        let wait = until("the slot", Patience::ms(1, 60_000), async || Ok(Seen::<()>::NotYet("absent".into())));
        let limit = std::time::Duration::from_millis(20);
        assert!(crate::base::clock::within(limit, sight.over(wait)).await.is_none());
        assert_eq!(sight.last().as_deref(), Some("the slot; last seen: absent"));
        sight.over(until("it", Patience::ms(1, 5), async || Ok(Seen::Ready(())))).await.unwrap();
        assert_eq!(sight.last(), None);
    }
}
