//! Statements with a connection text in them, executed so that its password is written down nowhere.
//!
//! `CREATE SUBSCRIPTION .. CONNECTION '..'` takes no parameter, and as it stands it reaches the server's log
//! (`log_statement`, `log_min_duration_statement`, any error), `pg_stat_activity` and `pg_stat_statements`; a bound
//! parameter reaches the log as well. So:
//!
//! - the text travels as data of a COPY into a temporary table, in hexadecimal, since an error of COPY quotes its line;
//! - a DO block puts the statement together and EXECUTEs it; what is logged is the DO block;
//! - an error inside would be reported with the statement as its context, so the block catches it and raises another
//!   one with the same words and SQLSTATE;
//! - what looks into nested statements is switched off for the transaction, or the whole thing is refused;
//! - a warning would be logged with the statement as its context too, and nothing can catch a warning. Where the role
//!   may keep warnings out of the log, it does; where not, the statement must be one that gives none.

use super::{session::Session, target::Target};
use crate::{
    base::{Code, Result, Secret, Value, ident::literal},
    fail,
};

/// The statement around the connection text.
pub(super) struct Statement {
    pub before: String,
    pub after: String,
    /// What could make the server warn was looked at beforehand, in the very place that it will look at.
    pub gives_no_warning: bool,
}

/// Settings under which a nested statement is written down: name, values that are harmless, what it is set to.
const LOUD: &[(&str, &[&str], &str)] = &[
    ("pg_stat_statements.track", &["top", "none"], "none"),
    ("pgaudit.log", &["", "none", "read", "write"], "none"),
    ("debug_print_parse", &["off"], "off"),
    ("debug_print_rewritten", &["off"], "off"),
    ("debug_print_raw_parse", &["off"], "off"),
    ("debug_print_plan", &["off"], "off"),
];

/// Executes it in a transaction of its own.
pub(super) async fn execute(session: &Session, statement: &Statement, conninfo: &Secret, at: &Target) -> Result<()> {
    let password = at.password.as_ref().map_or("", Secret::expose);
    let (before, after) = (literal(&statement.before)?, literal(&statement.after)?);
    let body = format!(
        "DECLARE told text; secret text; said text; BEGIN \
         SELECT convert_from(decode(c.told, 'hex'), 'UTF8'), convert_from(decode(c.secret, 'hex'), 'UTF8') \
           INTO STRICT told, secret FROM pg_temp.pgrun_concealed c; \
         EXECUTE {before} || quote_literal(told) || {after}; \
         EXCEPTION WHEN OTHERS THEN said := SQLERRM; \
         IF secret <> '' THEN said := replace(said, secret, '***'); END IF; \
         RAISE EXCEPTION USING MESSAGE = said, ERRCODE = SQLSTATE; END"
    );
    // A name may contain the quote itself.
    let mut quote = "$pgrun$".to_owned();
    while body.contains(&quote) {
        quote.insert(1, '_');
    }
    let block = format!("DO {quote} {body} {quote}");
    let line = format!("{}\t{}\n", hex(conninfo.expose()), hex(password));
    session
        .transaction(async |tx| {
            hush(tx).await?;
            if !mute(tx).await? && !statement.gives_no_warning {
                return Err(fail!(
                    Code::RequireFailed,
                    "a warning of the server would write the subscription's password down"
                )
                .hint("give the publisher by the same host, port and database by which pgrun reaches it"));
            }
            tx.batch("CREATE TEMP TABLE pgrun_concealed (told text, secret text) ON COMMIT DROP").await?;
            tx.copy_in("COPY pg_temp.pgrun_concealed FROM STDIN", &line).await?;
            tx.batch(&block).await
        })
        .await
}

/// Switches off what would write the nested statement down.
async fn hush(tx: &Session) -> Result<()> {
    for (name, harmless, quiet) in LOUD {
        let Value::Text(now) = tx.value("SELECT current_setting($1, true)", &[Value::from(*name)]).await? else {
            continue;
        };
        if harmless.contains(&now.as_str()) {
            continue;
        }
        if !may_set(tx, name, quiet).await? {
            return Err(fail!(Code::RequireFailed, "`{name} = {now}` would write the subscription's password down")
                .hint(format!("set {name} to `{quiet}` in the parameter group for this step, then resume")));
        }
    }
    Ok(())
}

/// Keeps warnings out of the server's log. False where only a superuser may do that.
async fn mute(tx: &Session) -> Result<bool> {
    may_set(tx, "log_min_messages", "error").await
}

/// Sets it for the transaction; false if this role may not.
async fn may_set(tx: &Session, name: &str, value: &str) -> Result<bool> {
    tx.savepoint("pgrun_set").await?;
    match tx.batch(&format!("SET LOCAL {name} = {}", literal(value)?)).await {
        Ok(()) => tx.release("pgrun_set").await.map(|()| true),
        Err(error) if error.fact("sqlstate") == Some("42501") => tx.rollback_to("pgrun_set").await.map(|()| false),
        Err(error) => Err(error),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
