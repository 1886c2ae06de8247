//! What holds for the staging labels of a secret whatever is asked of it, tried with random sequences of requests and
//! rotations. Tests only.

use proptest::prelude::*;

use super::secret::{CURRENT, Data, PENDING, PREVIOUS, StoredSecret};

/// One thing that happens to a secret. Tokens and values are small numbers, so that they meet.
#[derive(Clone, Debug)]
enum Happens {
    Put {
        token: u8,
        value: u8,
        labels: Vec<&'static str>,
    },
    Move {
        label: &'static str,
        to: Option<u8>,
        from: Option<u8>,
    },
    /// A compare-and-swap by somebody who read the labels first.
    Swap {
        label: &'static str,
        to: u8,
    },
    Rotate {
        token: u8,
        test_only: bool,
    },
    /// The function of the rotation under way puts a value.
    Create {
        value: u8,
    },
    /// It moves AWSCURRENT and ends well.
    Finish,
    Fail,
    Cancel,
}

fn happens() -> impl Strategy<Value = Happens> {
    let label = prop::sample::select(vec![CURRENT, PENDING, PREVIOUS, "own"]);
    let put_label = prop::sample::select(vec![CURRENT, PENDING, "own"]);
    let token = 0..5_u8;
    prop_oneof![
        4 => (token.clone(), 0..3_u8, prop::collection::vec(put_label, 0..3))
            .prop_map(|(token, value, labels)| Happens::Put { token, value, labels }),
        2 => (label.clone(), prop::option::of(token.clone()), prop::option::of(token.clone()))
            .prop_map(|(label, to, from)| Happens::Move { label, to, from }),
        4 => (label, token.clone()).prop_map(|(label, to)| Happens::Swap { label, to }),
        3 => (token, any::<bool>()).prop_map(|(token, test_only)| Happens::Rotate { token, test_only }),
        3 => (0..3_u8).prop_map(|value| Happens::Create { value }),
        3 => Just(Happens::Finish),
        1 => Just(Happens::Fail),
        1 => Just(Happens::Cancel),
    ]
}

fn data(value: u8) -> Data {
    Data { text: Some(value.to_string()), binary: None }
}

/// Does it as the actions do; false when it was refused.
fn apply(secret: &mut StoredSecret, what: &Happens, now: f64) -> bool {
    let attempt = secret.rotation.attempt.as_ref().map(|attempt| attempt.token.clone());
    match (what, attempt) {
        (Happens::Put { token, value, labels }, _) => {
            let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            secret.put(&token.to_string(), data(*value), &labels, now).is_ok()
        }
        (Happens::Move { label, to, from }, _) => {
            let (to, from) = (to.map(|to| to.to_string()), from.map(|from| from.to_string()));
            secret.move_label(label, to.as_deref(), from.as_deref(), now).is_ok()
        }
        (Happens::Swap { label, to }, _) => {
            let from = secret.labels.get(*label).cloned();
            secret.move_label(label, Some(&to.to_string()), from.as_deref(), now).is_ok()
        }
        (Happens::Rotate { token, test_only }, _) => {
            let token = token.to_string();
            let may = secret.unfinished().is_none() && !secret.versions.contains_key(&token);
            if may {
                secret.begin_rotation(&token, *test_only, now);
            }
            may
        }
        (Happens::Create { value }, Some(token)) => {
            secret.put(&token, data(*value), &[PENDING.to_owned()], now).is_ok()
        }
        (Happens::Finish, Some(token)) => {
            let from = secret.labels.get(CURRENT).cloned();
            drop(secret.move_label(CURRENT, Some(&token), from.as_deref(), now));
            secret.end_rotation(&token, now)
        }
        (Happens::Fail, Some(token)) => {
            secret.fail_rotation(&token, now);
            true
        }
        (Happens::Cancel, _) => {
            secret.cancel_rotation(now);
            true
        }
        (_, None) => false,
    }
}

proptest! {
    #[test]
    fn labels_are_exact(history in prop::collection::vec(happens(), 1..60)) {
        let mut secret = StoredSecret::new("app", "eu-west-1", 0.0);
        for (place, what) in history.iter().enumerate() {
            let now = f64::from(u32::try_from(place).unwrap());
            let before = secret.clone();
            // A refused request is thrown away, as `Site::change` does it.
            let mut next = secret.clone();
            if apply(&mut next, what, now) || matches!(what, Happens::Finish) {
                secret = next;
            } else {
                prop_assert_eq!(&next.labels, &before.labels, "{:?} was refused and changed labels", what);
            }

            for (label, version) in &secret.labels {
                prop_assert!(secret.versions.contains_key(version), "{} is on a version that is gone", label);
            }
            let has_value = secret.versions.values().any(|version| version.data.is_some());
            let test_runs = secret.rotation.attempt.as_ref().is_some_and(|attempt| attempt.test_only);
            match secret.labels.get(CURRENT) {
                Some(current) => prop_assert!(secret.versions[current].data.is_some(), "AWSCURRENT has no value"),
                None => prop_assert!(!has_value || test_runs, "there are values and no AWSCURRENT"),
            }
            let (left, current) = (before.labels.get(CURRENT), secret.labels.get(CURRENT));
            prop_assert!(left.is_none() || current.is_some(), "AWSCURRENT was lost");
            if let (Some(left), true) = (left, left != current) {
                prop_assert_eq!(secret.labels.get(PREVIOUS), Some(left), "AWSPREVIOUS did not follow");
            }

            if let Happens::Put { .. } | Happens::Create { .. } = what {
                let mut again = secret.clone();
                let known = again.versions.len();
                if apply(&mut again, what, now + 0.5) {
                    prop_assert_eq!(&again.labels, &secret.labels, "a replay moved labels");
                    prop_assert_eq!(again.versions.len(), known, "a replay made a version");
                    prop_assert!(again.versions == secret.versions);
                }
            }
        }
    }
}
