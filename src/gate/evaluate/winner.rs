//! The winner's curse of a comparison: how much better the chosen checkpoint looks than it is, because it was chosen.

use super::super::statistics::{Contest, selection_bias};
use super::certainty::Question;
use super::linear::{Contrast, Values, contrast, linear, values};
use super::view::{Rivals, Subjects, View};
use std::collections::BTreeMap;

/// The luck in `left - right`, in the direction of the comparison. `None` for a candidate that was not the best of
/// several, and where the items of the others do not tell: where the choice was made by a number that is no mean over
/// items, where the comparison is none, or where the two are about different items.
pub fn luck(question: &Question, view: View) -> Option<f64> {
    let Rivals { best, is_lower_better, within, candidates } = view.subjects.rivals?;
    if view.chosen_among() < 2 {
        return None;
    }
    let none = BTreeMap::new();
    let (mut criteria, mut quantities) = (Vec::new(), Vec::new());
    let (mut ids, mut groups): (Option<Vec<String>>, Vec<usize>) = (None, Vec::new());
    for (_, candidate) in candidates {
        let alone = Subjects::of(candidate, None, &none);
        let by = View { leaves: &best.leaves, subjects: &alone };
        let subjects = Subjects { candidate, rivals: None, ..*view.subjects };
        let about = View { subjects: &subjects, ..view };
        let Some(Contrast { linear: difference, divisor: None }) = contrast(question, about).ok()? else {
            return None;
        };
        let criterion = values(&linear(&best.number, by)?, by).ok()?;
        let quantity = values(&difference, about).ok()?;
        let known = ids.get_or_insert_with(|| criterion.ids.clone());
        if criterion.ids != *known || quantity.ids != *known {
            return None;
        }
        let sign = if is_lower_better { -1.0 } else { 1.0 };
        criteria.push(criterion.numbers.iter().map(|number| sign * number).collect());
        let Values { numbers, .. } = quantity;
        let sign = if question.is_upwards { 1.0 } else { -1.0 };
        quantities.push(numbers.iter().map(|number| sign * number).collect());
        groups = criterion.groups;
    }
    selection_bias(&Contest { criteria: &criteria, quantities: &quantities, groups: &groups, within })
}
