//! `load::`: the synthetic application, in the rehearsal's process, so that it outlives every kill of the run.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rhai::Dynamic;

use super::{Stage, stage};
use crate::{
    api::{
        convert,
        function::{Call, Effect, Function, Module},
        options::Options,
    },
    aws::{Aws, Stored},
    base::{Code, Map, Result, Value, clock},
    fail,
    load::{Applications, Endpoint, Lap, Load, Plan, Probes, Proof, SecondEndpoint, Source, Spread},
    map,
    pg::{Parts, Session, Settings, Target},
};

/// How often the load asks whether the second instance has an endpoint.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How often it looks whether that one refuses its role. This asks the server, not AWS.
const TRY_EVERY: Duration = Duration::from_millis(250);
/// A load ends by itself after this long.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// The module.
pub(super) const MODULE: Module = Module {
    name: "load",
    doc: "In rehearsals only: an application that writes, and knows afterwards what was lost.",
    functions: &[
        Function {
            name: "prepare",
            parameters: "options",
            gives: "()",
            effect: Effect::Writes,
            doc: "Makes the load's tables: #{ master, database, role } (the master's secret, the database if not the \
                  secret's, and the role that will write).",
            example: "load::prepare(#{ master: \"lab/blue\", role: \"app\" })",
            run: |call| {
                stage(call)?;
                let options = Options::read(call, 0, &["master", "database", "role"])?;
                let (master, role) = (options.need("master")?, options.need("role")?);
                let database = options.text("database")?;
                let aws = call.host.aws().clone();
                call.wait("making the load's tables", &[], async {
                    let mut endpoint = endpoint(&aws.secrets().current(&master).await?)?;
                    endpoint.database = database.unwrap_or(endpoint.database);
                    crate::load::prepare(&endpoint, SCHEMA, Some(&role)).await
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "start",
            parameters: "options",
            gives: "()",
            effect: Effect::Writes,
            doc: "Starts probes (they know both endpoints) and applications (they follow the secret): #{ secret, green, \
                  probes, applications, idle }. The applications' pools hold `idle` sessions besides. It goes on until \
                  `load::finish`. There may be several, by different secrets.",
            example: "load::start(#{ secret: \"lab/app\", green: \"green\", probes: 4, applications: 3 })",
            run: start,
        },
        Function {
            name: "status",
            parameters: "secret",
            gives: "#{ acknowledged, failed, in_doubt, silent_ms, idle, .. }",
            effect: Effect::Reads,
            doc: "How the load of this secret is doing.",
            example: "load::status(\"lab/app\").acknowledged > 0 // => true",
            run: |call| {
                let secret = call.text(0)?;
                let status = stage(call)?.loads().get(&secret).map(Load::status).ok_or_else(|| no_load(&secret))?;
                call.wait("asking the load", &[], async { Ok(()) })?;
                Ok(convert::map_to_dynamic(&status.to_map()))
            },
        },
        Function {
            name: "lap",
            parameters: "secret, name",
            gives: "()",
            effect: Effect::Writes,
            doc: "Begins a lap of this secret's load: outages are told for each lap, which changes servers once at most.",
            example: "load::lap(\"lab/app\", \"way back\")",
            run: |call| {
                let (secret, name) = (call.text(0)?, call.text(1)?);
                let stage = stage(call)?;
                call.wait("beginning a lap", &[], async { Ok(()) })?;
                stage.loads().get(&secret).ok_or_else(|| no_load(&secret))?.lap(&name);
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "finish",
            parameters: "secret",
            gives: "#{ acknowledged, lost, doubled, outage_ms, .. }",
            effect: Effect::Writes,
            doc: "Ends the load of this secret and compares its ledger with the database that the secret names now.",
            example: "load::finish(\"lab/app\").lost // => 0",
            run: finish,
        },
    ],
    methods: &[],
};

/// The schema of the load's tables.
const SCHEMA: &str = "load";

fn start(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let options = Options::read(call, 0, &["secret", "green", "probes", "applications", "idle"])?;
    let count = |key: &str, usual: i64| -> Result<u16> {
        let number = options.int(key)?.unwrap_or(usual);
        u16::try_from(number).map_err(|_| fail!(Code::ScriptError, "got {number} {key}"))
    };
    let (probes, applications, idle) = (count("probes", 4)?, count("applications", 3)?, count("idle", 0)?);
    let (secret, green) = (options.need("secret")?, options.need("green")?);
    let aws = call.host.aws().clone();
    let source = {
        let (aws, secret) = (aws.clone(), secret.clone());
        Source::new(move || {
            let (aws, secret) = (aws.clone(), secret.clone());
            async move { endpoint(&aws.secrets().current(&secret).await?) }
        })
    };
    let begun = call.wait("starting the load", &[], async {
        let blue = endpoint(&aws.secrets().current(&secret).await?)?;
        let mut plan = Plan { max_duration: LONGEST, ..Plan::new() };
        SCHEMA.clone_into(&mut plan.schema);
        plan.probes = Some(Probes { writers: probes, ..Probes::new(blue.clone(), None) });
        if applications > 0 || idle > 0 {
            plan.applications = Some(Applications { idle, ..Applications::new(applications, source) });
        }
        let load = Load::start(plan).await?;
        tokio::spawn(watch_for(aws.clone(), stage.whereabouts.clone(), green, blue, load.second_endpoint()));
        Ok(load)
    })?;
    stage.loads().insert(secret, begun);
    Ok(Dynamic::UNIT)
}

/// Where instances are that loads wait for. All loads of a stage ask as often as one.
#[derive(Clone, Default)]
pub(super) struct Whereabouts(Arc<tokio::sync::Mutex<BTreeMap<String, Look>>>);

/// Host and port.
type Place = (String, u16);

/// When it was looked, and what was there.
type Look = (Instant, Option<Place>);

impl Whereabouts {
    async fn look(&self, aws: &Aws, instance: &str) -> Option<Place> {
        let mut known = self.0.lock().await;
        if let Some((at, place)) = known.get(instance)
            && (place.is_some() || at.elapsed() < LOOK_EVERY)
        {
            return place.clone();
        }
        let found = aws.rds().find_instance(instance).await.ok().flatten();
        let place = found.and_then(|found| Some((found.host?, found.port?)));
        known.insert(instance.to_owned(), (clock::instant(), place.clone()));
        place
    }
}

/// Tells the probes where GREEN is once their role may not log in there. Before that GREEN is no place to write: a
/// probe that met an error on BLUE would make the two differ.
async fn watch_for(aws: Aws, known: Whereabouts, green: String, blue: Endpoint, second: SecondEndpoint) {
    let begun = clock::instant();
    while begun.elapsed() < LONGEST {
        if let Some((host, port)) = known.look(&aws, &green).await {
            let green = Endpoint { host, port, ..blue.clone() };
            while begun.elapsed() < LONGEST {
                if is_closed(&green).await {
                    second.set(green);
                    return;
                }
                clock::sleep(TRY_EVERY).await;
            }
        }
        clock::sleep(LOOK_EVERY).await;
    }
}

/// True when the server knows the role and does not let it in.
async fn is_closed(endpoint: &Endpoint) -> bool {
    let parts = Parts {
        host: endpoint.host.clone(),
        port: Some(endpoint.port),
        database: endpoint.database.clone(),
        user: endpoint.user.clone(),
        password: Some(endpoint.password.clone()),
        ..Parts::default()
    };
    let Ok(target) = Target::from_parts(parts) else { return false };
    let session = Session::new(target, Settings::of_run("load"));
    session.open().await.is_err_and(|error| error.fact("sqlstate") == Some("28000"))
}

fn finish(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let secret = call.text(0)?;
    let load = stage.loads().remove(&secret).ok_or_else(|| no_load(&secret))?;
    let aws = call.host.aws().clone();
    let proof = call.wait("ending the load and looking for its writes", &[], async {
        let status = load.status();
        if status.idle + status.idle_ended > 0 {
            let (held, ended) = (i64::try_from(status.idle), i64::try_from(status.idle_ended));
            stage.note(map! {
                "scale" => map! { "connections" => held.unwrap_or(i64::MAX), "ended" => ended.unwrap_or(i64::MAX) },
            });
        }
        let outcome = load.stop().await;
        let last = endpoint(&aws.secrets().current(&secret).await?)?;
        let proof = outcome.verify(&last).await?;
        let ledger = &outcome.ledger;
        let series = ledger.series.iter().map(|tick| Value::Map(tick.to_map(&ledger.places))).collect();
        note(stage, &secret, &proof, series);
        Ok(proof.to_map())
    })?;
    Ok(convert::map_to_dynamic(&proof))
}

/// Adds a load's proof to what the rehearsal found out: writes are summed up, outages stand side by side. The picture
/// is of the load that was finished first.
fn note(stage: &Stage, secret: &str, proof: &Proof, series: Vec<Value>) {
    let before = stage.facts();
    let sum = |key: &str, more: u64| {
        let writes = before.get("writes").and_then(Value::as_map);
        let before = writes.and_then(|writes| writes.get(key)?.as_int()).unwrap_or(0);
        before.saturating_add(i64::try_from(more).unwrap_or(i64::MAX))
    };
    let known = before.get("laps").and_then(Value::as_list).unwrap_or_default();
    let lap = |lap: &Lap| {
        let is_it = |known: &&Map| known.get("name").and_then(Value::as_text) == Some(lap.name.as_str());
        let known = known.iter().filter_map(Value::as_map).find(is_it);
        let outage = pooled(known.and_then(|lap| lap.get("outage_ms")), &lap.outage_ms);
        map! { "name" => lap.name.as_str(), "outage_ms" => outage }
    };
    let laps: Vec<Map> = proof.laps.iter().filter(|lap| lap.switch.is_some()).map(lap).collect();
    let mut facts = map! {
        "writes" => map! {
            "acknowledged" => sum("acknowledged", proof.acknowledged),
            "lost" => sum("lost", proof.lost), "doubled" => sum("doubled", proof.doubled),
        },
        "outage_ms" => pooled(before.get("outage_ms"), &proof.outage_ms),
        "application_outage_ms" => pooled(before.get("application_outage_ms"), &proof.application_outage_ms),
        "laps" => laps,
        "loads" => map! { secret => proof.to_map() },
    };
    if !before.contains_key("series") {
        facts.insert("series".into(), Value::List(series));
    }
    stage.note(facts);
}

/// A spread as it stood in the report, with further writers.
fn pooled(before: Option<&Value>, more: &Spread) -> Map {
    let known = before.and_then(Value::as_map).and_then(|map| map.get("writers")?.as_list()).unwrap_or_default();
    let known = known.iter().map(|ms| if let Value::Float(ms) = ms { Some(*ms) } else { None });
    Spread::of(known.chain(more.writers.iter().copied()).collect()).to_map()
}

fn no_load(secret: &str) -> crate::base::Error {
    fail!(Code::ScriptError, "no load is running by the secret `{secret}`").hint("start one with load::start(..)")
}

/// Where a secret leads.
fn endpoint(stored: &Stored) -> Result<Endpoint> {
    let fields = stored.fields()?;
    let text = |name: &str| {
        let missing = || fail!(Code::ValueGuard, "secret `{}` has no field `{name}`", stored.name);
        fields.get(name).and_then(Value::as_text).map(str::to_owned).ok_or_else(missing)
    };
    let port = fields.get("port").and_then(Value::as_int).and_then(|port| u16::try_from(port).ok()).unwrap_or(5432);
    Ok(Endpoint {
        host: text("host")?,
        port,
        database: text("dbname")?,
        user: text("username")?,
        password: stored.password()?,
        tls: None,
    })
}
