//! Giving an instance another identifier. Its endpoint gets the new name too, so whoever knows the old name finds
//! whatever bears it next.

use super::{
    client::Rds,
    instance::Instance,
    request::InstanceChange,
    verdict::is_ready,
    wait::{Track, Wait},
};
use crate::{
    base::{Code, Result, poll::Seen},
    fail,
};

/// Where a renaming stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renaming {
    /// The old name is there and the new one is free.
    NotBegun,
    /// RDS is at it.
    UnderWay,
    /// The new name is there and the old one is free.
    Done,
    /// Both names are taken.
    Taken,
}

impl Rds {
    /// Where the renaming of `from` to `to` stands, by the names that are there.
    ///
    /// # Errors
    /// `aws_not_found` when there is neither; those of AWS.
    pub async fn renaming(&self, from: &str, to: &str) -> Result<Renaming> {
        let (old, new) = (self.find_instance(from).await?, self.find_instance(to).await?);
        Ok(match (old, new) {
            (Some(old), None) if is_renaming(&old) => Renaming::UnderWay,
            (Some(_), None) => Renaming::NotBegun,
            (None, Some(new)) if is_ready(&new.status) => Renaming::Done,
            (None, Some(_)) => Renaming::UnderWay,
            (Some(old), Some(new)) if old.resource_id == new.resource_id => Renaming::UnderWay,
            (Some(_), Some(_)) => Renaming::Taken,
            (None, None) => {
                return Err(fail!(Code::AwsNotFound, "there is neither an instance `{from}` nor `{to}`"));
            }
        })
    }

    /// Renames an instance and waits until it bears the new name, is ready, and the old name is free. Safe to repeat.
    ///
    /// An instance is known by its resource id here: a name may be somebody else's a moment later.
    ///
    /// # Errors
    /// `refused` when the new name is taken; `aws_not_found`; `aws_error` when RDS never begins; `timeout`; others of
    /// AWS, `aws_unknown` when it may have begun.
    pub async fn rename_instance(&self, from: &str, to: &str, wait: &Wait<'_>) -> Result<Instance> {
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        let state = self.renaming(&from, &to).await?;
        let resource = match state {
            Renaming::Taken => {
                return Err(fail!(Code::Refused, "there is an instance `{to}` already")
                    .hint("rename that one first, or choose another name"));
            }
            Renaming::NotBegun => {
                let change = InstanceChange { id: Some(to.clone()), ..InstanceChange::default() };
                self.modify_instance(&from, &change).await?.resource_id
            }
            Renaming::UnderWay | Renaming::Done => match self.find_instance(&from).await? {
                Some(old) => old.resource_id,
                None => self.instance(&to).await?.resource_id,
            },
        };
        let mut track = Track::new(wait.grace);
        wait.watch(&format!("instance `{from}` to be `{to}`"), async || {
            let (old, new) = (self.find_instance(&from).await?, self.find_instance(&to).await?);
            let old = old.filter(|old| old.resource_id == resource);
            match (old, new) {
                (_, Some(new)) if new.resource_id != resource => {
                    Err(fail!(Code::Foreign, "the name `{to}` went to another instance meanwhile"))
                }
                (None, Some(new)) if is_ready(&new.status) && new.host.is_some() => Ok(Seen::Ready(new)),
                (_, Some(new)) => Ok(Seen::NotYet(format!("`{to}` is {}", new.status))),
                (Some(old), None) => {
                    let history = track.look(is_ready(&old.status));
                    if history.ready_for >= history.grace && !is_renaming(&old) {
                        return Err(fail!(Code::AwsError, "instance `{from}` is `{}`, and not renamed", old.status));
                    }
                    Ok(Seen::NotYet(format!("`{from}` is {}", old.status)))
                }
                (None, None) => Ok(Seen::NotYet("neither name is shown".into())),
            }
        })
        .await
    }
}

fn is_renaming(instance: &Instance) -> bool {
    instance.status == "renaming" || instance.pending.contains_key("id")
}
