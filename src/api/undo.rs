//! Undo clauses, kept until they are needed: closures whose captured values are frozen, with the modules they were
//! written in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rhai::{Caches, Dynamic, Engine, EvalContext, FnPtr, GlobalRuntimeState, Scope};

use super::{bridge::Script, frame::Frame};
use crate::journal::Key;

/// An undo clause as the script gave it.
#[derive(Clone)]
pub struct UndoClause {
    closure: FnPtr,
    /// Imports, functions and constants of the file that the clause stands in: since Rhai 1.26 a closure carries none.
    world: GlobalRuntimeState,
}

impl UndoClause {
    /// Keeps a closure. Captured values are copied now: as shared cells they would all show the loop's last element.
    #[must_use]
    pub fn freeze(closure: &FnPtr, world: &GlobalRuntimeState) -> Self {
        let mut closure = closure.clone();
        let frozen: Vec<Dynamic> = closure.curry().iter().map(Dynamic::flatten_clone).collect();
        closure.set_curry(frozen);
        Self { closure, world: world.clone() }
    }

    /// Runs the clause. It may take the step's value or nothing.
    pub fn call(&self, engine: &Engine, frame: &Frame, value: Dynamic) -> Script<Dynamic> {
        let mut world = self.world.clone();
        let captured = self.closure.curry().len();
        let name = self.closure.fn_name();
        let takes_value = world.lib.iter().any(|lib| lib.get_script_fn(name, captured + 1).is_some());
        let mut values: Vec<Dynamic> = self.closure.curry().to_vec();
        if takes_value {
            values.push(value);
        }
        let mut arguments: Vec<&mut Dynamic> = values.iter_mut().collect();
        let mut caches = Caches::new();
        let mut scope = Scope::new();
        let mut context = EvalContext::new(engine, &mut world, &mut caches, &mut scope, None);
        let mut context = context.new_frame().with_tag(frame.tag());
        context.call_fn_raw(name, false, false, &mut arguments)
    }
}

/// One step's way back.
#[derive(Clone)]
pub struct Undo {
    /// The step.
    pub key: Key,
    /// Its name for people.
    pub name: String,
    /// The clause.
    pub clause: UndoClause,
    /// The step's value; `()` when its outcome is not known.
    pub value: Dynamic,
}

/// The ways back of all steps so far, newest last.
#[derive(Default)]
pub struct UndoStack {
    undos: Mutex<Vec<Undo>>,
    decisions: Mutex<Vec<Key>>,
}

impl UndoStack {
    /// Keeps a step's way back.
    pub fn push(&self, undo: Undo) {
        self.undos().push(undo);
    }

    /// Takes the newest way back below a phase.
    #[must_use]
    pub fn pop_below(&self, phase: &[String]) -> Option<Undo> {
        let mut stack = self.undos();
        let at = stack.iter().rposition(|undo| undo.key.starts_with(phase))?;
        Some(stack.remove(at))
    }

    /// Puts the ways back into an order of their steps, oldest first. Branches replay at their own pace.
    pub fn order_by(&self, since: impl Fn(&Key) -> u64) {
        self.undos().sort_by_key(|undo| since(&undo.key));
    }

    /// The steps with a way back, oldest first.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.undos().iter().map(|undo| undo.key.clone()).collect()
    }

    /// A phase has made a decision that no undo takes back, nor anything before it.
    pub fn decide(&self, phase: &[String]) {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).push(phase.to_vec());
    }

    /// All such phases.
    #[must_use]
    pub fn decisions(&self) -> Vec<Key> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn undos(&self) -> MutexGuard<'_, Vec<Undo>> {
        self.undos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
