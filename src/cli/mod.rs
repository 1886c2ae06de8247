//! Floor 4: words on a terminal. The only floor that prints and exits.

pub mod lab;
