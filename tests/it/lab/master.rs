//! What the master user may do and may not, on every version here whose servers can load the hook library.

use std::collections::BTreeSet;

use aws_sdk_rds::types::{ApplyMethod, Parameter};
use pgrun::lab::postgres::{Catalogue, Version};
use tokio_postgres::Client;

use super::stage::{PASSWORD, Stage, config, connect, number, pair, settle, snapshot_settles, url};

/// The versions of this machine and of the rehearsals that have the library.
pub(super) async fn with_library() -> Vec<Version> {
    let catalogue = Catalogue::look(&config()).await.unwrap();
    let (from, to) = pair().await;
    let all: BTreeSet<Version> = catalogue.installed().into_iter().chain([from, to]).collect();
    let mut found = Vec::new();
    for version in all {
        let installation = catalogue.obtain(version).await.unwrap();
        match catalogue.facilities(&installation).await.library {
            Some(_) => found.push(version),
            None => println!("skipped: PostgreSQL {version} has no headers here, or there is no C compiler"),
        }
    }
    found
}

/// A capability: the first version that has it, and statements that must pass, as the master.
const ALLOWED: &[(u32, &str)] = &[
    (13, "CREATE TABLE kept (i int PRIMARY KEY); CREATE SCHEMA \"a b\"; CREATE TABLE \"a b\".t (i int PRIMARY KEY)"),
    (13, "CREATE PUBLICATION \"ev\"\"ery\" FOR ALL TABLES"),
    (13, "ALTER PUBLICATION \"ev\"\"ery\" SET (publish = 'insert'); ALTER PUBLICATION \"ev\"\"ery\" RENAME TO every"),
    (13, "DROP PUBLICATION every; CREATE PUBLICATION every FOR ALL TABLES"),
    (15, "CREATE PUBLICATION part FOR TABLES IN SCHEMA \"a b\", TABLE kept"),
    (15, "ALTER PUBLICATION part SET TABLES IN SCHEMA public; DROP PUBLICATION part"),
    (
        13,
        "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 user=x password=x dbname=x' PUBLICATION every \
          WITH (connect = false, slot_name = 'x')",
    ),
    (13, "ALTER SUBSCRIPTION s ENABLE; ALTER SUBSCRIPTION s DISABLE"),
    (13, "ALTER SUBSCRIPTION s SET (synchronous_commit = 'on')"),
    (13, "ALTER SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=2 user=x password=y dbname=x'"),
    (15, "ALTER SUBSCRIPTION s SKIP (lsn = '0/1')"),
    (
        14,
        "SELECT pg_replication_origin_advance('pg_' || oid, '0/10') FROM (SELECT oid, subname FROM pg_subscription) s",
    ),
    (14, "SELECT pg_replication_origin_progress('pg_' || oid, false) FROM (SELECT oid FROM pg_subscription) s"),
    (13, "ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s"),
    (
        13,
        "CREATE EXTENSION pg_stat_statements; ALTER EXTENSION pg_stat_statements UPDATE; SELECT FROM pg_stat_statements",
    ),
    (13, "DROP EXTENSION pg_stat_statements"),
    (
        13,
        "CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$; \
          CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION seen()",
    ),
    (13, "ALTER EVENT TRIGGER e DISABLE; ALTER EVENT TRIGGER e ENABLE; DROP EVENT TRIGGER e"),
    (13, "SET session_replication_role = replica; RESET session_replication_role"),
    (15, "SELECT set_config('session_replication_role', 'replica', true)"),
    (13, "SELECT pg_create_logical_replication_slot('slot', 'pgoutput'); SELECT pg_drop_replication_slot('slot')"),
    (13, "CREATE ROLE app LOGIN PASSWORD 'x'; ALTER ROLE app NOLOGIN; ALTER ROLE app LOGIN; GRANT app TO master"),
    (13, "CREATE ROLE team; GRANT rds_replication TO team; GRANT team TO app; ALTER ROLE app PASSWORD 'y'"),
    (13, "GRANT rds_password, rds_iam TO app; REVOKE rds_password, rds_iam FROM app"),
    (13, "CREATE ROLE born IN ROLE rds_replication; DROP ROLE born"),
    (
        13,
        "CREATE ROLE crew; CREATE ROLE hand IN ROLE crew; REVOKE crew FROM hand; \
          DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_auth_members WHERE member = 'hand'::regrole); END $$",
    ),
    (13, "GRANT rds_superuser TO app; REVOKE rds_superuser FROM app; GRANT pg_monitor TO app"),
    (13, "SELECT pg_terminate_backend(0)"),
    (13, "SELECT query FROM pg_stat_activity; SELECT FROM pg_stat_replication; SELECT pg_ls_waldir()"),
    (13, "SHOW data_directory"),
    (13, "CREATE DATABASE other"),
];

/// What must fail, with words of the refusal.
const REFUSED: &[(u32, &str, &str)] = &[
    (13, "ALTER SYSTEM SET work_mem = '1MB'", "permission denied to set parameter|must be superuser to execute ALTER"),
    (13, "COPY kept FROM PROGRAM 'true'", "must be superuser|permission denied to COPY"),
    (13, "COPY kept TO '/tmp/kept'", "must be superuser|permission denied to COPY"),
    (13, "SELECT FROM pg_authid", "permission denied for table pg_authid"),
    (13, "SELECT subconninfo FROM pg_subscription", "permission denied for table pg_subscription"),
    (13, "CREATE ROLE evil SUPERUSER", "must be superuser|permission denied to create role"),
    (13, "ALTER ROLE master SUPERUSER", "must be superuser|permission denied to alter role"),
    (13, "CREATE ROLE evil REPLICATION", "must be superuser to create replication users"),
    (13, "ALTER ROLE app REPLICATION", "must be superuser to alter replication users"),
    (13, "ALTER ROLE app BYPASSRLS", "must be superuser|permission denied to alter role"),
    (13, "ALTER ROLE rdsadmin PASSWORD 'x'", "permission denied to alter role"),
    (13, "ALTER ROLE rds_superuser LOGIN", "permission denied to alter role"),
    (13, "ALTER ROLE rds_iam RENAME TO x", "permission denied to rename role"),
    (13, "DROP ROLE rds_replication", "permission denied to drop role"),
    (13, "GRANT pg_execute_server_program TO master", "permission denied to grant role"),
    (13, "ALTER GROUP pg_read_server_files ADD USER master", "permission denied to grant role"),
    (13, "CREATE ROLE evil IN ROLE pg_write_server_files", "permission denied to grant role"),
    (13, "GRANT rdsadmin TO master", "permission denied to grant role"),
    (13, "CREATE EXTENSION plpython3u", "is not supported by Amazon RDS"),
    (13, "CREATE EXTENSION file_fdw", "is not supported by Amazon RDS"),
    (13, "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x'", "permission denied for language c"),
    (13, "SELECT pg_read_file('PG_VERSION')", "permission denied for function pg_read_file"),
    (13, "SET log_min_messages = 'debug1'", "permission denied to set parameter"),
    (13, "SET allow_system_table_mods = on", "permission denied to set parameter"),
    (13, "SET ROLE rdsadmin", "permission denied to set role"),
    (13, "LOAD '/tmp/x'", "access to library"),
];

/// What is wrong with a refusal, if it is not the expected one.
async fn misses(client: &Client, statement: &str, words: &str) -> Option<String> {
    let told = match client.batch_execute(statement).await {
        Ok(()) => "it passed".to_owned(),
        Err(error) => error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned()),
    };
    (!words.split('|').any(|words| told.contains(words))).then(|| format!("{statement}: {told}"))
}

async fn refused(client: &Client, statement: &str, words: &str) {
    assert_eq!(misses(client, statement, words).await, None);
}

/// An instance of each version: every statement of the tables, as its master.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_master_is_as_on_rds() {
    let versions = with_library().await;
    let stage = Stage::set().await;
    for version in versions {
        let id = format!("v{}", version.major);
        stage.instance(&id, version).await;
        let address = url(&stage.rds, &id).await;
        let master = connect(&address).await;
        let mut wrong = Vec::new();
        for (_, statements) in ALLOWED.iter().filter(|(from, _)| version.major >= *from) {
            if let Err(error) = master.batch_execute(statements).await
                // Some builds come without contrib modules.
                && !format!("{error:?}").contains("pg_stat_statements")
            {
                wrong.push(format!("{version}: {statements}: {error:?}"));
            }
        }
        for (_, statement, words) in REFUSED.iter().filter(|(from, ..)| version.major >= *from) {
            wrong.extend(misses(&master, statement, words).await);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        replicates(&master, &address).await;
        cannot_be_fooled(&master, &address).await;
        let parameters = "SELECT count(*) FROM pg_settings WHERE name LIKE 'rds.%' AND setting IS NOT NULL";
        assert_eq!(number(&master, parameters).await, 7, "{version}");
        let listed = master.query_one("SHOW shared_preload_libraries", &[]).await.unwrap().get::<_, String>(0);
        assert!(listed.starts_with("rdsutils"), "{listed}");
    }
}

/// A copy of an instance has the master that its snapshot has, and so has the same instance with passwords restricted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restored_master_is_no_superuser_either() {
    let Some(version) = with_library().await.first().copied() else { return };
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let group = rds.create_db_parameter_group().db_parameter_group_name("strict").description("for a test");
    group.db_parameter_group_family(format!("postgres{}", version.major)).send().await.unwrap();
    let parameter = Parameter::builder().parameter_name("rds.restrict_password_commands").parameter_value("1");
    let parameter = parameter.apply_method(ApplyMethod::PendingReboot).build();
    let request = rds.modify_db_parameter_group().db_parameter_group_name("strict").parameters(parameter);
    request.send().await.unwrap();
    stage.instance("one", version).await;
    let master = connect(&url(rds, "one").await).await;
    master.batch_execute("CREATE ROLE creator CREATEROLE LOGIN PASSWORD 'y'").await.unwrap();
    rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier("s").send().await.unwrap();
    snapshot_settles(rds, "s", "available").await;
    let restore = rds.restore_db_instance_from_db_snapshot().db_snapshot_identifier("s").db_instance_identifier("two");
    restore.db_parameter_group_name("strict").send().await.unwrap();
    settle(rds, "two", "available").await;
    let address = url(rds, "two").await;
    let master = connect(&address).await;
    assert_eq!(number(&master, "SELECT count(*) FROM pg_roles WHERE rolname = 'master' AND rolsuper").await, 0);
    master.batch_execute("CREATE PUBLICATION every FOR ALL TABLES; CREATE ROLE x PASSWORD 'x'").await.unwrap();
    let creator = connect(&address.replace("master:", "creator:").replace(PASSWORD, "y")).await;
    creator.batch_execute("CREATE ROLE z").await.unwrap();
    refused(&creator, "ALTER ROLE z PASSWORD 'z'", "must be a member of rds_password to alter passwords").await;
    let status = pgrun::lab::status(stage.lab.dir()).unwrap();
    assert_eq!(status.master_user(), Some("rds_superuser"));
    assert_eq!(status.masters(), "master users are members of rds_superuser, as on RDS");
}

/// `GRANT rds_replication` works for its role and for members of that, and ends with the revocation.
async fn replicates(master: &Client, address: &str) {
    let slot = "SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')";
    let app = connect(&address.replace("master:", "app:").replace(PASSWORD, "y")).await;
    app.batch_execute(slot).await.unwrap();
    app.batch_execute("SELECT pg_drop_replication_slot('theirs')").await.unwrap();
    master.batch_execute("REVOKE rds_replication FROM team").await.unwrap();
    refused(&app, slot, "must be superuser or replication role|permission denied to use replication slots").await;
    master.batch_execute("CREATE ROLE \"o'\"\"dd\" LOGIN; GRANT rds_replication TO \"o'\"\"dd\"").await.unwrap();
    let attribute = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'o''%' AND rolreplication";
    assert_eq!(number(master, attribute).await, 1);
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
    assert_eq!(number(master, ended).await, 1);
    assert!(app.batch_execute("SELECT 1").await.is_err(), "it was terminated");
    let app = connect(&address.replace("master:", "app:").replace(PASSWORD, "y")).await;
    // One without rds_superuser has no part in all this.
    refused(&app, "CREATE PUBLICATION p FOR ALL TABLES", "permission denied|must be superuser").await;
    refused(&app, "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION seen()", "permission denied").await;
    master.batch_execute("CREATE ROLE lesser LOGIN CREATEROLE PASSWORD 'y'").await.unwrap();
    let lesser = connect(&address.replace("master:", "lesser:").replace(PASSWORD, "y")).await;
    refused(&lesser, "GRANT rds_superuser TO lesser", "permission denied to grant role").await;
    refused(&lesser, "CREATE ROLE x IN ROLE rds_superuser", "permission denied to grant role").await;
}

/// Code of users inside a lifted statement or a superuser's session has no more rights than its author.
async fn cannot_be_fooled(master: &Client, address: &str) {
    let trap = "CREATE TABLE who (who text); GRANT INSERT ON who TO PUBLIC; \
        CREATE OR REPLACE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
          INSERT INTO public.who VALUES (current_user || ' ' || current_setting('is_superuser')); \
          BEGIN ALTER ROLE master SUPERUSER; EXCEPTION WHEN insufficient_privilege THEN NULL; END; \
        END $$; \
        CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION seen(); \
        DROP PUBLICATION every; CREATE PUBLICATION again FOR ALL TABLES; \
        ALTER EVENT TRIGGER e DISABLE; ALTER EVENT TRIGGER e ENABLE; ALTER EXTENSION plpgsql UPDATE";
    master.batch_execute(trap).await.unwrap();
    assert_eq!(number(master, "SELECT count(*) FROM pg_roles WHERE rolname = 'master' AND rolsuper").await, 0);
    assert!(number(master, "SELECT count(*) FROM who WHERE who LIKE 'master %'").await >= 2);
    assert_eq!(number(master, "SELECT count(*) FROM who WHERE who NOT LIKE 'master %'").await, 0);
    // An error inside gives the user back.
    refused(master, "CREATE PUBLICATION again FOR ALL TABLES", "already exists").await;
    let me = master.query_one("SELECT current_user::text, session_user::text", &[]).await.unwrap();
    assert_eq!((me.get::<_, &str>(0), me.get::<_, &str>(1)), ("master", "master"));
    refused(master, "SELECT FROM pg_authid", "permission denied").await;
    let owner = "SELECT count(*) FROM pg_publication WHERE pg_get_userbyid(pubowner) = 'master'";
    assert_eq!(number(master, owner).await, 1);
    // A function of the master's does not lend its rights to others by being maintained.
    master.batch_execute("DROP EVENT TRIGGER e").await.unwrap();
    let again = connect(address).await;
    assert_eq!(number(&again, "SELECT 1::bigint").await, 1);
}
