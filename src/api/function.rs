//! A script function is one plain value: name, parameters, effect, one sentence, an example, and its code.
//! Registration, `pgrun check`, the reference and the tests read that value.

use std::collections::BTreeMap;

use rhai::{Dynamic, Engine, FnPtr, FuncRegistration, ImmutableString, NativeCallContext, RhaiFunc, Shared};

use super::{
    bridge::{self, Script},
    convert::{self, type_word},
    frame::Frame,
    host::Host,
};
use crate::{
    base::{Code, Lsn, Map, Result, Secret, Value, span},
    fail,
};

/// What calling a function does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Computes; allowed everywhere.
    Pure,
    /// Looks at the world; allowed inside steps and their clauses.
    Reads,
    /// Changes the world; allowed in a step's body and undo clause.
    Writes,
    /// Changes the world in a way that cannot be taken back.
    Destroys,
}

/// One function of a script module.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its parameters as they are written: `db, sql, [values]`; brackets mark those that may be left out.
    pub parameters: &'static str,
    /// What it gives, in a few words.
    pub gives: &'static str,
    /// What it does to the world.
    pub effect: Effect,
    /// What it does, in one sentence or two.
    pub doc: &'static str,
    /// A piece of script that runs; `db` is a session, in it `// => value` shows the result.
    pub example: &'static str,
    /// The code.
    pub run: fn(&Call<'_>) -> Result<Dynamic>,
}

/// The functions of one name space.
pub struct Module {
    /// `pg` in `pg::connect`; empty for the language's own words.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Called as `pg::connect(..)`.
    pub functions: &'static [Function],
    /// Called on a handle, as `db.query(..)`; the handle is the first parameter.
    pub methods: &'static [Function],
}

impl Function {
    /// How many arguments it takes, least and most.
    #[must_use]
    pub fn arity(&self) -> (usize, usize) {
        let names = self.parameters.split(',').map(str::trim).filter(|name| !name.is_empty());
        let (mut least, mut most) = (0, 0);
        for name in names {
            most += 1;
            least += usize::from(!name.starts_with('['));
        }
        (least, most)
    }

    fn shared(&'static self, host: &Host) -> RhaiFunc {
        let host = host.clone();
        RhaiFunc::Method {
            func: Shared::new(move |context, arguments| {
                let Some(context) = context else {
                    let error = fail!(Code::Internal, "`{}` was called without a context", self.name);
                    return Err(bridge::raise(error, None, rhai::Position::NONE));
                };
                let arguments = arguments.iter().map(|argument| argument.flatten_clone()).collect();
                let call = Call { host: &host, function: self, frame: Frame::of(context.tag()), context, arguments };
                call.run()
                    .map_err(|error| bridge::raise(error, call.context.call_source(), call.context.call_position()))
            }),
            has_context: true,
            is_pure: true,
            is_volatile: true,
        }
    }

    fn register(&'static self, host: &Host, module: &mut rhai::Module, is_global: bool) {
        let (least, most) = self.arity();
        for count in least..=most {
            let registration = FuncRegistration::new(self.name);
            let registration = if is_global { registration.in_global_namespace() } else { registration };
            let types = vec![std::any::TypeId::of::<Dynamic>(); count];
            registration.set_into_module_raw(module, types, self.shared(host));
        }
    }
}

impl Module {
    /// Teaches the engine all functions. Modules of one name, each in its own file, share the name space.
    pub(super) fn register_all(modules: &[&'static Self], engine: &mut Engine, host: &Host) {
        let mut global = rhai::Module::new();
        let mut spaces: BTreeMap<&str, rhai::Module> = BTreeMap::new();
        for module in modules {
            for method in module.methods {
                method.register(host, &mut global, true);
            }
            for function in module.functions {
                match module.name {
                    "" => function.register(host, &mut global, true),
                    name => function.register(host, spaces.entry(name).or_default(), false),
                }
            }
        }
        engine.register_global_module(global.into());
        for (name, space) in spaces {
            engine.register_static_module(name, space.into());
        }
    }
}

/// One call of a function by a script.
pub struct Call<'a> {
    /// The host.
    pub host: &'a Host,
    /// The function called.
    pub function: &'static Function,
    /// Where the call stands.
    pub frame: Frame,
    context: NativeCallContext<'a>,
    arguments: Vec<Dynamic>,
}

impl Call<'_> {
    fn run(&self) -> Result<Dynamic> {
        (self.function.run)(self)
    }

    /// Waits for the world. The one door: a read needs a step, a write a step's body; the first write makes the step's
    /// intent durable and claims its target.
    pub fn wait<T>(&self, doing: &str, targets: &[String], work: impl Future<Output = Result<T>>) -> Result<T> {
        self.enter(targets)?;
        self.host.wait(&self.frame, doing, work)
    }

    /// Checks that the place of the call allows the function's effect, and prepares a write.
    pub fn enter(&self, targets: &[String]) -> Result<()> {
        let name = self.function.name;
        match self.function.effect {
            Effect::Pure => Ok(()),
            Effect::Reads if self.frame.in_step() => {
                if let Some(work) = self.frame.work() {
                    work.looked();
                }
                Ok(())
            }
            Effect::Reads => Err(fail!(Code::StepRule, "`{name}` looks at the world outside any step")
                .hint(format!("put it into a step: let seen = step \"look\" {{ {name}(..) }};"))),
            Effect::Writes | Effect::Destroys => {
                let Some(work) = self.frame.work() else {
                    return Err(fail!(Code::StepRule, "`{name}` changes the world, which only a step's body may do")
                        .hint(format!("put it into a step: step \"change\" {{ {name}(..) }}")));
                };
                for target in targets {
                    self.host.run()?.claim(target)?;
                }
                work.begin()
            }
        }
    }

    /// The same for a statement of a transaction that leaves a row about itself: its begin is durable already.
    pub fn enter_marked(&self) -> Result<()> {
        match self.frame.work() {
            Some(work) => work.writable(),
            None => self.enter(&[]),
        }
    }

    /// Where in the script the call stands.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.context.call_source().unwrap_or_default(), self.context.call_position())
    }

    /// How many arguments were given.
    #[must_use]
    pub fn count(&self) -> usize {
        self.arguments.len()
    }

    /// An argument as the script gave it; `()` when it was left out.
    pub fn argument(&self, at: usize) -> Dynamic {
        self.arguments.get(at).cloned().unwrap_or_default()
    }

    /// True when the argument was given and is not `()`.
    #[must_use]
    pub fn has(&self, at: usize) -> bool {
        self.arguments.get(at).is_some_and(|argument| !argument.is_unit())
    }

    /// An argument of a registered type.
    pub fn handle<T: Clone + Send + Sync + 'static>(&self, at: usize, wanted: &str) -> Result<T> {
        let argument = self.argument(at);
        let got = type_word(&argument);
        argument.try_cast::<T>().ok_or_else(|| self.wrong(at, got, wanted))
    }

    /// A text.
    pub fn text(&self, at: usize) -> Result<String> {
        self.handle::<ImmutableString>(at, "a text").map(|text| text.to_string())
    }

    /// A whole number.
    pub fn int(&self, at: usize) -> Result<i64> {
        self.handle(at, "an int")
    }

    /// An LSN.
    pub fn lsn(&self, at: usize) -> Result<Lsn> {
        self.handle(at, "an lsn")
    }

    /// A secret.
    pub fn secret(&self, at: usize) -> Result<Secret> {
        self.handle(at, "a secret")
    }

    /// A closure.
    pub fn closure(&self, at: usize) -> Result<FnPtr> {
        self.handle(at, "a closure")
    }

    /// A duration, given as a text such as `10s`.
    pub fn duration(&self, at: usize) -> Result<std::time::Duration> {
        span::parse_duration(&self.text(at)?)
    }

    /// An argument as plain data.
    pub fn value(&self, at: usize) -> Result<Value> {
        convert::to_value(&self.argument(at), &format!("argument {} of `{}`", at + 1, self.function.name))
    }

    /// A map as plain data.
    pub fn map(&self, at: usize) -> Result<Map> {
        match self.value(at)? {
            Value::Map(map) => Ok(map),
            other => Err(self.wrong(at, other.type_name(), "a map")),
        }
    }

    /// A list as plain data; an argument that was left out is an empty list.
    pub fn list(&self, at: usize) -> Result<Vec<Value>> {
        match self.value(at)? {
            Value::List(items) => Ok(items),
            Value::Null => Ok(vec![]),
            other => Err(self.wrong(at, other.type_name(), "a list")),
        }
    }

    /// A list of texts; an argument that was left out is an empty list.
    pub fn texts(&self, at: usize) -> Result<Vec<String>> {
        let text =
            |item: Value| item.as_text().map(str::to_owned).ok_or_else(|| self.wrong(at, "a list", "texts in it"));
        self.list(at)?.into_iter().map(text).collect()
    }

    /// Calls a closure that the script gave.
    pub fn call_closure(&self, closure: &FnPtr, arguments: Vec<Dynamic>) -> Script<Dynamic> {
        closure.call_within_context::<Dynamic>(&self.context, arguments)
    }

    fn wrong(&self, at: usize, got: &str, wanted: &str) -> crate::base::Error {
        let name = self.function.name;
        fail!(Code::ScriptError, "argument {} of `{name}`: got {}, wanted {wanted}", at + 1, convert::with_article(got))
            .hint(format!("its parameters are ({})", self.function.parameters))
    }
}
