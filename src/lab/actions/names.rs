//! What RDS accepts as identifiers, user names and passwords, in its own words of refusal.

use crate::lab::{
    query::Query,
    refusal::{Outcome, Refusal},
};

/// An identifier of an instance, snapshot or parameter group, lower-cased as RDS stores it.
pub(super) fn identifier(query: &Query, parameter: &str, longest: usize) -> Outcome<String> {
    let text = query.required(parameter)?;
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.ends_with('-')
        && !text.contains("--")
        && text.len() <= longest;
    if fits {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Refusal::value(format!(
        "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain only \
         ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
    )))
}

/// `MasterUsername`: up to 63 letters, digits and underscores, a letter first, and no name of the service's own.
pub(super) fn master_name(text: &str) -> Outcome<String> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 63;
    if !fits {
        return Err(Refusal::value(
            "The parameter MasterUsername must begin with a letter and contain only letters, digits, and underscores.",
        ));
    }
    let lower = text.to_ascii_lowercase();
    let reserved = ["admin", "none", "public", "rdsadmin", "rdsrepladmin", "rdstopmgr"].contains(&lower.as_str());
    if reserved || lower.starts_with("pg_") || lower.starts_with("rds_") {
        return Err(Refusal::value(format!(
            "MasterUsername {text} cannot be used as it is a reserved word used by the engine"
        )));
    }
    Ok(text.to_owned())
}

/// `DBName`: as it will stand in `CREATE DATABASE`.
pub(super) fn database_name(text: &str) -> Outcome<String> {
    let fits = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 63;
    if fits && !["rdsadmin", "template0", "template1"].contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Refusal::value(format!(
        "DBName {text} cannot be used. It must begin with a letter or an underscore, and contain only letters, digits, and underscores."
    )))
}

/// The SCRAM verifier of a `MasterUserPassword`: 8 to 128 printable ASCII characters besides `/`, `"`, `@` and blank.
pub(super) fn verifier_of(password: &str) -> Outcome<String> {
    if !(8..=128).contains(&password.len()) {
        return Err(Refusal::value(
            "The parameter MasterUserPassword is not a valid password because it is shorter than 8 characters or \
             longer than 128.",
        ));
    }
    if !password.chars().all(|c| c.is_ascii_graphic() && !"/\"@".contains(c)) {
        return Err(Refusal::value(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', \
             '@', '\"', ' ' may be used.",
        ));
    }
    Ok(postgres_protocol::password::scram_sha_256(password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Query, identifier, master_name, verifier_of};

    #[test]
    fn names_follow_the_rules_of_rds() {
        let check = |text: &str| identifier(&Query::parse(format!("Id={text}").as_bytes()), "Id", 63);
        assert_eq!(check("Blue-1").unwrap(), "blue-1");
        for bad in ["1blue", "blue-", "bl--ue", "bl_ue", "", &"b".repeat(64), "%C3%A9"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(master_name("postgres").is_ok());
        for bad in ["rdsadmin", "pg_x", "1x", "x-y", ""] {
            assert!(master_name(bad).is_err(), "{bad}");
        }
        assert!(verifier_of("correct-horse").unwrap().starts_with("SCRAM-SHA-256$4096:"));
        for bad in ["short", "with/slash", "with@at!!", "with space", "with\"quote", "ünicode-pw"] {
            assert!(verifier_of(bad).is_err(), "{bad}");
        }
    }
}
