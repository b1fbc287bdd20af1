//! The level that a claim is held to: all that the rule allows, or of a table that grows the part for this look.

use super::super::show;
use super::super::statistics::GrowingTable;
use super::super::tree::{Confidence, DeclaredGrowth, Leaf, RecordOrigin, Who};
use super::certainty::{Bar, Question};
use super::view::{Gap, View};

/// The bar for a comparison whose confidence, divided by `divisor`, is its level.
pub fn bar(question: &Question, confidence: &Confidence, divisor: f64, view: View) -> Result<Bar, Gap> {
    let level = confidence.level() / divisor;
    let Some(DeclaredGrowth::UpTo(maximum)) = confidence.growth else {
        return Ok(Bar { alpha: level, divisor, growth: None });
    };
    let (items, maximum) = (rows(question, view)?, maximum as usize);
    let looks = view.subjects.look.map_or(&[][..], |look| &look.earlier);
    // A look at as many items as before is that look again.
    let earlier: Vec<usize> = looks.iter().copied().filter(|count| *count < items).collect();
    if let Some(more) = looks.iter().max().filter(|more| **more > items && !looks.contains(&items)) {
        return Err(Gap::Open(format!("{items} items now and {more} at an earlier look: this table shrinks")));
    }
    if earlier.last().is_some_and(|before| *before >= maximum) {
        return Err(Gap::Open(format!("the {maximum} items are spent; name fresh prompts")));
    }
    let table = GrowingTable { earlier: &earlier, items, maximum };
    // How the p-values of two looks depend on each other is known of means and shares, and not of bets.
    let alpha = if confidence.assumes_bounds { table.newly_spent(level) } else { table.nominal_level(level) };
    let spent = match 100.0 * table.spent(level) {
        spent if spent < 1e-3 => "less than 0.001".to_owned(),
        spent => show::number(spent, 2),
    };
    let growth = format!(
        "look {} at a growing table: {items} of at most {maximum} items, which allow {spent} points of the {} % by now",
        earlier.len() + 1,
        show::number(100.0 * level, 4)
    );
    Ok(Bar { alpha, divisor, growth: Some(growth) })
}

/// The number of rows of the candidate's table, or of the only one that is read.
fn rows(question: &Question, view: View) -> Result<usize, Gap> {
    let mut numbers = vec![question.right, question.left];
    while let Some(number) = numbers.pop() {
        numbers.extend(number.operands());
        let (who, origin) = match number.leaf() {
            Some(Leaf::Name(name)) => match &view.name(name).meaning {
                Some(meaning) => (&view.name(name).who, meaning.origin),
                None => continue,
            },
            Some(Leaf::Other(other)) => match view.other(other).judge {
                Some(judge) => (&Who::Candidate, RecordOrigin::Judge(judge)),
                None => continue,
            },
            None => continue,
        };
        let items = view.items(&Who::Candidate, origin).or_else(|_| view.items(who, origin))?;
        return Ok(items.rows.len());
    }
    Err(Gap::Error("nothing here was measured item by item".to_owned()))
}
