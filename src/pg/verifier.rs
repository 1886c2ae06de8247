//! SCRAM verifiers for passwords that were drawn at random. The rounds of a verifier slow down whoever guesses, and
//! nobody guesses these; but a client hashes them at each login, and the clients that measure log in while a server has
//! better things to do.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

use crate::base::Secret;

/// A verifier of one round, as PostgreSQL keeps it (`SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER`; RFC 5802, section 3).
/// For random passwords of ASCII, which need no preparation.
#[must_use]
pub fn of_one_round(password: &Secret) -> Secret {
    debug_assert!(password.expose().is_ascii());
    let salt: [u8; 16] = rand::rng().random();
    with_salt(password, salt)
}

fn with_salt(password: &Secret, salt: [u8; 16]) -> Secret {
    let salted = sign(password.expose().as_bytes(), &[salt.as_slice(), &1_u32.to_be_bytes()].concat());
    let stored = Sha256::digest(sign(&salted, b"Client Key"));
    let server = sign(&salted, b"Server Key");
    let [salt, stored, server] = [salt.as_slice(), stored.as_slice(), &server].map(|bytes| STANDARD.encode(bytes));
    Secret::new(format!("SCRAM-SHA-256$1:{salt}${stored}:{server}"))
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so there is always a code.
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    code.update(text);
    code.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::{Secret, with_salt};

    /// Computed by Python's hashlib and hmac.
    #[test]
    fn it_is_what_another_program_computes() {
        let verifier = with_salt(&Secret::new("pencil"), *b"0123456789abcdef");
        assert_eq!(
            verifier.expose(),
            "SCRAM-SHA-256$1:MDEyMzQ1Njc4OWFiY2RlZg==$6E6za7g9nQj7bvJ78b+hKOVaeRanit38xaWlCSvoB4Y=:+Xl/1j60mYw7IUJQ7cmQYlUgCDB0vLsvuw4MqpuAMaQ="
        );
    }
}
