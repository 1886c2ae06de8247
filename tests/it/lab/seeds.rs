//! The aws commands of the wiki pages that pgrun replaces, through the real aws CLI, unchanged but for
//! `--endpoint-url`. Where there is no aws CLI these tests say so and do nothing.

use std::path::Path;

use serde_json::Value;

use super::{
    clients::{aws_cli, clean},
    stage::{Stage, connect, number, pair, settle, snapshot_settles, url},
};

/// Runs `aws --endpoint-url .. WORDS` and gives what it printed; fails the test with its words when it fails.
async fn aws(stage: &Stage, program: &Path, words: &str) -> String {
    let mut command = clean(program);
    command.args(["--endpoint-url", stage.lab.url()]).args(words.split_whitespace());
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "aws {words}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

async fn json(stage: &Stage, program: &Path, words: &str) -> Value {
    serde_json::from_str(&aws(stage, program, &format!("{words} --region eu-west-1 --output json")).await).unwrap()
}

/// The blue/green page: snapshot, upgrade, restore with all its flags, log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_blue_green_commands_work() {
    let Some(cli) = aws_cli() else { return };
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    stage.instance("blue", from).await;
    connect(&url(rds, "blue").await).await.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    let family = format!("postgres{}", to.major);
    let make = "rds create-db-parameter-group --db-parameter-group-name green --description x";
    json(&stage, &cli, &format!("{make} --db-parameter-group-family {family}")).await;
    json(&stage, &cli, "rds create-db-snapshot --db-instance-identifier blue --db-snapshot-identifier snap").await;
    snapshot_settles(rds, "snap", "available").await;
    let wait = "rds wait db-snapshot-completed --db-instance-identifier blue --db-snapshot-identifier snap";
    aws(&stage, &cli, &format!("{wait} --region eu-west-1")).await;
    let modify = format!("rds modify-db-snapshot --db-snapshot-identifier snap --engine-version {to}");
    let told = json(&stage, &cli, &modify).await;
    assert_eq!(told["DBSnapshot"]["Status"], "upgrading");
    snapshot_settles(rds, "snap", "available").await;
    aws(&stage, &cli, "rds wait db-snapshot-available --db-snapshot-identifier snap --region eu-west-1").await;
    let restore = "rds restore-db-instance-from-db-snapshot --db-instance-identifier green \
        --db-snapshot-identifier snap --db-parameter-group-name green --db-instance-class db.r6g.large --multi-az \
        --db-subnet-group-name private --vpc-security-group-ids sg-1 sg-2 --enable-iam-database-authentication \
        --no-publicly-accessible";
    let told = json(&stage, &cli, restore).await;
    assert_eq!(told["DBInstance"]["DBInstanceStatus"], "creating");
    assert_eq!(told["DBInstance"]["VpcSecurityGroups"][1]["VpcSecurityGroupId"], "sg-2");
    settle(rds, "green", "available").await;
    aws(&stage, &cli, "rds wait db-instance-available --db-instance-identifier green --region eu-west-1").await;
    let files = json(&stage, &cli, "rds describe-db-log-files --db-instance-identifier green").await;
    let names =
        files["DescribeDBLogFiles"].as_array().unwrap().iter().map(|file| file["LogFileName"].as_str().unwrap());
    let name = names.filter(|name| name.contains("postgresql.log")).min().unwrap().to_owned();
    let portion = "rds download-db-log-file-portion --db-instance-identifier green --starting-token 0 --output text";
    let log = aws(&stage, &cli, &format!("{portion} --region eu-west-1 --log-file-name {name}")).await;
    assert!(log.contains("redo done at "), "{log}");
    assert_eq!(number(&connect(&url(rds, "green").await).await, "SELECT i FROM kept").await, 7);
}

/// The rotation page: a new value as pending, promoted, and taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rotation_commands_work() {
    let Some(cli) = aws_cli() else { return };
    let stage = Stage::set().await;
    let one = json(&stage, &cli, "secretsmanager create-secret --name app --secret-string old").await;
    let one = one["VersionId"].as_str().unwrap();
    let put = "secretsmanager put-secret-value --secret-id app --secret-string new --version-stages AWSPENDING";
    let two = json(&stage, &cli, put).await;
    let two = two["VersionId"].as_str().unwrap();
    let promote = "secretsmanager update-secret-version-stage --secret-id app --version-stage AWSCURRENT";
    json(&stage, &cli, &format!("{promote} --move-to-version-id {two} --remove-from-version-id {one}")).await;
    let read = json(&stage, &cli, "secretsmanager get-secret-value --secret-id app").await;
    assert_eq!(read["SecretString"], "new");
    let described = json(&stage, &cli, "secretsmanager describe-secret --secret-id app").await;
    assert_eq!(described["VersionIdsToStages"][one][0], "AWSPREVIOUS");
    let list = json(&stage, &cli, "secretsmanager list-secrets --filters Key=name,Values=app").await;
    assert_eq!(list["SecretList"][0]["Name"], "app");
    let versions = json(&stage, &cli, "secretsmanager list-secret-version-ids --secret-id app").await;
    assert_eq!(versions["Versions"].as_array().unwrap().len(), 2);
    json(&stage, &cli, "secretsmanager delete-secret --secret-id app --recovery-window-in-days 7").await;
    json(&stage, &cli, "secretsmanager restore-secret --secret-id app").await;
    let password = json(&stage, &cli, "secretsmanager get-random-password --password-length 40").await;
    assert_eq!(password["RandomPassword"].as_str().unwrap().len(), 40);
}
