//! Confidence across the stages of a `for`: by how far they lie apart.

use super::super::check;
use super::super::statistics::{Inference, Spread};
use super::super::tree::{Arguments, Number};
use super::certainty::{Certainty, Limits, Question};
use super::members::members;
use super::nearest;
use super::quantity::quantity;
use super::view::{Gap, View};

/// The certainty of a comparison with a mean across stages, by Student's t over the stages; of two means by Welch's. The
/// other side is taken as it is. `None` for comparisons of anything else.
pub fn certainty(question: &Question, alpha: f64, view: View) -> Option<Result<Certainty, Gap>> {
    let [left, right] = [question.left, question.right].map(check::is_mean_across);
    if !left && !right {
        return None;
    }
    Some(weigh(question, alpha, view))
}

fn weigh(question: &Question, alpha: f64, view: View) -> Result<Certainty, Gap> {
    let Question { left, right, is_upwards, margin } = *question;
    let sides = [left, right].map(|number| spread(number, view));
    let [left, mut right] = match sides {
        [Ok(left), Ok(right)] => [left, right],
        [Err(gap), _] | [_, Err(gap)] => return Err(gap),
    };
    let margin = nearest::amount(margin, right.mean);
    right.mean += if is_upwards { margin } else { -margin };
    let difference = left.minus(right);
    if difference.has_no_error() {
        let reason = "the stages gave the same number, so that nothing is known of what another would give";
        return Err(Gap::Open(reason.to_owned()));
    }
    let Inference { lower, upper, p_above, p_below, form } = difference.inference(alpha);
    let (lower, upper, p_holds, p_fails) =
        if is_upwards { (lower, upper, p_above, p_below) } else { (-upper, -lower, p_below, p_above) };
    let stages = [question.left, question.right].map(|number| count(number, view)).into_iter().flatten();
    let stages = stages.map(|count| format!("{count} stages")).collect::<Vec<_>>().join(" against ");
    let ground = format!("{} between {stages}; the spread of prompts is not in it", form.name());
    Ok(Certainty { lower, upper, p_holds, p_fails, ground, limits: Limits::default() })
}

fn family(number: &Number) -> Option<usize> {
    if let Number::Call { arguments: Arguments::Members(_, family, _), .. } = number { Some(*family) } else { None }
}

fn count(number: &Number, view: View) -> Option<usize> {
    Some(view.leaves.families[family(number)?].members.len())
}

fn spread(number: &Number, view: View) -> Result<Spread, Gap> {
    let Some(family) = family(number) else { return Ok(Spread::exactly(quantity(number, view).value?)) };
    let members = members(family, view)?;
    Spread::of(members.all()?).ok_or_else(|| Gap::Open("a single stage has no spread".to_owned()))
}
