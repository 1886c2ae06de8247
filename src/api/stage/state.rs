//! `lab::end_state`: everything that a rehearsal leaves behind, so that two rehearsals can be compared.

use std::collections::BTreeMap;

use rhai::Dynamic;

use super::stage;
use crate::{
    api::{
        convert,
        db::Db,
        function::{Call, Effect, Function},
    },
    aws::{Rds, Secrets},
    base::{Code, Map, Result, Value},
    fail,
    pg::{Session, schema},
};

pub(super) const END_STATE: Function = Function {
    name: "end_state",
    parameters: "databases",
    gives: "a map of names and what they are",
    effect: Effect::Reads,
    doc: "Everything that is there at the end: instances, snapshots, clusters, secrets with their stages, and of each database every \
          definition, roles and whether they may log in, publications, subscriptions, slots and settings.",
    example: "lab::end_state(#{ blue: db }).len() > 0 // => true",
    run: end_state,
};

/// What a database has besides its definitions. Positions and what depends on the instant stay out.
const BESIDES: &str = "
    SELECT 'role ' || rolname AS name, CASE WHEN rolcanlogin THEN 'may log in' ELSE 'may not log in' END AS state
      FROM pg_roles WHERE rolname !~ '^pg_'
    UNION ALL SELECT 'publication ' || pubname,
           concat_ws(' ', puballtables, pubinsert, pubupdate, pubdelete, pubtruncate) FROM pg_publication
    UNION ALL SELECT 'subscription ' || s.subname, concat_ws(' ', s.subenabled, s.subslotname, s.subpublications)
      FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
    UNION ALL SELECT 'slot ' || slot_name, concat_ws(' ', plugin, database)
      FROM pg_replication_slots WHERE NOT temporary
    UNION ALL SELECT 'setting ' || name, setting FROM pg_settings WHERE sourcefile LIKE '%.auto.conf'";

fn end_state(call: &Call) -> Result<Dynamic> {
    stage(call)?;
    let databases: rhai::Map = call.handle(0, "a map of databases")?;
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let aws = call.host.aws().clone();
    all.extend(call.wait("listing instances, snapshots, clusters and secrets", &[], async {
        let mut found = of_rds(&aws.rds()).await?;
        found.extend(of_secrets(&aws.secrets()).await?);
        Ok(found)
    })?);
    for (name, database) in databases {
        let wrong = || fail!(Code::ValueGuard, "got {} as `{name}`, wanted a database", convert::a_type(&database));
        let db = database.clone().try_cast::<Db>().ok_or_else(wrong)?;
        let found = call.wait(&format!("reading everything in {}", db.label()), &[], async {
            let session = db.session().await?;
            let _turn = db.turn().await;
            of_database(session).await
        })?;
        all.extend(found.into_iter().map(|(what, state)| (format!("{name} {what}"), state)));
    }
    Ok(convert::map_to_dynamic(&all.into_iter().collect::<Map>()))
}

async fn of_rds(rds: &Rds) -> Result<Vec<(String, Value)>> {
    let mut found = vec![];
    for instance in rds.instances().await? {
        let groups: Vec<&str> = instance.parameter_groups.iter().map(|group| group.name.as_str()).collect();
        let text = format!("{} {} {}", instance.engine_version, instance.status, groups.join(" "));
        found.push((format!("instance {}", instance.id), Value::Text(text)));
        for snapshot in rds.snapshots(&instance.id).await? {
            let text = format!("{} {}", snapshot.engine_version, snapshot.status);
            found.push((format!("snapshot {}", snapshot.id), Value::Text(text)));
        }
    }
    for cluster in rds.clusters().await? {
        let (group, members) = (&cluster.parameter_group.name, cluster.members.len());
        let text = format!("{} {} {group}, {members} instances", cluster.engine_version, cluster.status);
        found.push((format!("cluster {}", cluster.id), Value::Text(text)));
    }
    Ok(found)
}

async fn of_secrets(secrets: &Secrets) -> Result<Vec<(String, Value)>> {
    let stages = |summary: &crate::aws::Summary| {
        let mut stages: Vec<String> = summary.stages.keys().cloned().collect();
        stages.sort();
        (format!("secret {}", summary.name), Value::Text(stages.join(" ")))
    };
    Ok(secrets.list("", true).await?.iter().map(stages).collect())
}

async fn of_database(session: &Session) -> Result<Vec<(String, Value)>> {
    let mut objects = schema::fingerprint(session).await?;
    objects.extend(schema::server_fingerprint(session).await?);
    let mut found: Vec<(String, Value)> =
        objects.into_iter().map(|object| (format!("{} {}", object.kind, object.name), object.hash.into())).collect();
    for row in session.query(BESIDES, &[]).await? {
        let text = |name: &str| row.get(name).and_then(Value::as_text).unwrap_or_default().to_owned();
        found.push((text("name"), Value::Text(text("state"))));
    }
    Ok(found)
}
