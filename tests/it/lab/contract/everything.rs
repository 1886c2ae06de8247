//! No operation of the lab goes without a client's check.

const RUST: [&str; 3] =
    [include_str!("rds_rust.rs"), include_str!("rds_rust_clusters.rs"), include_str!("secrets_rust.rs")];
const RDS: &str = include_str!("rds.py");
const SECRETS: &str = include_str!("secretsmanager.py");
const CLI: &str = include_str!("secrets.rs");

/// `CreateDBInstance` as SDKs call it, `create_db_instance`.
fn snake(operation: &str) -> String {
    let mut name = String::new();
    for letter in operation.replace("DB", "Db").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The script of RDS calls operations of both kinds of parameter groups in one loop.
fn both_kinds(script: &str) -> String {
    format!("{}{}", script.replace("{kind}", "db"), script.replace("{kind}", "db_cluster"))
}

/// The sources of the contract are searched for each operation of the lab: a new one must be called by every client.
#[test]
fn every_operation_is_called_by_every_client() {
    let rds = both_kinds(RDS);
    let mut missing = vec![];
    for operation in pgrun::lab::operations() {
        let name = snake(operation);
        let quoted = format!("\"{name}\"");
        let by_rust = RUST.iter().any(|source| source.contains(&format!(".{name}()")));
        // `rds.py` is run with both of these clients.
        let by_boto3 = rds.contains(&quoted) || SECRETS.contains(&format!("CLIENT.{name}("));
        let by_cli = rds.contains(&quoted) || CLI.contains(&format!("\"{} ", name.replace('_', "-")));
        let clients = [("the Rust SDK", by_rust), ("boto3", by_boto3), ("the aws CLI", by_cli)];
        missing.extend(clients.iter().filter(|client| !client.1).map(|(who, _)| format!("{operation}: not by {who}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
