//! Counts of the work that a GPU is asked for, and measurements of what it makes of it.
//!
//! ```sh
//! cargo bench --bench gpu                        # kernels, uploads and reads; a word takes what has it in its name
//! cargo bench --bench gpu -- --kernels           # with the names of the kernels
//! cargo bench --bench gpu -- --measure           # times beside their predictions, in less than seven minutes
//! cargo bench --bench gpu -- --measure --sizes tiny --device wgpu    # all of it on a software driver
//! ```
//!
//! `pack.sh` puts what `--measure` needs into one folder, for a machine with a GPU and nothing else.

mod constants;
mod correct;
mod counted;
mod counts;
mod line;
mod options;
mod parent;
mod peer;
mod predict;
mod sections;
#[path = "../common/sizes.rs"]
mod sizes;
mod start;
mod table;
mod walls;
mod work;

use counts::{model, steps};
use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let options = match Options::of(&words) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match (&options.section, &options.table) {
        (Some(section), _) => sections::run(section, &options),
        (None, Some(path)) => print!("{}", table::of_file(path)),
        (None, None) if options.measures => parent::measure(&options),
        (None, None) => counted::print(&options),
    }
    ExitCode::SUCCESS
}
