//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for the lab's proxy, which knows the password itself.
//! Without channel binding, as RDS Proxy.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

/// One login that is under way.
pub(super) struct Scram {
    keys: Keys,
    /// The beginning of the client's first message, which it has to repeat.
    header: String,
    nonce: String,
    /// Both first messages, as they are signed.
    signed: String,
}

struct Keys {
    salt: String,
    rounds: String,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    /// `SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER`, made by the code that makes verifiers for PostgreSQL.
    fn of(password: &str) -> Option<Self> {
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let mut parts = verifier.split('$').skip(1);
        let ((rounds, salt), (stored, server)) = (parts.next()?.split_once(':')?, parts.next()?.split_once(':')?);
        Some(Self {
            salt: salt.to_owned(),
            rounds: rounds.to_owned(),
            stored: STANDARD.decode(stored).ok()?,
            server: STANDARD.decode(server).ok()?,
        })
    }
}

impl Scram {
    /// Reads the client's first message and gives ours; `None` when it is malformed or wants channel binding.
    pub(super) fn begin(password: &str, client_first: &str) -> Option<(Self, String)> {
        let (flag, rest) = client_first.split_once(',')?;
        let (name, bare) = rest.split_once(',')?;
        if !matches!(flag, "n" | "y") {
            return None;
        }
        let theirs = bare.split(',').find_map(|field| field.strip_prefix("r=")).filter(|nonce| !nonce.is_empty())?;
        let ours: [u8; 18] = rand::rng().random();
        let (keys, nonce) = (Keys::of(password)?, format!("{theirs}{}", STANDARD.encode(ours)));
        let first = format!("r={nonce},s={},i={}", keys.salt, keys.rounds);
        let signed = format!("{bare},{first}");
        Some((Self { keys, header: format!("{flag},{name},"), nonce, signed }, first))
    }

    /// Checks the client's proof and gives ours; `None` when the password is another one.
    pub(super) fn finish(self, client_final: &str) -> Option<String> {
        let (unproved, proof) = client_final.rsplit_once(",p=")?;
        let (header, nonce) = unproved.strip_prefix("c=")?.split_once(",r=")?;
        let header = STANDARD.decode(header).ok()?;
        if header != self.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let signed = format!("{},{unproved}", self.signed);
        let signature = hmac(&self.keys.stored, signed.as_bytes())?;
        let proof = STANDARD.decode(proof).ok().filter(|proof| proof.len() == signature.len())?;
        let key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let right = Sha256::digest(key).as_slice() == self.keys.stored.as_slice();
        let ours = hmac(&self.keys.server, signed.as_bytes())?;
        right.then(|| format!("v={}", STANDARD.encode(ours)))
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::Scram;

    fn exchange(ours: &str, theirs: &str, spoil: impl Fn(String) -> String) -> Option<()> {
        let mut client = ScramSha256::new(theirs.as_bytes(), ChannelBinding::unsupported());
        let first = String::from_utf8(client.message().to_vec()).unwrap();
        let (scram, answer) = Scram::begin(ours, &first)?;
        client.update(answer.as_bytes()).unwrap();
        let proof = spoil(String::from_utf8(client.message().to_vec()).unwrap());
        client.finish(scram.finish(&proof)?.as_bytes()).ok()
    }

    /// The other side is the client that the whole program uses.
    #[test]
    fn the_right_password_alone_passes() {
        for password in ["secret", "a,b=c, é🙂", " "] {
            assert!(exchange(password, password, |text| text).is_some(), "{password}");
        }
        assert!(exchange("secret", "Secret", |text| text).is_none());
        assert!(exchange("secret", "secret", |text| text.replacen("c=", "c=eA", 1)).is_none());
        assert!(exchange("secret", "secret", |text| text.replacen("r=", "r=x", 1)).is_none());
        assert!(exchange("secret", "secret", |text| text[..text.len() - 4].to_owned()).is_none());
        assert!(exchange("secret", "secret", |text| format!("{}p=", &text[..text.len() - 46])).is_none());
        for first in ["", "n", "n,", "n,,", "n,,n=,r=", "p=tls-unique,,n=,r=abc", "x,,n=,r=abc"] {
            assert!(Scram::begin("secret", first).is_none(), "{first}");
        }
    }
}
