//! A stream cut into blocks of whole lines, so that a file of any size is read in little memory.

use anyhow::{Context, Result, bail};
use std::io::Read;

/// The bytes that are read at a time. Enough rows for all cores.
const BLOCK: usize = 4 << 20;

/// The longest line; a longer one is no row, and would fill the memory.
const LONGEST: usize = 64 << 20;

/// Calls `each(first line's number, bytes)` with whole lines, until it returns false.
pub fn blocks(bytes: &mut dyn Read, mut each: impl FnMut(usize, &[u8]) -> Result<bool>) -> Result<()> {
    let mut block = vec![0; BLOCK];
    let mut filled = 0;
    let mut line = 1;
    loop {
        let is_end = fill(bytes, &mut block, &mut filled)?;
        let end = if is_end { filled } else { last_line_end(&block[..filled]) };
        if end == 0 && !is_end {
            if block.len() >= LONGEST {
                bail!("line {line} is longer than {} MiB", LONGEST >> 20);
            }
            block.resize(2 * block.len(), 0);
            continue;
        }
        if end > 0 && !each(line, &block[..end])? {
            return Ok(());
        }
        if is_end {
            return Ok(());
        }
        line += block[..end].iter().filter(|byte| **byte == b'\n').count();
        block.copy_within(end..filled, 0);
        filled -= end;
    }
}

/// Reads until the block is full; `true` at the end of the stream.
fn fill(bytes: &mut dyn Read, block: &mut [u8], filled: &mut usize) -> Result<bool> {
    while *filled < block.len() {
        match bytes.read(&mut block[*filled..]) {
            Ok(0) => return Ok(true),
            Ok(more) => *filled += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read on"),
        }
    }
    Ok(false)
}

fn last_line_end(block: &[u8]) -> usize {
    block.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_lines_with_their_numbers() {
        let long = "x".repeat(BLOCK + 10);
        let text = format!("a\nb\n{long}\nc\n{long}\nd");
        let mut seen = String::new();
        let mut starts = Vec::new();
        let all = |line: usize, bytes: &[u8]| {
            starts.push((line, bytes[0]));
            seen.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(true)
        };
        blocks(&mut text.as_bytes(), all).unwrap();
        assert_eq!(seen, text);
        assert_eq!(starts.first(), Some(&(1, b'a')));
        for (line, first) in starts {
            let expected = text.lines().nth(line - 1).unwrap().as_bytes()[0];
            assert_eq!(first, expected, "line {line}");
        }
    }
}
