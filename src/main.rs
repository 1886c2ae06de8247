//! The program: parse, run, one exit.

fn main() {}
