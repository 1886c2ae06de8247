//! The servers that run. Work takes one out, stops, starts or replaces it, and puts it back; whatever ends in between
//! ends the server with it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::postgres::{Process, Server};

/// Servers by the resource id of their instance.
#[derive(Default)]
pub(crate) struct Fleet(Mutex<BTreeMap<String, Server>>);

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Server>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, resource: &str, server: Server) {
        self.lock().insert(resource.to_owned(), server);
    }

    pub(crate) fn take(&self, resource: &str) -> Option<Server> {
        self.lock().remove(resource)
    }

    /// Every server, for a shutdown.
    pub(crate) fn take_all(&self) -> Vec<Server> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    /// The postmaster and the data folder of a server that stays where it is.
    pub(crate) fn view(&self, resource: &str) -> Option<(Process, PathBuf)> {
        self.lock().get(resource).map(|server| (server.process().clone(), server.folder().join("data")))
    }

    /// The instances that have a server.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The instances whose server ended by itself.
    pub(crate) fn ended(&self) -> Vec<String> {
        let fleet = self.lock();
        fleet.iter().filter(|(_, server)| !server.process().is_alive()).map(|(resource, _)| resource.clone()).collect()
    }

    /// Does something short with a server that stays where it is.
    pub(crate) fn with<T>(&self, resource: &str, act: impl FnOnce(&mut Server) -> T) -> Option<T> {
        self.lock().get_mut(resource).map(act)
    }
}
