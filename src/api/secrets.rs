//! `secrets::`: AWS Secrets Manager. Values never leave the host except as a `Secret` inside a step.

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    operator::Notice,
    options::Options,
    rds,
};
use crate::{
    aws::{Deletion, Made, Secrets, Tags, token},
    base::{Code, Result, Secret, Value},
    fail,
    journal::key_text,
};

/// The module.
pub(super) const MODULE: Module = Module {
    name: "secrets",
    doc: "AWS Secrets Manager. Tokens are derived from run and step, so a repeated step writes the same version.",
    functions: &[
        Function {
            name: "describe",
            parameters: "name",
            gives: "a map with arn and versions by stage",
            effect: Effect::Reads,
            doc: "What Secrets Manager tells about a secret: no value.",
            example: "try { secrets::describe(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let name = call.text(0)?;
                let found = ask(call, &format!("describing secret `{name}`"), async |s| s.describe(&name).await)?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "inventory",
            parameters: "names",
            gives: "a list of #{ id, verdict, database, object, text, hint }",
            effect: Effect::Reads,
            doc: "Rotations that are pending or due: they would change a password, or bring the old host back, while two \
                  servers share a secret.",
            example: "secrets::inventory([]) // => []",
            run: |call| {
                let names = call.texts(0)?;
                Ok(convert::findings(&ask(call, "looking for rotations", async |s| s.findings(&names).await)?))
            },
        },
        Function {
            name: "fields",
            parameters: "name",
            gives: "a map such as #{ username, host, port, dbname }",
            effect: Effect::Reads,
            doc: "The fields of the current version that are not secret.",
            example: "try { secrets::fields(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let name = call.text(0)?;
                let found = ask(call, &format!("reading secret `{name}`"), async |s| s.current(&name).await)?;
                Ok(convert::map_to_dynamic(&found.fields()?))
            },
        },
        Function {
            name: "password",
            parameters: "name",
            gives: "a secret",
            effect: Effect::Reads,
            doc: "The password in the current version. It is used inside the step and cannot be its value.",
            example: "try { secrets::password(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let name = call.text(0)?;
                let found = ask(call, &format!("reading secret `{name}`"), async |s| s.current(&name).await)?;
                Ok(Dynamic::from(found.password()?))
            },
        },
        Function {
            name: "create_login",
            parameters: "name, fields",
            gives: "#{ arn, name }",
            effect: Effect::Writes,
            doc: "Creates a secret with the given fields and a new random password. Repeated by a resumed run it finds \
                  its own secret again and keeps the password.",
            example: "secrets::create_login(\"example\", #{ username: \"app\" }).name // => \"example\"",
            run: create_login,
        },
        Function {
            name: "repoint",
            parameters: "name, host, port",
            gives: "a map with the versions before and after",
            effect: Effect::Writes,
            doc: "Makes a current version that differs in host and port only, by compare-and-swap; a rotation in \
                  progress is repointed too.",
            example: "try { secrets::repoint(\"none\", \"h\", 5432) } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let (name, host, port) = (call.text(0)?, call.text(1)?, call.int(2)?);
                let port = u16::try_from(port).map_err(|_| fail!(Code::ScriptError, "got the port {port}"))?;
                let (run, step) = identity(call)?;
                let done = change(call, &format!("repointing secret `{name}`"), &name, async |s| {
                    s.repoint(&name, &host, port, &run, &step).await
                })?;
                Ok(convert::map_to_dynamic(&done.to_map()))
            },
        },
        Function {
            name: "delete",
            parameters: "name, [options]",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Deletes a secret after 7 days, or after #{ days }; with #{ now: true } at once. One that is gone \
                  already is no error. In an undo clause what this step did not make stays.",
            example: "secrets::delete(\"none\", #{ now: true })",
            run: delete,
        },
    ],
    methods: &[],
};

/// Days in which a deletion can be taken back, where the script does not say: the least that AWS allows.
const DELETION_DAYS: i64 = 7;

fn ask<T>(call: &Call, doing: &str, work: impl AsyncFnOnce(&Secrets) -> Result<T>) -> Result<T> {
    let secrets = call.host.aws().secrets();
    call.wait(doing, &[], work(&secrets))
}

fn change<T>(call: &Call, doing: &str, name: &str, work: impl AsyncFnOnce(&Secrets) -> Result<T>) -> Result<T> {
    let secrets = call.host.aws().secrets();
    call.wait(doing, &[format!("secret {name}")], work(&secrets))
}

fn identity(call: &Call) -> Result<(String, String)> {
    let missing = || fail!(Code::StepRule, "`{}` needs a step, from whose name its token comes", call.function.name);
    let key = call.frame.step().ok_or_else(missing)?;
    Ok((call.host.run()?.id().to_owned(), key_text(key)))
}

fn create_login(call: &Call) -> Result<Dynamic> {
    let name = call.text(0)?;
    let mut fields = call.map(1)?;
    let password = super::language::random_password();
    call.host.redactor().learn(&password);
    fields.insert("password".into(), Value::Text(password.expose().to_owned()));
    let text = Secret::new(Value::Map(fields).to_json().to_string());
    let mark = rds::mark(call)?;
    let (run, step) = identity(call)?;
    let token = token(&run, &step, "create");
    let arn = change(call, &format!("creating secret `{name}`"), &name, async |secrets| {
        // The password is random, so the token alone would not recognise this step's own secret: its tags do.
        match secrets.describe(&name).await {
            Ok(found) if mark.made(&found.tags) == Made::Ours => return Ok(found.arn),
            Ok(_) => {
                return Err(fail!(Code::Foreign, "the secret `{name}` exists, but this step did not make it")
                    .hint("choose another name, or delete the secret if nobody needs it"));
            }
            Err(error) if error.code() == Code::AwsNotFound => {}
            Err(error) => return Err(error),
        }
        secrets.create(&name, &text, &token, Some("made by pgrun for one run"), &Tags::new(), &mark).await
    })?;
    Ok(convert::map_to_dynamic(&crate::map! { "arn" => arn, "name" => name }))
}

fn delete(call: &Call) -> Result<Dynamic> {
    let name = call.text(0)?;
    let options = Options::read(call, 1, &["now", "days"])?;
    let days = options.int("days")?.unwrap_or(DELETION_DAYS);
    let deletion = match options.flag("now")? {
        Some(true) => Deletion::Now,
        _ => {
            let wrong = |_| fail!(Code::ScriptError, "got {days} days, wanted 7 to 30");
            Deletion::After(u8::try_from(days).map_err(wrong)?)
        }
    };
    if call.frame.is_undo() {
        let mark = rds::mark(call)?;
        let found = ask(call, &format!("asking who made secret `{name}`"), async |secrets| {
            match secrets.describe(&name).await {
                Err(error) if error.code() == Code::AwsNotFound => Ok(None),
                found => found.map(Some),
            }
        })?;
        if found.is_some_and(|found| mark.made(&found.tags) == Made::Foreign) {
            call.host.tell(Notice::Warned(format!("secret `{name}` was not made by this step of this run: it stays")));
            return Ok(Dynamic::UNIT);
        }
    }
    change(call, &format!("deleting secret `{name}`"), &name, async |secrets| {
        match secrets.delete(&name, deletion).await {
            Err(error) if error.code() == Code::AwsNotFound => Ok(()),
            other => other.map(|_| ()),
        }
    })?;
    Ok(Dynamic::UNIT)
}
