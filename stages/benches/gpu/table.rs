//! The table at the end, from the lines alone: each number beside its prediction, and ours beside the peers'.

use super::line::Line;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The table of a file of lines, of which the last may be cut off.
pub fn of_file(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    of_lines(&text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Line>>())
}

pub fn of_lines(lines: &[Line]) -> String {
    let mut out = String::new();
    let class = lines.iter().find(|line| line.name == "device class");
    let _ = writeln!(out, "{}\n", class.map_or("no device was opened", |line| &line.note));
    out += "The predictions are for one H200.\n\n";
    out += "| section | kernels in | what | measured | predicted | measured ÷ predicted | remark |\n|---|---|---|---|---|---|---|\n";
    for line in lines {
        let value = line.value.map_or(String::new(), |value| with_unit(value, &line.unit));
        let predicted = line.predicted.map_or(String::new(), |value| with_unit(value, &line.unit));
        let ratio = line.value.zip(line.predicted).filter(|(_, predicted)| *predicted != 0.0);
        let ratio = ratio.map_or(String::new(), |(value, predicted)| short(value / predicted));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {value} | {predicted} | {ratio} | {} |",
            line.section,
            line.build,
            line.name,
            remark(line)
        );
    }
    out += &beside_peers(lines);
    out
}

/// A line as it is shown while the sections run.
pub fn in_words(line: &Line) -> String {
    let value = line.value.map_or(String::new(), |value| with_unit(value, &line.unit));
    let predicted =
        line.predicted.map_or(String::new(), |value| format!("(predicted {})", with_unit(value, &line.unit)));
    let words = [line.name.as_str(), &value, &predicted, &remark(line)].map(str::to_owned);
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn remark(line: &Line) -> String {
    let mark = |label: &str, text: &str| (!text.is_empty()).then(|| format!("{label}{text}"));
    let parts = [
        mark("FAILED: ", &line.failed),
        mark("left out: ", &line.dropped),
        mark("", &line.note),
        mark("prediction: ", &line.source),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    text.replace('|', "/").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The rates that a peer has as well. Half precision is f16 here and bf16 there.
fn beside_peers(lines: &[Line]) -> String {
    let is_rate = |line: &&Line| line.unit == "tokens/s" && line.value.is_some();
    let peers = lines.iter().filter(is_rate).filter(|line| line.section == "peer");
    let mut rows = String::new();
    for peer in peers {
        let name = peer.name.replace(" bf16 ", " f16 ");
        for ours in lines.iter().filter(is_rate).filter(|line| line.section != "peer" && line.name == name) {
            let rates = ours.value.zip(peer.value).expect("both are rates");
            let expected = ours.predicted.zip(peer.predicted).map_or(String::new(), |(ours, peer)| short(ours / peer));
            let _ = writeln!(
                rows,
                "| {} | {} | {} | {} | {} | {expected} |",
                peer.name,
                ours.build,
                with_unit(rates.0, ""),
                with_unit(rates.1, ""),
                short(rates.0 / rates.1)
            );
        }
    }
    match rows.is_empty() {
        true => "\nNothing was measured beside PyTorch.\n".to_owned(),
        false => format!(
            "\n| beside PyTorch | kernels in | ours, tokens/s | theirs | ours ÷ theirs | predicted |\n|---|---|---|---|---|---|\n{rows}"
        ),
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    [short(value).as_str(), unit].join(" ").trim().to_owned()
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}
