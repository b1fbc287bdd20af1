//! `criteria`: criteria sheets to begin with, in Japanese and English.

use super::refusal::refused;
use super::terminal;
use anyhow::Result;
use stages::stage::did_you_mean;

/// The sheets that come with the program, each with what it is for.
pub const SHEETS: [(&str, &str, &str); 5] = [
    ("helpful", "helpful, honest, harmless", include_str!("../../pipelines/criteria/helpful.yaml")),
    (
        "reminiscence",
        "talking with an older person about memories",
        include_str!("../../pipelines/criteria/reminiscence.yaml"),
    ),
    ("support", "replies to customers", include_str!("../../pipelines/criteria/support.yaml")),
    ("summary", "summaries of a text", include_str!("../../pipelines/criteria/summary.yaml")),
    ("refusal", "refusing what should be refused", include_str!("../../pipelines/criteria/refusal.yaml")),
];

/// Prints a sheet, or the list of them.
pub fn criteria(name: Option<&str>) -> Result<u8> {
    let Some(name) = name else {
        let lines = SHEETS.iter().map(|(name, what, _)| format!("{name:14}{what}\n"));
        terminal::say(&lines.collect::<String>())?;
        return Ok(0);
    };
    let Some((_, _, text)) = SHEETS.iter().find(|(known, ..)| *known == name) else {
        let names = SHEETS.map(|(name, ..)| name);
        return Err(refused(format!("there is no sheet `{name}`: {}", did_you_mean(name, &names))));
    };
    terminal::pass_on(text.as_bytes())?;
    Ok(0)
}
