//! The cutover as the page has it, section by section: aws commands and psql. What is done otherwise, and why, stands
//! in `cutover.rs`.

use std::time::Duration;

use pgrun::{lab::postgres::Version, load::Endpoint};
use tokio::runtime::Runtime;

use super::{Bench, Pair, endpoint, run};

const SUBSCRIBE: &str = "PUBLICATION my_publication WITH (copy_data = false, create_slot = false, connect = true, \
     slot_name = 'my_slot', enabled = ";
const DROP_SUBSCRIPTION: [&str; 3] = [
    "ALTER SUBSCRIPTION my_subscription DISABLE",
    "ALTER SUBSCRIPTION my_subscription SET (slot_name = NONE)",
    "DROP SUBSCRIPTION my_subscription",
];
const CREATE_SLOT: &str = "SELECT pg_create_logical_replication_slot('my_slot', 'pgoutput')";
const DROP_SLOT: &str = "SELECT pg_drop_replication_slot('my_slot')";

/// Section 10.2.
const FENCE: &str = "DO $$ DECLARE user_name text; BEGIN
    FOR user_name IN (SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'rds%' AND rolname IN ('app')) LOOP
        EXECUTE 'ALTER USER ' || user_name || ' WITH NOLOGIN;';
        EXECUTE 'SELECT pg_terminate_backend(pg_stat_activity.pid) FROM pg_stat_activity \
                 WHERE pg_stat_activity.usename = ''' || user_name || ''';';
    END LOOP; END $$";

/// Section 10.7.
const SEQUENCES: &str = "SELECT 'SELECT setval(' || quote_literal(schemaname || '.' || sequencename) || ', ' || \
     last_value || ', true);' FROM pg_sequences";

/// Section 11: each is true before the applications come. The last one is asked on BLUE.
const CHECKS: [&str; 4] = [
    "SELECT EXISTS (SELECT 1 FROM pg_roles r, pg_auth_members m, pg_roles r2 WHERE r.oid = m.member AND \
     r2.oid = m.roleid AND r.rolname = 'pgrepuser' AND r2.rolname = 'rds_replication')",
    "SELECT EXISTS (SELECT 1 FROM pg_publication WHERE pubname = 'my_publication' AND puballtables AND pubinsert AND \
     pubupdate AND pubdelete AND pubtruncate)",
    "SELECT EXISTS (SELECT 1 FROM pg_settings WHERE name = 'wal_level' AND setting = 'logical')",
    "SELECT EXISTS (SELECT 1 FROM pg_subscription WHERE subname = 'my_subscription')",
];

/// The page's way.
pub(super) struct ByHand<'a> {
    pub(super) pair: Pair<'a>,
}

impl<'a> ByHand<'a> {
    /// Sections 1 to 9.
    pub(super) fn new(bench: &'a Bench, runtime: &Runtime, from: Version, to: Version) -> Self {
        let mut pair = Pair::new(bench, runtime, "hand", from);
        let password = &bench.password;
        pair.psql(&pair.blue, &[
            &format!("CREATE USER pgrepuser WITH PASSWORD '{password}'"),
            "GRANT rds_replication TO pgrepuser",
            "GRANT SELECT ON ALL TABLES IN SCHEMA load TO pgrepuser",
            "GRANT CONNECT ON DATABASE shop TO pgrepuser",
            // In a lab whose master users are superusers the role above gives nothing.
            "DO $$ BEGIN IF current_setting('is_superuser')::bool THEN ALTER ROLE pgrepuser REPLICATION; END IF; END $$",
            "CREATE PUBLICATION my_publication FOR ALL TABLES",
            CREATE_SLOT,
        ]);
        let snapshot = "--db-snapshot-identifier hand-green";
        bench.aws(&format!("rds create-db-snapshot --db-instance-identifier hand-blue {snapshot}"));
        let state = format!("rds describe-db-snapshots {snapshot} --query DBSnapshots[0].[Status,EngineVersion]");
        bench.until(&state, &format!("available\t{from}"));
        bench.aws(&format!("rds modify-db-snapshot {snapshot} --engine-version {to}"));
        bench.until(&state, &format!("available\t{to}"));
        let group = bench.parameter_group(to);
        bench.aws(&format!(
            "rds restore-db-instance-from-db-snapshot --db-instance-identifier hand-green {snapshot} \
             --db-parameter-group-name {group} --db-instance-class db.m7g.large --no-publicly-accessible"
        ));
        pair.green = endpoint(bench, "hand-green");
        let hand = Self { pair };
        hand.pair.psql(&hand.pair.green, &["ALTER USER app WITH NOLOGIN"]);
        hand.subscribe(&hand.pair.green, &hand.pair.blue, false);
        let last = hand.redo_done();
        hand.pair.psql(
            &hand.pair.green,
            &[
                &format!(
                    "SELECT pg_replication_origin_advance('pg_' || oid, '{last}'::pg_lsn + 1) FROM pg_subscription \
                 WHERE subname = 'my_subscription'"
                ),
                "ALTER SUBSCRIPTION my_subscription ENABLE",
                "ANALYZE",
            ],
        );
        hand.await_following();
        hand
    }

    /// The first "redo done at" of GREEN's log.
    fn redo_done(&self) -> String {
        let of = "--db-instance-identifier hand-green";
        let query = "--query DescribeDBLogFiles[].LogFileName --output text";
        let files = self.pair.bench.aws(&format!("rds describe-db-log-files {of} {query}"));
        let mut files: Vec<&str> = files.split_whitespace().filter(|name| name.contains("postgresql.log")).collect();
        files.sort_unstable();
        let portion = "rds download-db-log-file-portion --starting-token 0 --output text";
        let log = |name: &str| self.pair.bench.aws(&format!("{portion} {of} --log-file-name {name}"));
        let found = files.iter().find_map(|name| {
            let log = log(name);
            let (_, after) = log.split_once("redo done at ")?;
            Some(after.split_whitespace().next()?.to_owned())
        });
        found.unwrap()
    }

    fn subscribe(&self, at: &Endpoint, to: &Endpoint, enabled: bool) {
        let (host, port, password) = (&to.host, to.port, &self.pair.bench.password);
        let address = format!("host={host} port={port} dbname=shop user=pgrepuser password={password}");
        let sql = format!("CREATE SUBSCRIPTION my_subscription CONNECTION '{address}' {SUBSCRIBE}{enabled})");
        self.pair.psql(at, &[&sql]);
    }

    /// A slot goes only when its sender is gone.
    fn drop_slot(&self, at: &Endpoint) {
        while !self.pair.psql_command(at, &[DROP_SLOT]).output().unwrap().status.success() {}
    }

    fn await_following(&self) {
        const FOLLOWS: &str = "SELECT active AND pg_current_wal_lsn() - confirmed_flush_lsn < 1000 \
             FROM pg_replication_slots WHERE slot_name = 'my_slot'";
        while self.pair.psql(&self.pair.blue, &[FOLLOWS]) != "t" {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sections 10 to 12.
    pub(super) fn cut_over(&self) {
        let (pair, blue, green) = (&self.pair, &self.pair.blue, &self.pair.green);
        pair.psql(blue, &[
            "SELECT slot_name, (pg_current_wal_lsn() - confirmed_flush_lsn) AS lsn_distance FROM pg_replication_slots",
        ]);
        pair.psql(blue, &[FENCE]);
        pair.psql(green, &DROP_SUBSCRIPTION);
        self.drop_slot(blue);
        pair.psql(green, &[CREATE_SLOT]);
        self.subscribe(blue, green, true);
        let file = pair.bench.folder.path().join("sync_sequences.sql");
        std::fs::write(&file, pair.psql(blue, &[SEQUENCES])).unwrap();
        run(pair.psql_command(green, &[]).arg("-f").arg(&file), &[0]);
        for (at, check) in [green, green, green, blue].into_iter().zip(CHECKS) {
            assert_eq!(pair.psql(at, &[check]), "t", "{check}");
        }
        pair.psql(green, &["ALTER USER app WITH LOGIN"]);
    }

    /// As it was before the cutover. The writers have ended; what they wrote is no matter any more, and after a loss
    /// the two sides would not be equal.
    pub(super) fn go_back(&self) {
        let (pair, blue, green) = (&self.pair, &self.pair.blue, &self.pair.green);
        pair.psql(green, &["ALTER USER app WITH NOLOGIN"]);
        pair.psql(blue, &DROP_SUBSCRIPTION);
        self.drop_slot(green);
        for at in [blue, green] {
            pair.psql(at, &["TRUNCATE load.probe RESTART IDENTITY"]);
        }
        pair.psql(blue, &[CREATE_SLOT]);
        self.subscribe(green, blue, true);
        pair.psql(blue, &["ALTER USER app WITH LOGIN"]);
        self.await_following();
    }
}
