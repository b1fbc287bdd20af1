//! Stage kinds of RLHF and their computations. They do not depend on YAML, the DAG, the cache, gates or the report.
#![recursion_limit = "256"]

pub mod answers;
pub mod audit;
pub mod command;
pub mod curve;
pub mod device;
pub mod draw;
pub mod generate;
pub mod io;
pub mod judge;
pub mod kernel;
pub mod kinds;
pub mod model;
pub mod orphans;
pub mod people;
pub mod reward;
pub mod rl;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod stage;
pub mod tensor;
pub mod train;
pub mod work;
