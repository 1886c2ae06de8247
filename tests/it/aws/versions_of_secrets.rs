//! Secrets against the lab, which keeps Secrets Manager's contract of stages and tokens.

use pgrun::{
    aws::{CURRENT, Deletion, Mark, PENDING, PREVIOUS, Passwords, Secrets, Tags, Which, token},
    base::{Code, Redactor, Secret},
};

use super::{life::Stage, responder::aws_at};

const OLD: &str =
    "{ \"username\":\"app\", \"password\" : \"p\\u0040ss\\/word\",\n  \"host\": \"blue\", \"port\":5432 }";

async fn text(secrets: &Secrets, which: Which<'_>) -> String {
    secrets.get("app", which).await.unwrap().text.expose().to_owned()
}

async fn stages(secrets: &Secrets) -> Vec<(String, String)> {
    secrets.describe("app").await.unwrap().stages.into_iter().collect()
}

fn on(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(stage, version)| ((*stage).to_owned(), (*version).to_owned())).collect()
}

/// A rotation: written under a derived token, repeated, promoted by compare-and-swap, cleaned, taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_repeatable_at_each_step() {
    let stage = Stage::new().await;
    let redactor = Redactor::default();
    let secrets = aws_at(stage.lab.url(), redactor.clone()).secrets();
    let (first, second) = (token("run", "create", "app"), token("run", "rotate", "app"));
    let mark = Mark::new("run", "create");
    for _ in 0..2 {
        let arn = secrets.create("app", &Secret::new(OLD), &first, Some("of a test"), &Tags::new(), &mark).await;
        assert!(arn.unwrap().starts_with("arn:"));
    }
    assert_eq!(stages(&secrets).await, on(&[(CURRENT, &first)]));
    let password = secrets.random_password(&Passwords::default()).await.unwrap();
    assert_eq!(password.expose().len(), 32);
    assert!(!password.expose().contains(['/', '@', '"', ' ', '\'']));
    assert_eq!(redactor.clean(password.expose()), "***");

    let new = Secret::new(OLD.replace("p\\u0040ss", "new"));
    for _ in 0..2 {
        assert_eq!(secrets.put("app", &new, &second, &[PENDING]).await.unwrap(), second);
    }
    assert_eq!(secrets.pending("app").await.unwrap(), Some(second.clone()));
    assert_eq!(secrets.read_back("app", &second).await.unwrap().stages, [PENDING]);
    assert_eq!(secrets.current("app").await.unwrap().password().unwrap().expose(), "p@ss/word");
    let other = secrets.put("app", &Secret::new("other"), &second, &[PENDING]).await.unwrap_err();
    assert_eq!(other.fact("aws_code"), Some("ResourceExistsException"));
    assert!(other.hint_text().is_some_and(|hint| hint.contains(&second)), "{other:?}");

    let wrong = secrets.promote("app", &second, &second[..35]).await;
    assert!(wrong.is_err(), "a version that never was cannot have been current");
    assert!(!secrets.promote("app", &second, &first).await.unwrap().was_done);
    assert!(secrets.promote("app", &second, &first).await.unwrap().was_done, "again: it had been done");
    assert_eq!(secrets.pending("app").await.unwrap(), None, "the label is on the current version");
    for _ in 0..2 {
        secrets.clear_pending("app", &second).await.unwrap();
    }
    assert_eq!(stages(&secrets).await, on(&[(CURRENT, &second), (PREVIOUS, &first)]));
    let third = token("run", "somebody else", "app");
    secrets.put("app", &new, &third, &[CURRENT]).await.unwrap();
    let stolen = secrets.promote("app", &first, &second).await.unwrap_err();
    assert!(stolen.code() == Code::RequireFailed && stolen.message().contains(&third), "{stolen:?}");
    assert!(!secrets.promote("app", &first, &third).await.unwrap().was_done, "taking back is a promotion too");
    stage.lab.shutdown().await.unwrap();
}

/// Repointing changes host and port and not one other byte, helps a rotation in progress along, and can be repeated
/// from any point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repointing_keeps_every_other_byte() {
    let stage = Stage::new().await;
    let secrets = aws_at(stage.lab.url(), Redactor::default()).secrets();
    let (first, pending) = (token("run", "create", "app"), token("run", "rotate", "app"));
    let mark = Mark::new("run", "create");
    secrets.create("app", &Secret::new(OLD), &first, None, &Tags::new(), &mark).await.unwrap();
    let rotating = OLD.replace("p\\u0040ss", "new");
    secrets.put("app", &Secret::new(rotating.as_str()), &pending, &[PENDING]).await.unwrap();

    let repointed = secrets.repoint("app", "green", 6000, "run", "repoint").await.unwrap();
    assert_eq!((repointed.from.as_str(), repointed.to == first), (first.as_str(), false));
    let moved = |old: &str| old.replace("\"blue\"", "\"green\"").replace("5432", "6000");
    assert_eq!(text(&secrets, Which::Stage(CURRENT)).await, moved(OLD));
    assert_eq!(text(&secrets, Which::Stage(PENDING)).await, moved(&rotating));
    assert_eq!(text(&secrets, Which::Stage(PREVIOUS)).await, OLD);
    let made = repointed.pending.unwrap();
    assert_eq!(made.0, pending);
    let after = stages(&secrets).await;
    assert_eq!(after, on(&[(CURRENT, &repointed.to), (PENDING, &made.1), (PREVIOUS, &first)]));

    let again = secrets.repoint("app", "green", 6000, "run", "repoint").await.unwrap();
    assert_eq!((again.from, again.pending), (again.to, None));
    assert_eq!(stages(&secrets).await, after, "a second time nothing moves");
    // A crash after the write and before the promotion leaves the version: the repeated step finds it.
    secrets.promote("app", &first, &repointed.to).await.unwrap();
    let resumed = secrets.repoint("app", "green", 6000, "run", "repoint").await.unwrap();
    assert_eq!(resumed.to, repointed.to);
    let none = secrets.repoint("nobody", "green", 6000, "run", "repoint").await.unwrap_err();
    assert_eq!(none.code(), Code::AwsNotFound);
    stage.lab.shutdown().await.unwrap();
}

/// Deleting, finding and taking back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_secret_comes_back_or_is_gone() {
    let stage = Stage::new().await;
    let secrets = aws_at(stage.lab.url(), Redactor::default()).secrets();
    let mark = Mark::new("run", "create");
    for name in ["customer/a/read", "customer/a/write", "customer/b/read", "other/customer/a"] {
        secrets.create(name, &Secret::new("{}"), &token("run", name, ""), None, &Tags::new(), &mark).await.unwrap();
    }
    let names = async |deleted| -> Vec<String> {
        let mut names: Vec<String> =
            secrets.list("customer/a/", deleted).await.unwrap().into_iter().map(|summary| summary.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(false).await, ["customer/a/read", "customer/a/write"]);
    assert_eq!(secrets.describe("customer/a/read").await.unwrap().tags, mark.tags());
    let error = secrets.delete("customer/a/read", Deletion::After(3)).await.unwrap_err();
    assert_eq!(error.code(), Code::ValueGuard);
    assert!(secrets.delete("customer/a/read", Deletion::After(7)).await.unwrap().is_some());
    assert_eq!(names(false).await, ["customer/a/write"]);
    assert_eq!(names(true).await.len(), 2);
    let blocked = secrets.current("customer/a/read").await.unwrap_err();
    assert_eq!(blocked.fact("aws_code"), Some("InvalidRequestException"));
    secrets.restore("customer/a/read").await.unwrap();
    assert_eq!(names(false).await.len(), 2);
    secrets.delete("customer/a/read", Deletion::Now).await.unwrap();
    assert_eq!(secrets.describe("customer/a/read").await.unwrap_err().code(), Code::AwsNotFound);
    stage.lab.shutdown().await.unwrap();
}
