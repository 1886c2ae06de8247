//! `lab::`: setting the stage. Instances come from whatever endpoint the rehearsal has, through the same SDK.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    cluster, scale,
    sql_file::{self, Piece},
    stage, state,
};
use crate::{
    api::{
        convert,
        function::{Call, Effect, Function, Module},
        language,
        options::Options,
        pg, rds,
    },
    aws::{InstanceGoal, Mark, NewInstance, Rds, Scope, Tags, Wait, family_of, token},
    base::{Code, Result, Secret, Value, ident, prose},
    fail,
    journal::key_text,
    map,
};

/// A rehearsal's instances are quick to come.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The module.
pub(super) const MODULE: Module = Module {
    name: "lab",
    doc: "In rehearsals only: the stage.",
    functions: &[
        Function {
            name: "versions",
            parameters: "",
            gives: "#{ from, to }",
            effect: Effect::Pure,
            doc: "The engine versions that this rehearsal goes from and to.",
            example: "lab::versions().from",
            run: |call| {
                let stage = stage(call)?;
                Ok(convert::map_to_dynamic(&map! { "from" => stage.from.as_str(), "to" => stage.to.as_str() }))
            },
        },
        Function {
            name: "instance",
            parameters: "options",
            gives: "#{ id, secret, host, port }",
            effect: Effect::Writes,
            doc: "Creates an instance and the secret of its master user: #{ id, version, database, secret }. It is ready \
                  when this returns.",
            example: "lab::instance(#{ id: \"other\", version: \"15\", database: \"shop\", secret: \"lab/other\" }).id",
            run: instance,
        },
        Function {
            name: "cluster",
            parameters: "options",
            gives: "#{ id, secret, host, port }",
            effect: Effect::Writes,
            doc: "Creates a cluster of Aurora and the secret of its master user: #{ id, version, database, secret, readers }. \
                  Its instances are called as it is, with a number behind; the first one writes. All are ready when this \
                  returns.",
            example: "lab::cluster(#{ id: \"c\", version: \"15\", database: \"shop\", secret: \"lab/c\", readers: 1 }).id",
            run: cluster::make,
        },
        Function {
            name: "login",
            parameters: "db, options",
            gives: "()",
            effect: Effect::Writes,
            doc: "Lets a role log in, and keeps its password in a secret: #{ role, secret }.",
            example: "lab::login(db, #{ role: \"app\", secret: \"lab/app\" })",
            run: login,
        },
        state::END_STATE,
        scale::SCALE,
        Function {
            name: "phases",
            parameters: "all",
            gives: "a list of names",
            effect: Effect::Pure,
            doc: "The phases of the runbook that this rehearsal goes through: all, or those up to the one that \
                  `--phase NAME` names.",
            example: "lab::phases([\"prepare\", \"cutover\"]) // => [\"prepare\", \"cutover\"]",
            run: phases,
        },
        Function {
            name: "is_twice",
            parameters: "",
            gives: "true or false",
            effect: Effect::Pure,
            doc: "Whether every body and every undo runs twice here: then the undo of a whole run is rehearsed too.",
            example: "lab::is_twice() // => false",
            run: |call| Ok(stage(call)?.trial.twice.into()),
        },
        Function {
            name: "is_rollback",
            parameters: "",
            gives: "true or false",
            effect: Effect::Pure,
            doc: "Whether this rehearsal goes back after the cutover.",
            example: "lab::is_rollback() // => false",
            run: |call| Ok(stage(call)?.trial.rollback.into()),
        },
    ],
    methods: &[
        Function {
            name: "load_schema",
            parameters: "db",
            gives: "()",
            effect: Effect::Writes,
            doc: "Loads the rehearsal's schema and data: the sample, or what `--schema FILE` names.",
            example: "db.load_schema()",
            run: load_schema,
        },
        scale::FILL,
    ],
};

fn phases(call: &Call) -> Result<Dynamic> {
    let mut all = call.texts(0)?;
    if let Some(last) = &stage(call)?.trial.phase {
        let at = all.iter().position(|name| name == last).ok_or_else(|| {
            fail!(Code::Usage, "got `--phase {last}`, wanted one of {}", prose::ticked_list(&all, all.len()))
        })?;
        all.truncate(at + 1);
    }
    Ok(convert::to_dynamic(&Value::from(all)))
}

/// What a server of the lab lets in as it comes, and what is enough for everything but `--scale`.
const USUAL_CONNECTIONS: u16 = 200;

fn instance(call: &Call) -> Result<Dynamic> {
    let more = stage(call)?.trial.scale.connections;
    let options = Options::read(call, 0, &["id", "version", "database", "secret"])?;
    let (id, secret) = (options.need("id")?, options.need("secret")?);
    let password = language::random_password();
    call.host.redactor().learn(&password);
    let mut new = NewInstance::new(&id, "db.m7g.large", 20, "postgres", password.clone());
    new.engine_version = Some(options.need("version")?);
    new.database = Some(options.need("database")?);
    let mark = rds::mark(call)?;
    let aws = call.host.aws().clone();
    let database = options.need("database")?;
    let made = call.wait(&format!("making instance `{id}`"), &[], async {
        let rds = aws.rds();
        let version = new.engine_version.clone().unwrap_or_default();
        new.parameter_group = Some(parameter_group(&rds, Scope::Instance, (&new.engine, &version), more, &mark).await?);
        rds.create_instance(&new, &mark).await?;
        rds.wait_instance(&id, &InstanceGoal::Ready, &patience()).await
    })?;
    let place = (made.host.unwrap_or_default(), made.port.unwrap_or_default());
    keep_master(call, &id, &secret, &database, place, &password)
}

/// How the stage waits.
pub(super) fn patience<'a>() -> Wait<'a> {
    Wait { every: LOOK_EVERY, deadline: Duration::from_secs(300), ..Wait::default() }
}

/// Logical replication is off on RDS until a parameter group turns it on (`rds.logical_replication`, RDS user guide,
/// "Performing logical replication for Amazon RDS for PostgreSQL"); of a cluster it is the cluster's group.
///
/// `more` connections have room besides the usual ones.
pub(super) async fn parameter_group(
    rds: &Rds,
    scope: Scope,
    (engine, version): (&str, &str),
    more: u16,
    mark: &Mark,
) -> Result<String> {
    let family = family_of(engine, version);
    let name = format!("logical-{family}");
    if rds.find_parameter_group(scope, &name).await?.is_none() {
        rds.create_parameter_group(scope, &name, (&family, "logical replication"), mark).await?;
    }
    let mut values = vec![("rds.logical_replication".to_owned(), "1".to_owned())];
    if more > 0 {
        values.push(("max_connections".into(), (USUAL_CONNECTIONS + more).to_string()));
    }
    rds.set_parameters(scope, &name, &values).await?;
    Ok(name)
}

/// Writes the master's login as pgrun finds it, and tells where it leads.
pub(super) fn keep_master(
    call: &Call,
    id: &str,
    secret: &str,
    database: &str,
    (host, port): (String, u16),
    password: &Secret,
) -> Result<Dynamic> {
    let port = i64::from(port);
    let fields = map! { "username" => "postgres", "host" => host.as_str(), "port" => port, "dbname" => database };
    keep_login(call, secret, fields, password)?;
    Ok(convert::map_to_dynamic(&map! { "id" => id, "secret" => secret, "host" => host, "port" => port }))
}

fn login(call: &Call) -> Result<Dynamic> {
    stage(call)?;
    let options = Options::read(call, 1, &["role", "secret"])?;
    let (role, secret) = (options.need("role")?, options.need("secret")?);
    let password = language::random_password();
    call.host.redactor().learn(&password);
    // A verifier, not the password: what stands in a statement reaches the server's log.
    let verifier = crate::pg::verifier::of_one_round(&password);
    let sql = format!("ALTER ROLE {} LOGIN PASSWORD {}", ident::ident(&role)?, ident::literal(verifier.expose())?);
    let fields = pg::write(call, "letting a role log in", async |session| {
        session.batch(&sql).await?;
        let target = session.target();
        Ok(map! {
            "username" => role.as_str(), "host" => target.host(), "port" => i64::from(target.port()),
            "dbname" => target.database(),
        })
    })?;
    keep_login(call, &secret, fields, &password)?;
    Ok(Dynamic::UNIT)
}

/// Writes a login as applications find it.
fn keep_login(call: &Call, name: &str, mut fields: crate::base::Map, password: &Secret) -> Result<()> {
    fields.insert("password".into(), Value::Text(password.expose().to_owned()));
    let text = Secret::new(Value::Map(fields).to_json().to_string());
    let mark = rds::mark(call)?;
    let step = call.frame.step().map(|key| key_text(key)).unwrap_or_default();
    let token = token(call.host.run()?.id(), &step, "login");
    let secrets = call.host.aws().secrets();
    call.wait(&format!("writing secret `{name}`"), &[], async {
        secrets.create(name, &text, &token, None, &Tags::new(), &mark).await.map(|_| ())
    })
}

fn load_schema(call: &Call) -> Result<Dynamic> {
    let pieces = sql_file::pieces(&stage(call)?.schema)?;
    pg::write(call, "loading the schema", async |session| {
        for piece in &pieces {
            match piece {
                Piece::Statements(sql) => session.batch(sql).await?,
                Piece::Copy { sql, lines } => drop(session.copy_in(sql, lines).await?),
            }
        }
        // A dump sets the search path and more; what follows must not see that.
        session.close().await;
        Ok(())
    })?;
    Ok(Dynamic::UNIT)
}
