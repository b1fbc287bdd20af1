//! `prompt_blocks`: the prompts in blocks of rows, each a candidate. Where a block ends is told by the prompts themselves, so
//! that rows which are added, inserted or taken away leave all other blocks as they are, with the draws that were made of them
//! (a row without an `id` is called by its number, so one that is inserted names all behind it anew).

use crate::answers::drawn;
use crate::io::{self, Io};
use crate::stage::{Accepts, Call, Gives, Kind, ParameterMistake, Parameters, Port, Work};
use anyhow::Result;
use formats::data::{self, DataRows, Question, RowFilter};
use formats::dialogue::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const KIND: Kind = Kind {
    name: "prompt_blocks",
    doc: "prompts in blocks of rows",
    ports: &[Port::one("prompts", Accepts::Data(DataRows::Prompts), "rows with a `prompt`")],
    gives: Gives::Any,
    computes: false,
    shares_worker: true,
    reads_rows: true,
    ..Kind::of::<Blocking>(Work::Run(run))
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Blocking {}

impl Parameters for Blocking {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

/// The file of a block.
const ROWS: &str = "prompts.jsonl";
/// The fewest and the most rows of a block, but for the last one and for rows of one prompt, which stay together.
const FEWEST: usize = 64;
const MOST: usize = 256;
/// From the fewest on, one in so many rows ends a block.
const ENDS: u64 = 64;

/// A prompt as the draws read it.
#[derive(Serialize)]
struct BlockRow<'a> {
    id: &'a str,
    prompt: &'a Prompt,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subset: Option<&'a str>,
}

fn run(_: &Call, io: &mut Io) -> Result<()> {
    let mut filter = RowFilter::new(io.may_skip());
    let prompts = data::prompts(io.data("prompts")?, &mut filter)?;
    filter.take_remarks().into_iter().for_each(|remark| io.remark(remark));
    for (number, block) in blocks(&prompts).iter().enumerate() {
        let row = |place: &usize| {
            let Question { id, prompt, group, subset, .. } = &prompts[*place];
            BlockRow { id, prompt, prompt_group: group.as_deref(), subset: subset.as_deref() }
        };
        let rows: Vec<BlockRow> = block.iter().map(row).collect();
        io::write_rows(&io.candidate_dir(number as u64)?.join(ROWS), &rows)?;
        io.candidate(number as u64, &filter.metrics())?;
    }
    Ok(())
}

/// The places of the prompts of each block. Rows of one prompt are in the block of the first, since draws count them.
fn blocks(prompts: &[Question]) -> Vec<Vec<usize>> {
    let mut blocks: Vec<Vec<usize>> = vec![Vec::new()];
    let names = drawn::names(prompts);
    let mut known: BTreeMap<&Prompt, usize> = BTreeMap::new();
    let mut different = 0;
    for (place, question) in prompts.iter().enumerate() {
        let last = blocks.len() - 1;
        let block = *known.entry(&question.prompt).or_insert_with(|| {
            different += 1;
            last
        });
        blocks[block].push(place);
        let ends = different >= MOST || (different >= FEWEST && names[place].is_multiple_of(ENDS));
        if block == last && ends {
            blocks.push(Vec::new());
            different = 0;
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn question(text: &str) -> Question {
        let prompt = Prompt::Text(text.to_owned());
        Question { id: text.to_owned(), has_written_id: true, prompt, group: None, subset: None, weight: 1.0 }
    }

    /// The texts of each block.
    fn of(prompts: &[Question]) -> BTreeSet<Vec<&str>> {
        let texts = |block: &Vec<usize>| block.iter().map(|place| prompts[*place].id.as_str()).collect();
        blocks(prompts).iter().map(texts).collect()
    }

    #[test]
    fn more_rows_leave_most_blocks_as_they_are_wherever_they_stand() {
        let prompts: Vec<Question> = (0..2000).map(|number| question(&format!("prompt {number}"))).collect();
        let before = of(&prompts);
        let sizes = || before.iter().map(Vec::len);
        assert!(sizes().sum::<usize>() == 2000 && sizes().all(|size| size <= MOST), "{before:?}");
        assert!(before.len() > 8, "{}", before.len());
        // Behind the rows of another length, the ends of blocks are found again after a few.
        for (at, most) in [(0, 4), (700, 4), (2000, 1)] {
            let mut more = prompts.clone();
            more.splice(at..at, (0..40).map(|number| question(&format!("more {number}"))));
            let changed = before.difference(&of(&more)).count();
            assert!(changed <= most, "{changed} of {} at {at}", before.len());
        }
    }

    #[test]
    fn rows_of_one_prompt_stay_together() {
        let mut prompts: Vec<Question> = (0..600).map(|number| question(&format!("prompt {number}"))).collect();
        prompts.push(question("prompt 3"));
        let found = blocks(&prompts);
        assert!(found.len() > 2 && found[0].contains(&3) && found[0].last() == Some(&600), "{found:?}");
    }
}
