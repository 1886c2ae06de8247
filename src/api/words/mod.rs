//! The words of the language: `step phase confirm pause poll parallel waive`. Here stand their grammar and what they
//! share.
//!
//! They are custom syntax: a block runs in place and sees the script's variables. Two traps of Rhai shape this folder:
//! a variable pushed before a block makes the block read the *wrong* variable, silently, so values are only handed to
//! closures (`undo |s| {..}`); and `return` or `break` arrive as errors, so every block passes `bridge::settle`.

pub mod back;
mod gate;
mod outer;
mod parallel;
mod phase;
mod poll;
mod seen;
mod step;
mod waive;

use rhai::{Array, Dynamic, Engine, EvalContext, Expression, ImmutableString, LexError, ParseError, Position};

use super::{
    bridge::{self, Ended, Raised, Script, Thrown},
    convert,
    frame::{Frame, Limit},
    host::Host,
    undo::UndoClause,
};
use crate::{
    base::{Code, Error, Result, Value, prose, span},
    fail,
};

/// One word: its clauses before the body, and after it.
struct Word {
    name: &'static str,
    before: &'static [Clause],
    has_body: bool,
    after: &'static [Clause],
    run: fn(&Host, &mut EvalContext, &Inputs) -> Result<Dynamic, Trouble>,
}

/// A clause: its key word, and what follows it.
struct Clause {
    name: &'static str,
    kind: &'static str,
}

const WITH: Clause = Clause { name: "with", kind: "$expr$" };
const CHECK: Clause = Clause { name: "check", kind: "$block$" };
const VERIFY: Clause = Clause { name: "verify", kind: "$block$" };
const UNDO: Clause = Clause { name: "undo", kind: "$func$" };

/// The words that stand before a name or text; `parallel` has a grammar of its own.
const WORDS: &[Word] = &[
    Word { name: "step", before: &[WITH, CHECK], has_body: true, after: &[VERIFY, UNDO], run: step::run },
    Word { name: "phase", before: &[WITH, CHECK], has_body: true, after: &[], run: phase::run },
    Word { name: "poll", before: &[WITH], has_body: true, after: &[], run: poll::run },
    Word { name: "confirm", before: &[WITH, CHECK], has_body: false, after: &[], run: gate::confirm },
    Word { name: "pause", before: &[WITH], has_body: false, after: &[], run: gate::pause },
    Word { name: "waive", before: &[], has_body: false, after: &[], run: waive::waive },
];

/// Words that no function or variable may bear.
pub const RESERVED: [&str; 7] = ["step", "phase", "confirm", "pause", "poll", "parallel", "waive"];

/// Teaches the engine all words.
pub fn register(engine: &mut Engine, host: &Host) {
    for word in WORDS {
        let host = host.clone();
        engine.register_custom_syntax_with_state_raw(
            word.name,
            |symbols, look, state| next_symbol(word, symbols, look, state),
            false,
            move |context, inputs, state| {
                let inputs = Inputs::new(&host, inputs, state);
                let at = inputs.position();
                (word.run)(&host, context, &inputs).map_err(|trouble| trouble.raise(context.source(), at))
            },
        );
    }
    parallel::register(engine, host);
}

/// What may come next in a word's sentence. `symbols` is what was matched, `look` the next token.
fn next_symbol(
    word: &'static Word,
    symbols: &[ImmutableString],
    look: &str,
    state: &mut Dynamic,
) -> Result<Option<ImmutableString>, ParseError> {
    if state.is_unit() {
        *state = Dynamic::from_array(vec![]);
    }
    let mut expect = |clause: &'static str, kind: &'static str| {
        if let Some(mut clauses) = state.write_lock::<Array>() {
            clauses.push(clause.into());
        }
        Ok(Some(kind.into()))
    };
    if symbols.len() == 1 {
        return expect("name", "$expr$");
    }
    let last = symbols.last().map_or("", ImmutableString::as_str);
    if let Some(clause) = word.before.iter().chain(word.after).find(|clause| clause.name == last) {
        return expect(clause.name, clause.kind);
    }
    let used = |name: &str| symbols[1..].iter().any(|symbol| symbol == name);
    let blocks = symbols.iter().filter(|symbol| *symbol == "$block$").count();
    let body_done = blocks > usize::from(used("check"));
    let open = if body_done { word.after } else { word.before };
    // Clauses come in the order of the table, each at most once.
    let last_used = open.iter().rposition(|clause| used(clause.name)).map_or(0, |at| at + 1);
    if let Some(clause) = open[last_used..].iter().find(|clause| clause.name == look) {
        return Ok(Some(clause.name.into()));
    }
    match look {
        "{" if word.has_body && !body_done => expect("body", "$block$"),
        _ if body_done || !word.has_body => Ok(None),
        other => {
            let mut wanted: Vec<&str> = open[last_used..].iter().map(|clause| clause.name).collect();
            wanted.push("{");
            let wanted = prose::ticked_list(&wanted, 4);
            let text = format!("{}: got `{other}`, wanted {wanted}", word.name);
            Err(LexError::ImproperSymbol(other.into(), text).into_err(Position::NONE))
        }
    }
}

/// Why a word could not do its work: an error of its own, or one raised by the script inside it.
enum Trouble {
    Own(Error),
    Final(Error),
    Inner(Raised),
}

impl Trouble {
    fn raise(self, source: Option<&str>, at: Position) -> Raised {
        match self {
            Self::Own(error) => bridge::raise(error, source, at),
            Self::Final(error) => bridge::halt(error, at),
            Self::Inner(raised) => raised,
        }
    }

    /// The facts, for the journal and for people.
    fn facts(&self) -> Error {
        match self {
            Self::Own(error) | Self::Final(error) => error.clone(),
            Self::Inner(raised) => bridge::facts(raised),
        }
    }

    /// What a `catch` of the script would get of an error that was raised inside.
    fn thrown(&self) -> Option<Thrown> {
        if let Self::Inner(raised) = self { bridge::thrown(raised) } else { None }
    }

    /// The same trouble, at the same place, that no script can catch any more.
    fn into_final(self) -> Self {
        match self {
            Self::Own(error) | Self::Final(error) => Self::Final(error),
            Self::Inner(raised) => Self::Inner(bridge::make_final(raised)),
        }
    }

    /// True when the script cannot catch it.
    fn is_halt(&self) -> bool {
        match self {
            Self::Own(error) => bridge::is_final(error),
            Self::Final(_) => true,
            Self::Inner(raised) => bridge::is_halt(raised),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl From<Raised> for Trouble {
    fn from(raised: Raised) -> Self {
        Self::Inner(raised)
    }
}

/// The inputs of one sentence, by clause.
struct Inputs<'a> {
    host: &'a Host,
    expressions: &'a [Expression<'a>],
    clauses: Vec<String>,
}

impl<'a> Inputs<'a> {
    fn new(host: &'a Host, expressions: &'a [Expression<'a>], state: &Dynamic) -> Self {
        let names = |clauses: &Array| clauses.iter().map(ToString::to_string).collect();
        let clauses = state.read_lock::<Array>().map_or_else(Vec::new, |clauses| names(&clauses));
        Self { host, expressions, clauses }
    }

    fn position(&self) -> Position {
        self.expressions.first().map_or(Position::NONE, Expression::position)
    }

    fn get(&self, clause: &str) -> Option<&Expression<'a>> {
        self.clauses.iter().position(|name| name == clause).and_then(|at| self.expressions.get(at))
    }

    fn has(&self, clause: &str) -> bool {
        self.get(clause).is_some()
    }

    /// The name or text in front, which must be a text.
    fn name(&self, context: &mut EvalContext) -> Result<String, Trouble> {
        let input = self.get("name").ok_or_else(|| fail!(Code::Internal, "a word without its first input"))?;
        let value = input.eval_with_context(context)?;
        match value.read_lock::<ImmutableString>() {
            Some(text) if !text.trim().is_empty() => Ok(text.to_string()),
            Some(_) => Err(fail!(Code::StepRule, "got an empty name").into()),
            None => Err(fail!(Code::StepRule, "got {} as name, wanted a text", convert::a_type(&value)).into()),
        }
    }

    /// The options after `with`; every key must be known.
    fn options(&self, context: &mut EvalContext, known: &[&str]) -> Result<Options, Trouble> {
        let Some(input) = self.get("with") else { return Ok(Options::default()) };
        let value = input.eval_with_context(context)?.flatten();
        let Some(map) = value.clone().try_cast::<rhai::Map>() else {
            return Err(fail!(Code::StepRule, "got {} after `with`, wanted a map", convert::a_type(&value)).into());
        };
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            let error = fail!(Code::StepRule, "got the option `{key}`, wanted {}", prose::ticked_list(known, 9));
            let near = prose::nearest(key, known.iter().copied());
            return Err(near
                .map_or_else(|| error.clone(), |near| error.clone().hint(format!("meant `{near}`?")))
                .into());
        }
        Ok(Options(map))
    }

    /// Runs a block in a frame of its own; `return` gives its value, `break` out of it is refused.
    fn eval_block(&self, context: &mut EvalContext, clause: &str, frame: &Frame) -> Result<Dynamic, Trouble> {
        let input = self.get(clause).ok_or_else(|| fail!(Code::Internal, "a word without its `{clause}` block"))?;
        let result: Script<Dynamic> = {
            let _time = self.host.keep_time(frame);
            let mut inner = context.new_frame().with_tag(frame.tag());
            input.eval_with_context(&mut inner)
        };
        match bridge::settle(result) {
            Ended::Value(value) => Ok(value.flatten()),
            Ended::Raised(raised) => Err(raised.into()),
            Ended::Broke(_) => Err(fail!(Code::StepRule, "`break` and `continue` may not leave a block of pgrun")
                .hint("end the block with its value, and decide about the loop after it")
                .into()),
        }
    }

    /// The undo clause, frozen.
    fn undo(&self, context: &mut EvalContext) -> Result<Option<UndoClause>, Trouble> {
        let Some(input) = self.get("undo") else { return Ok(None) };
        let shared = outer::shared_names(context.scope());
        let closure = input.eval_with_context(context)?;
        let clause = closure
            .read_lock::<rhai::FnPtr>()
            .map(|closure| UndoClause::freeze(&closure, context.global_runtime_state()))
            .ok_or_else(|| fail!(Code::Internal, "an undo clause that is no closure"))?;
        // The clause has its own copies: the script's variables become plain again.
        outer::unshare_all_but(context.scope_mut(), &shared);
        Ok(Some(clause))
    }
}

/// The map after `with`.
#[derive(Default)]
struct Options(rhai::Map);

impl Options {
    fn text(&self, key: &str) -> Result<Option<String>> {
        let Some(value) = self.0.get(key).filter(|value| !value.is_unit()) else { return Ok(None) };
        match value.clone().flatten().try_cast::<ImmutableString>() {
            Some(text) => Ok(Some(text.to_string())),
            None => Err(fail!(Code::StepRule, "got {} for `{key}`, wanted a text", convert::a_type(value))),
        }
    }

    /// The name, with the `key` behind it if there is one.
    fn name(&self, name: &str) -> Result<String> {
        let Some(key) = self.raw("key") else { return Ok(name.to_owned()) };
        let text = match convert::to_value(key, "the key") {
            Ok(Value::Text(text)) => text,
            Ok(Value::Int(number)) => number.to_string(),
            Ok(Value::Float(number)) => number.to_string(),
            Ok(Value::Decimal(number)) => number.to_string(),
            Ok(Value::Bool(truth)) => truth.to_string(),
            Ok(Value::Lsn(lsn)) => lsn.to_string(),
            _ => {
                let got = convert::a_type(key);
                return Err(fail!(Code::StepRule, "got {got} as key, wanted a text, a number, an lsn or a bool"));
            }
        };
        Ok(format!("{name} [{text}]"))
    }

    fn flag(&self, key: &str) -> Result<bool> {
        let Some(value) = self.0.get(key) else { return Ok(false) };
        value
            .as_bool()
            .map_err(|_| fail!(Code::StepRule, "got {} for `{key}`, wanted true or false", convert::a_type(value)))
    }

    fn duration(&self, key: &str) -> Result<Option<std::time::Duration>> {
        let text = self.text(key)?;
        let parsed = text.map(|text| span::parse_duration(&text)).transpose();
        parsed.map_err(|error| error.with_code(Code::StepRule).during(format!("the option `{key}`")))
    }

    fn limit(&self, of: String, is_phase: bool) -> Result<Option<Limit>> {
        Ok(self.duration("deadline")?.map(|given| Limit::starting(given, of, is_phase)))
    }

    fn raw(&self, key: &str) -> Option<&Dynamic> {
        self.0.get(key).filter(|value| !value.is_unit())
    }
}
