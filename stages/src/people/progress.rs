//! Labels that are there, and labels that are needed.

/// Labels that are there, and labels that are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCount {
    pub done: usize,
    pub needed: usize,
}

impl LabelCount {
    pub fn is_enough(self) -> bool {
        self.done >= self.needed
    }
}

/// The middle number, or the mean of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        count if count % 2 == 1 => Some(numbers[middle]),
        _ => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}
