//! `completions`: the script with which a shell completes the command line, on stdout.

use super::arguments::CommandLine;
use super::terminal;
use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

pub fn print(shell: Shell) -> Result<u8> {
    let whole = CommandLine::command();
    // The script would also offer hidden verbs.
    let shown = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let mut command = Command::new("pipeline").version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    command = command.args(whole.get_arguments().cloned()).subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "pipeline", &mut script);
    terminal::say(&String::from_utf8(script).expect("names of verbs and options are text"))?;
    Ok(0)
}
