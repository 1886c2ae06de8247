//! What a database needs besides its rows before it can serve: statistics, dead rows removed, indexes in the right
//! order, extensions at their versions, views refreshed, a warm disk. Never in a window.
//!
//! Every kind of work has a list of what is to be done, which only reads, and a function that does it for some names
//! of that list, on connections of its own, each object with a deadline. One object that fails does not keep the
//! others from being done; the error at the end names those that failed. All of it is safe to repeat.

mod crew;
pub mod extensions;
pub mod indexes;
pub mod relations;
pub mod views;
pub mod warm;

pub use crew::{Effort, Outcome};
