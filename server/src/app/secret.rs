//! API key secrets: `qs_live_` or `qs_sandbox_`, 52 characters of randomness, 4 of checksum.
//!
//! The checksum lets a scanner, and us, tell a key from a look-alike without a database. Only the hash is stored.

use secrecy::{ExposeSecret, SecretString};

use crate::app::clock;
use crate::store::keys::Environment;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_CHARS: usize = 52;
const CHECKSUM_CHARS: usize = 4;

/// The prefix of an environment's secrets.
pub const fn prefix(environment: Environment) -> &'static str {
    match environment {
        Environment::Live => "qs_live_",
        Environment::Sandbox => "qs_sandbox_",
    }
}

/// A new secret with 256 random bits.
pub fn mint(environment: Environment) -> SecretString {
    let random: [u8; 32] = clock::random();
    let mut text = prefix(environment).to_owned();
    // 52 digits of 5 bits: the last one holds a single bit.
    let bit = |index: usize| random.get(index / 8).is_some_and(|byte| (byte >> (index % 8)) & 1 == 1);
    for digit in 0..RANDOM_CHARS {
        let value = (0..5).fold(0, |value, place| value | (usize::from(bit(digit * 5 + place)) << place));
        text.push(char::from(ALPHABET[value]));
    }
    text.push_str(&checksum(&text));
    SecretString::from(text)
}

/// Whether `secret` has the form and the checksum of a key.
pub fn is_well_formed(secret: &str) -> bool {
    let body = [Environment::Live, Environment::Sandbox].iter().find_map(|kind| secret.strip_prefix(prefix(*kind)));
    body.is_some_and(|body| {
        body.len() == RANDOM_CHARS + CHECKSUM_CHARS
            && body.bytes().all(|byte| ALPHABET.contains(&byte))
            && secret.ends_with(&checksum(&secret[..secret.len() - CHECKSUM_CHARS]))
    })
}

/// What is stored of a secret.
pub fn hash(secret: &SecretString) -> [u8; 32] {
    *blake3::hash(secret.expose_secret().as_bytes()).as_bytes()
}

/// What people recognise a key by: its prefix and its last four characters.
pub fn hint(environment: Environment, secret: &SecretString) -> String {
    let text = secret.expose_secret();
    format!("{}...{}", prefix(environment), &text[text.len() - 4..])
}

fn checksum(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes()[..CHECKSUM_CHARS].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_secret_is_well_formed_and_a_changed_one_is_not() {
        for environment in [Environment::Live, Environment::Sandbox] {
            let secret = mint(environment);
            let text = secret.expose_secret();
            assert!(is_well_formed(text));
            assert!(text.starts_with(prefix(environment)));
            let changed = text.replacen(&text[20..21], if &text[20..21] == "a" { "b" } else { "a" }, 1);
            assert!(!is_well_formed(&changed));
            assert!(!is_well_formed(&text[..text.len() - 1]));
        }
        assert!(!is_well_formed("qs_live_ü"));
        assert!(!is_well_formed(""));
    }
}
