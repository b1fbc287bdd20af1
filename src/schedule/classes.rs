//! Measurements of several device classes. Their last bits differ, and would count as changed answers: what is compared
//! is measured again on one class where the store has it of several.

use super::lookup::{Lookup, Step, all};
use super::measure::{self, Judge};
use super::state::Measurement;
use crate::plan::ArtifactName;
use std::collections::BTreeSet;

/// The device classes of the parts of a measurement; scores by a file of words have none.
type Classes = BTreeSet<String>;

/// The measurements of some models by one judge, which will be compared with each other: all of one class.
pub fn alike(lookup: &mut Lookup, judge: &Judge, measured: Vec<(ArtifactName, Measurement)>) -> Step<Vec<Measurement>> {
    let of = |lookup: &mut Lookup, (_, measurement): &(ArtifactName, Measurement)| -> Step<Classes> {
        Ok(all(measurement.keys.iter().map(|key| lookup.class(*key)))?.into_iter().flatten().collect())
    };
    let classes: Vec<Classes> = all(measured.iter().map(|one| of(lookup, one)))?;
    let known: Classes = classes.iter().flatten().cloned().collect();
    if known.len() < 2 {
        return Ok(measured.into_iter().map(|(_, measurement)| measurement).collect());
    }
    let is_of = |classes: &Classes, class: &str| classes.iter().all(|own| own == class);
    // 1. A class on which all others were measured again before.
    let mut on = None;
    for class in &known {
        let others = measured.iter().zip(&classes).filter(|(_, own)| !is_of(own, class));
        let there = others.map(|((_, measurement), _)| {
            let key = measure::first_key(lookup, judge, &measurement.model, class)?;
            Ok(lookup.class(key)?.as_ref() == Some(class))
        });
        let is_there = all(there)?.into_iter().all(|is_there| is_there);
        on = on.or_else(|| is_there.then(|| class.clone()));
    }
    // 2. That of the device which measures in this run.
    let here = || {
        let here = measured.iter().zip(&classes).find(|((_, one), own)| one.is_executed && own.len() == 1);
        here.and_then(|(_, own)| own.first().cloned())
    };
    // 3. Nothing was measured in this run: everything is measured again, wherever it runs.
    let anew = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", or ");
    let on = on.or_else(here).unwrap_or_else(anew);
    all(measured.into_iter().zip(&classes).map(|((label, measurement), own)| match is_of(own, &on) {
        true => Ok(measurement),
        false => measure::measure(lookup, judge, &measurement.model, &label, Some(&on)),
    }))
}
