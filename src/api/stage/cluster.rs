//! `lab::cluster`: a cluster of Aurora with its instances, as the stage of a rehearsal.

use rhai::Dynamic;

use super::{
    lab::{keep_master, parameter_group, patience},
    stage,
};
use crate::{
    api::{function::Call, language, options::Options, rds},
    aws::{ClusterGoal, InstanceGoal, NewCluster, NewMember, Scope, Tags},
    base::Result,
};

const ENGINE: &str = "aurora-postgresql";

/// Makes it, and waits until its last instance is ready.
pub(super) fn make(call: &Call) -> Result<Dynamic> {
    let more = stage(call)?.trial.scale.connections;
    let options = Options::read(call, 0, &["id", "version", "database", "secret", "readers"])?;
    let (id, secret, database) = (options.need("id")?, options.need("secret")?, options.need("database")?);
    let readers = options.int("readers")?.unwrap_or(0);
    let password = language::random_password();
    call.host.redactor().learn(&password);
    let mut new = NewCluster {
        id: id.clone(),
        engine_version: options.need("version")?,
        master_user: "postgres".into(),
        master_password: password.clone(),
        database: Some(database.clone()),
        parameter_group: None,
        tags: Tags::new(),
    };
    let mark = rds::mark(call)?;
    let aws = call.host.aws().clone();
    let made = call.wait(&format!("making cluster `{id}`"), &[], async {
        let rds = aws.rds();
        let version = (ENGINE, new.engine_version.as_str());
        new.parameter_group = Some(parameter_group(&rds, Scope::Cluster, version, more, &mark).await?);
        rds.create_cluster(&new, &mark).await?;
        rds.wait_cluster(&id, &ClusterGoal::Ready, &patience()).await?;
        for number in 1..=readers.saturating_add(1) {
            let member = NewMember {
                cluster: id.clone(),
                id: format!("{id}-{number}"),
                class: "db.r7g.large".into(),
                ..NewMember::default()
            };
            rds.join_cluster(&member, &mark).await?;
            rds.wait_instance(&member.id, &InstanceGoal::Ready, &patience()).await?;
        }
        rds.cluster(&id).await
    })?;
    let place = (made.host.unwrap_or_default(), made.port.unwrap_or_default());
    keep_master(call, &id, &secret, &database, place, &password)
}
