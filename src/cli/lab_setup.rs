//! How a lab is set up on the command line: of `pgrun lab up`, and of a rehearsal.

use std::{ffi::OsString, path::Path, time::Duration};

use clap::Args;

use crate::{
    base::span,
    lab::{Delays, LabOptions, SlotsInSnapshot},
};

/// What a lab is started with besides its folder.
#[derive(Args, Clone, Debug, Default)]
pub struct LabSetup {
    /// How long each state of the lab lasts, such as `creating`: 300ms where nothing is said, minutes on RDS
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub states: Option<Duration>,
    /// How long `available` is still shown after a change was accepted
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub stale: Option<Duration>,
    /// So many seconds of the lab pass in one: states, recovery windows and rotation schedules
    #[arg(long, value_name = "N", value_parser = speed)]
    pub speed: Option<f64>,
    /// Refuse the upgrade of a snapshot with logical slots, instead of dropping them
    #[arg(long)]
    pub refuse_slots: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    span::parse_duration(text).map_err(|error| error.message().to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    let wrong = || format!("got {text:?}, wanted a number from 0.01 to 1000000");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if (0.01..=1e6).contains(&number) { Ok(number) } else { Err(wrong()) }
}

impl LabSetup {
    /// The options of a lab in this folder.
    pub(super) fn options(&self, dir: &Path) -> LabOptions {
        let usual = LabOptions::at(dir);
        let delays = Delays {
            state: self.states.unwrap_or(usual.delays.state),
            stale: self.stale.unwrap_or(usual.delays.stale),
        };
        let slots = if self.refuse_slots { SlotsInSnapshot::Refuse } else { usual.slots_in_snapshot };
        LabOptions { delays, speed: self.speed.unwrap_or(usual.speed), slots_in_snapshot: slots, ..usual }
    }

    /// The same as arguments of another process.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<String> = vec![];
        for (name, value) in [("--states", self.states), ("--stale", self.stale)] {
            all.extend(value.into_iter().flat_map(|value| [name.to_owned(), format!("{}ms", value.as_millis())]));
        }
        all.extend(self.speed.into_iter().flat_map(|speed| ["--speed".to_owned(), speed.to_string()]));
        all.extend(self.refuse_slots.then(|| "--refuse-slots".to_owned()));
        all.into_iter().map(OsString::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::LabSetup;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        setup: LabSetup,
    }

    /// The lab's process of its own has to be the lab that was asked for.
    #[test]
    fn another_process_gets_the_same() {
        let words = ["x", "--states", "1m30s", "--stale", "250ms", "--speed", "60", "--refuse-slots"];
        let setup = Program::parse_from(words).setup;
        let again = std::iter::once("x".into()).chain(setup.arguments());
        let again = Program::parse_from(again).setup;
        let (one, other) = (setup.options(Path::new("/lab")), again.options(Path::new("/lab")));
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
        assert_eq!(one.delays.state.as_secs(), 90);
        assert!(Program::parse_from(["x"]).setup.arguments().is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [["x", "--states", "5"], ["x", "--speed", "0"], ["x", "--speed", "NaN"]] {
            assert!(Program::try_parse_from(words).is_err(), "{words:?}");
        }
    }
}
