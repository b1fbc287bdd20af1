//! Text on a screen of some cells; pure. A Japanese character takes two.

use unicode_width::UnicodeWidthChar;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenSize {
    pub rows: usize,
    pub columns: usize,
}

/// The parts of a screen: what stays at its top, what may be longer than it, and what stays at its bottom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScreenText {
    pub head: Vec<String>,
    pub body: Vec<String>,
    pub foot: Vec<String>,
}

/// The part of a body that is on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct ScreenLines {
    pub lines: Vec<String>,
    /// The first line of the body that is seen, and the number of those that are seen at once.
    pub offset: usize,
    pub seen: usize,
}

/// Between two columns.
const GAP: usize = 3;

fn width(text: &str) -> usize {
    text.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// Lines of at most so many cells, broken at spaces where there are any.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    text.split('\n').flat_map(|line| wrapped_line(&line.replace('\t', "    "), columns.max(2))).collect()
}

fn wrapped_line(text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for letter in text.chars() {
        let cells = letter.width().unwrap_or(0);
        if used + cells > columns {
            // A word goes down as a whole, if the line has another one before it.
            let rest = match line.rfind(' ').filter(|_| letter != ' ' && cells < 2) {
                Some(space) if !line[..space].trim().is_empty() => line.split_off(space + 1),
                _ => String::new(),
            };
            lines.push(std::mem::replace(&mut line, rest).trim_end().to_owned());
            used = width(&line);
            if letter == ' ' && line.is_empty() {
                continue;
            }
        }
        line.push(letter);
        used += cells;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Two texts side by side.
pub fn beside(left: &str, right: &str, columns: usize) -> Vec<String> {
    let half = columns.saturating_sub(GAP) / 2;
    let (left, right) = (wrapped(left, half), wrapped(right, half));
    let line = |at: usize| {
        let [left, right] = [left.get(at), right.get(at)].map(|line| line.map_or("", String::as_str));
        let filled = format!("{left}{}", " ".repeat(half - width(left)));
        format!("{filled} │ {right}").trim_end().to_owned()
    };
    (0..left.len().max(right.len())).map(line).collect()
}

/// The screen with as much of the body as there is room for, from a line on; where more is below or above, a line says so.
pub fn fitted(text: &ScreenText, size: ScreenSize, offset: usize) -> ScreenLines {
    let room = size.rows.saturating_sub(text.head.len() + text.foot.len()).max(1);
    if text.body.len() <= room {
        let lines = [&text.head[..], &text.body, &vec![String::new(); room - text.body.len()], &text.foot].concat();
        return ScreenLines { lines, offset: 0, seen: room };
    }
    let seen = (room - 1).max(1);
    let offset = offset.min(text.body.len() - seen);
    let more = format!("── {}–{} / {} ──", offset + 1, offset + seen, text.body.len());
    let lines = [&text.head[..], &text.body[offset..offset + seen], &[more], &text.foot].concat();
    ScreenLines { lines, offset, seen }
}

/// The bytes that draw a screen in the place of the one before.
pub fn drawn(lines: &[String], has_color: bool) -> String {
    let mut text = "\u{1b}[H\u{1b}[2J".to_owned();
    for (number, line) in lines.iter().enumerate() {
        let [on, off] = if number == 0 && has_color { ["\u{1b}[1m", "\u{1b}[0m"] } else { ["", ""] };
        let end = if number + 1 < lines.len() { "\r\n" } else { "" };
        text += &format!("{on}{line}{off}{end}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_by_cells_and_words_stay_whole() {
        assert_eq!(wrapped("花火、すてきですね。", 8), ["花火、す", "てきです", "ね。"]);
        assert_eq!(wrapped("It warms my heart", 9), ["It warms", "my heart"]);
        assert_eq!(wrapped("a\n\nunbreakable", 5), ["a", "", "unbre", "akabl", "e"]);
        assert_eq!(wrapped("が\u{3099}が\u{3099}", 4), ["が\u{3099}が\u{3099}"]);
    }

    #[test]
    fn two_answers_stand_side_by_side_within_the_screen() {
        let lines = beside("短い", "これはずっと長い答えで、何行にもなります。", 30);
        assert_eq!(lines[0], "短い          │ これはずっと");
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line) <= 30), "{lines:?}");
    }

    #[test]
    fn what_does_not_fit_is_seen_by_and_by_between_head_and_foot() {
        let lines = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let text = ScreenText { head: lines(&["h"]), body: lines(&["1", "2", "3", "4"]), foot: lines(&["f"]) };
        let size = |rows| ScreenSize { rows, columns: 80 };
        assert_eq!(fitted(&text, size(7), 9).lines, ["h", "1", "2", "3", "4", "", "f"]);
        assert_eq!(fitted(&text, size(5), 1).lines, ["h", "2", "3", "── 2–3 / 4 ──", "f"]);
        assert_eq!(fitted(&text, size(5), 9).offset, 2);
    }
}
