//! The program: read the arguments, run, one exit.

fn main() -> std::process::ExitCode {
    pgrun::cli::run(std::env::args_os().collect()).into()
}
