//! What a server does without being asked. Each worker calls [`crate::app`]; any number of servers may run them over one
//! database, and each may be killed at any point.
//!
//! - [`due`]: writes down what time has done to accounts that nobody touches
//! - [`retention`]: forgets requests that are older than 30 days
//! - [`usage_rollups`]: keeps sums of usage up with what was recorded
//! - [`run`]: starts and stops them

pub mod due;
pub mod retention;
mod run;
pub mod usage_rollups;

pub use run::{Workers, WorkersConfig};
