//! Values as text: numbers, sizes, times, contents, parameters.

use serde_json::Value;

/// A measured value with at most five digits: `0.412`, `12.35`, `2000`, `1.20e-5`; `NaN` if missing or not finite.
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "NaN".to_owned() };
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e7 {
        format!("{value:.0}")
    } else if !(1e-3..1e7).contains(&size) {
        format!("{value:.2e}")
    } else {
        // Four digits, but at least three decimal places below ten.
        let places = if size < 10.0 {
            3
        } else if size < 100.0 {
            2
        } else if size < 1000.0 {
            1
        } else {
            0
        };
        format!("{value:.places$}")
    }
}

/// A size: `512 B`, `1.5 MiB`; units are powers of 1024.
pub fn bytes(count: u64) -> String {
    let mut amount = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// A time of the journal without fractions of a second: `2026-11-21 23:15:00 UTC`; other text is returned unchanged.
pub fn moment(rfc_3339: &str) -> String {
    let parsed = rfc_3339.parse::<jiff::Timestamp>();
    parsed.map_or_else(|_| rfc_3339.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A length of time: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    // Rounded before it is split, so that 59.96 s is never `60.0 s` and 119.7 s never `1 min 60 s`.
    if seconds < 9.95 {
        // An empty sum is -0.0, which `max` may keep.
        let seconds = if seconds > 0.0 { seconds } else { 0.0 };
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A content id cut to twelve digits, enough for a reader to tell contents apart: `tree:0123456789ab`.
pub fn short(content: &str) -> String {
    match content.split_once(':') {
        Some((sort, digest)) => format!("{sort}:{}", digest.get(..12).unwrap_or(digest)),
        None => content.to_owned(),
    }
}

/// Parameters as `(dotted path, value)`.
pub fn parameters(value: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    flatten("", value, &mut lines);
    lines
}

fn flatten(under: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if under.is_empty() { name.clone() } else { format!("{under}.{name}") };
                flatten(&path, value, lines);
            }
        }
        Value::String(text) => lines.push((under.to_owned(), text.clone())),
        Value::Object(_) if under.is_empty() => {}
        other => lines.push((under.to_owned(), other.to_string())),
    }
}

/// The names of the control characters, in their order.
const CONTROLS: [&str; 32] = [
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI", "DLE",
    "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
];

/// The visible sign of a character that has none, or that changes the direction of what follows.
pub fn mark(character: char) -> Option<String> {
    let code = character as u32;
    match character {
        '\n' | '\t' => None,
        // Their pictures (U+2400 and on) are missing from many fonts.
        '\0'..='\u{1f}' => Some(CONTROLS[code as usize].to_owned()),
        '\u{7f}' => Some("DEL".to_owned()),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}'
        | '\u{e0000}'..='\u{e007f}'
        | '\u{f0000}'..='\u{10ffff}' => Some(format!("U+{code:04X}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn numbers_show_what_matters_of_them() {
        let values = [0.0, 2000.0, -0.994, 0.41234, 12.3456, 123.456, 12345.6, 0.00012, -3.4e-7, 1.0e9, f64::NAN];
        let shown: Vec<String> = values.iter().map(|value| number(Some(*value))).chain([number(None)]).collect();
        expect!["0 2000 -0.994 0.412 12.35 123.5 12346 1.20e-4 -3.40e-7 1.00e9 NaN NaN"].assert_eq(&shown.join(" "));
    }

    #[test]
    fn durations_never_show_sixty_of_anything() {
        let shown: Vec<String> = [-0.0, 0.04, 9.94, 9.96, 59.4, 59.96, 119.7, 3599.9, 7620.0].map(duration).to_vec();
        expect!["0.0 s, 0.0 s, 9.9 s, 10 s, 59 s, 1 min 00 s, 2 min 00 s, 1 h 00 min, 2 h 07 min"]
            .assert_eq(&shown.join(", "));
    }
}
