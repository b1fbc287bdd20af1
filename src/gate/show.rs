//! Numbers as an explanation prints them: short, but two different numbers of one sentence never look the same.

/// The word for a value that is not finite.
pub fn odd(value: f64) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "infinite",
        _ => "minus infinite",
    }
}

/// The number of significant digits that these numbers need in one sentence: 4, unless two of them would look the same.
pub fn digits(numbers: &[f64]) -> usize {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Rounding keeps the order, so only neighbours can become equal.
    let tells_apart = |digits: &usize| {
        sorted.windows(2).all(|two| two[0] == two[1] || number(two[0], *digits) != number(two[1], *digits))
    };
    (4..EXACT).find(tells_apart).unwrap_or(EXACT)
}

/// With this many digits a number is written in the shortest way that no other number shares.
const EXACT: usize = 16;

/// The number with that many significant digits, without zeros at the end. Whole numbers and whole parts are never
/// rounded.
pub fn number(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return odd(value).to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&exponent) {
        let scientific = if digits < EXACT { format!("{value:.*e}", digits - 1) } else { format!("{value:e}") };
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return format!("{}e{power}", without_zeros(mantissa));
    }
    if digits >= EXACT {
        return value.to_string();
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(numbers: &[f64]) -> String {
        let digits = digits(numbers);
        numbers.iter().map(|value| number(*value, digits)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn four_significant_digits_are_enough_as_a_rule() {
        assert_eq!(together(&[0.412345, 0.1, -0.98765, 2.0, 1234567.0, 1234.56]), "0.4123 0.1 -0.9877 2 1234567 1235");
        assert_eq!(together(&[0.3 - 0.1, 1e-5, 1.25e-9, -0.0, 6.02e23]), "0.2 0.00001 1.25e-9 0 6.02e23");
    }

    #[test]
    fn different_numbers_never_look_the_same() {
        assert_eq!(together(&[0.99996, 1.0]), "0.99996 1");
        assert_eq!(together(&[0.1 + 0.2, 0.3]), "0.30000000000000004 0.3");
        assert_eq!(together(&[12345.67, 12346.0]), "12345.7 12346");
        assert_eq!(together(&[0.123451, 0.123449, 0.12345]), "0.123451 0.123449 0.12345");
    }
}
