//! `--scale`: a stage that is as full as a large installation, with sequences, tables and sessions that do nothing but
//! be there.

use std::str::FromStr;

use rhai::Dynamic;

use super::stage;
use crate::{
    api::{
        convert,
        function::{Call, Effect, Function},
        options::Options,
        pg,
    },
    base::{Code, Error, Map, Result, prose},
    fail, map,
};

/// What a rehearsal's stage has besides what its script makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Sequences; every second one was never used.
    pub sequences: u32,
    /// Tables with a primary key, an index and a few rows.
    pub tables: u32,
    /// Sessions that an application's pools hold.
    pub connections: u16,
}

/// More than this a laptop does not hold, nor a person wait for.
const MOST: u32 = 100_000;
/// Each session is a process of the server.
const MOST_CONNECTIONS: u32 = 2_000;
/// What one transaction makes. Each object is locked until its end, and a server's lock table holds some thousand.
const BATCH: u32 = 500;

impl FromStr for Scale {
    type Err = Error;

    /// Reads `sequences=10000,tables=1000,connections=200`, or a part of it.
    fn from_str(text: &str) -> Result<Self> {
        const KEYS: [&str; 3] = ["sequences", "tables", "connections"];
        const HINT: &str = "for example --scale sequences=10000,tables=1000,connections=200";
        let mut found: [Option<u32>; 3] = [None; 3];
        for part in text.split(',') {
            let (key, number) = part.split_once('=').unwrap_or((part, ""));
            let Some(at) = KEYS.iter().position(|known| *known == key.trim()) else {
                let error = fail!(Code::Usage, "got {:?}, wanted {}", key.trim(), prose::ticked_list(&KEYS, 3));
                return Err(error.hint(HINT));
            };
            let most = if KEYS[at] == "connections" { MOST_CONNECTIONS } else { MOST };
            let number = number.trim().parse().ok().filter(|number| *number <= most);
            let Some(number) = number else {
                return Err(
                    fail!(Code::Usage, "got {part:?}, wanted `{}=` and a number up to {most}", KEYS[at]).hint(HINT)
                );
            };
            if found[at].replace(number).is_some() {
                return Err(fail!(Code::Usage, "`{}` is there twice", KEYS[at]).hint(HINT));
            }
        }
        let [sequences, tables, connections] = found.map(Option::unwrap_or_default);
        let connections = u16::try_from(connections).unwrap_or(u16::MAX);
        Ok(Self { sequences, tables, connections })
    }
}

impl Scale {
    fn to_map(self) -> Map {
        map! {
            "sequences" => i64::from(self.sequences), "tables" => i64::from(self.tables),
            "connections" => i64::from(self.connections),
        }
    }
}

pub(super) const SCALE: Function = Function {
    name: "scale",
    parameters: "",
    gives: "#{ sequences, tables, connections }",
    effect: Effect::Pure,
    doc: "How much fuller the stage shall be, by `--scale`; zeros without it.",
    example: "lab::scale().tables // => 0",
    run: |call| Ok(convert::map_to_dynamic(&stage(call)?.trial.scale.to_map())),
};

pub(super) const FILL: Function = Function {
    name: "fill",
    parameters: "db, options",
    gives: "()",
    effect: Effect::Writes,
    doc: "Makes sequences and tables that nobody uses, in the schema `scale`: #{ sequences, tables }. A table has a \
          primary key, an index and a few rows.",
    example: "db.fill(#{ sequences: 3, tables: 2 })",
    run: fill,
};

/// Nothing is made anew that is there already: a step may run twice.
const SEQUENCE: &str = "EXECUTE format('CREATE SEQUENCE IF NOT EXISTS scale.%I', 'Sequence ' || i); \
     IF i % 2 = 0 THEN EXECUTE format('SELECT setval(%L, %s)', format('scale.%I', 'Sequence ' || i), i); END IF;";

const TABLE: &str = "EXECUTE format('CREATE TABLE IF NOT EXISTS scale.%I (id bigint PRIMARY KEY, name text NOT NULL, \
       at timestamptz NOT NULL DEFAULT now())', 'Table ' || i); \
     EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON scale.%I (name)', 'name of ' || i, 'Table ' || i); \
     EXECUTE format('INSERT INTO scale.%I (id, name) SELECT n, ''row '' || n FROM generate_series(1, 5) AS n \
       ON CONFLICT DO NOTHING', 'Table ' || i);";

fn fill(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let options = Options::read(call, 1, &["sequences", "tables"])?;
    let number = |key: &str| -> Result<u32> {
        let number = options.int(key)?.unwrap_or(0);
        u32::try_from(number).map_err(|_| fail!(Code::ScriptError, "got {number} {key}"))
    };
    let (sequences, tables) = (number("sequences")?, number("tables")?);
    pg::write(call, "filling the stage", async |session| {
        session.batch("CREATE SCHEMA IF NOT EXISTS scale").await?;
        for (made, number) in [(SEQUENCE, sequences), (TABLE, tables)] {
            for first in (1..=number).step_by(BATCH as usize) {
                let last = number.min(first + BATCH - 1);
                let block = format!("DO $scale$ BEGIN FOR i IN {first}..{last} LOOP {made} END LOOP; END $scale$");
                session.batch(&block).await?;
            }
        }
        Ok(())
    })?;
    let made = map! { "sequences" => i64::from(sequences), "tables" => i64::from(tables) };
    stage.note(map! { "scale" => made });
    Ok(Dynamic::UNIT)
}

#[cfg(test)]
mod tests {
    use super::Scale;

    #[test]
    fn a_scale_is_read() {
        let all: Scale = "sequences=10000,tables=1000,connections=200".parse().unwrap();
        assert_eq!(all, Scale { sequences: 10_000, tables: 1_000, connections: 200 });
        let some: Scale = "tables=5".parse().unwrap();
        assert_eq!(some, Scale { tables: 5, ..Scale::default() });
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (text, words) in [
            ("", "got \"\", wanted `sequences`, `tables` and `connections`"),
            ("table=5", "got \"table\", wanted `sequences`"),
            ("tables", "got \"tables\", wanted `tables=` and a number up to 100000"),
            ("tables=-1", "got \"tables=-1\""),
            ("tables=1,tables=2", "`tables` is there twice"),
            ("connections=2001", "got \"connections=2001\", wanted `connections=` and a number up to 2000"),
            ("sequences=1000000", "number up to 100000"),
        ] {
            let error = text.parse::<Scale>().unwrap_err();
            assert_eq!(error.code().name(), "usage");
            assert!(error.message().contains(words), "{text}: {}", error.message());
        }
    }
}
