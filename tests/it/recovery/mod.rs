//! Tests of recovery: real processes, real deaths, a real server that counts the effects.
#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod applied;
mod attacks;
mod chance;
mod claims;
mod damage;
mod deaths;
mod decide;
mod drift;
mod forger;
mod forward_and_back;
mod full_disk;
mod guardian;
mod histories;
mod machine;
mod parts;
mod passwords;
mod recorded;
mod replay;
mod signals;
mod undo;

use crate::pgrun::{Database, Pgrun};

/// A runbook whose steps leave their names in a table.
struct Bench {
    pgrun: Pgrun,
    database: Database,
}

/// What every runbook of a bench begins with: `did(db, name)` is an effect, `has(db, name)` looks for it.
const HEAD: &str = r#"let p = params(#{ db: #{ type: "url", help: "where" } });
    let db = pg::connect(p.db);
    fn did(db, name) { db.execute("insert into public.effects values ($1)", [name]); name }
    fn undid(db, name) { db.execute("insert into public.effects values ($1)", ["-" + name]); }
    fn has(db, name) { db.exists("select from public.effects where name = $1", [name]) }
"#;

impl Bench {
    fn new(runbook: &str) -> Self {
        Self::on(Database::new(), runbook)
    }

    fn on(database: Database, runbook: &str) -> Self {
        database.sql("CREATE TABLE IF NOT EXISTS effects (name text)");
        let pgrun = Pgrun::of(&format!("{HEAD}{runbook}")).arg("--set").arg(&format!("db={}", database.url()));
        Self { pgrun, database }
    }

    /// A fresh home for another run, in the same database without its effects.
    fn again(self, runbook: &str) -> Self {
        self.database.sql("DELETE FROM effects");
        Self::on(self.database, runbook)
    }

    /// `pgrun resume r`, with the password given again.
    fn resume(&self, arguments: &[&str]) -> crate::pgrun::Output {
        self.start_resume(arguments).finish()
    }

    fn start_resume(&self, arguments: &[&str]) -> crate::pgrun::Running {
        let set = format!("db={}", self.database.url());
        self.pgrun.start(&[&["resume", "r", "--set", &set], arguments].concat())
    }

    /// `pgrun undo r`, with the password given again.
    fn undo_with(&self, arguments: &[&str]) -> crate::pgrun::Output {
        let set = format!("db={}", self.database.url());
        self.pgrun.pgrun(&[&["undo", "r", "--set", &set], arguments].concat())
    }

    /// All effects in the order of their coming, separated by blanks.
    fn effects(&self) -> String {
        self.database.sql("SELECT name FROM effects ORDER BY ctid").replace('\n', " ")
    }

    /// [`Pgrun::run`] that dies at a record: `before:KIND:KEY` or `after:KIND:KEY`.
    fn run_until(&self, crash: &str) -> crate::pgrun::Output {
        let mut running = self.pgrun.start_run_with(&[("PGRUN_CRASH", crash)]);
        running.expect_death();
        running.finish()
    }

    /// The same, resumed.
    fn resume_until(&self, crash: &str) -> crate::pgrun::Output {
        let set = format!("db={}", self.database.url());
        let mut running = self.pgrun.start_with(&["resume", "r", "--set", &set], &[("PGRUN_CRASH", crash)]);
        running.expect_death();
        running.finish()
    }
}
