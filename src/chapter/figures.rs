//! The figures of the page as files of their own, for papers: each has its size and its colours in it.

use super::charts::{self, Figure};
use super::facts::Facts;
use super::page::STYLE;
use super::text::place;
use super::words::Language;
use super::{curves, graph, reward};

/// A drawing with the name of its file.
pub struct FigureFile {
    pub name: String,
    pub svg: String,
}

/// Every figure of a run: its graph, the curves of its stages, its reward models.
pub fn files(facts: &Facts, language: Language) -> Vec<FigureFile> {
    let style = style();
    let graph = (!facts.run.stages.is_empty()).then(|| FigureFile {
        name: "stages.svg".to_owned(),
        svg: standalone(&graph::plot(facts, language).into_string(), "", &style),
    });
    // The names of files are those of programs, whatever the language of the titles.
    let codes = curves::figures(facts, Language::English).into_iter().chain(reward::figures(facts, Language::English));
    let said = curves::figures(facts, language).into_iter().chain(reward::figures(facts, language));
    let size = format!(" width=\"{}\" height=\"{}\"", charts::SIZE[0], charts::SIZE[1]);
    let drawn = codes.zip(said).map(|((stage, code), (_, figure)): ((String, Figure), (String, Figure))| FigureFile {
        name: format!("{}.{}.svg", file_name(place(&stage)), file_name(&code.name)),
        svg: standalone(&charts::plot(&figure).into_string(), &size, &style),
    });
    graph.into_iter().chain(drawn).collect()
}

/// A text as the name of a file: whatever is no letter or digit of ASCII stands as `_`.
pub fn file_name(text: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-_.@".contains(letter) { letter } else { '_' };
    let name: String = text.chars().map(plain).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

/// A drawing of the page as a document, which needs no style sheet but its own.
fn standalone(svg: &str, size: &str, style: &str) -> String {
    let own = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\"{size} ");
    let document = svg.replacen("<svg ", &own, 1);
    document.replacen('>', &format!("><style>{style}</style>"), 1) + "\n"
}

/// The rules of the style sheet that are about drawings, with the colours of light paper.
fn style() -> String {
    let colours: Vec<(&str, &str)> = STYLE
        .lines()
        .take_while(|line| !line.starts_with('}'))
        .filter_map(|line| line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": "))
        .collect();
    // Every second part of the sheet is between two marks.
    let rules = STYLE.split("/*drawings*/").skip(1).step_by(2).flat_map(str::lines).filter(|line| !line.is_empty());
    let resolved = rules.map(|rule| {
        colours.iter().fold(rule.to_owned(), |rule, (name, colour)| rule.replace(&format!("var(--{name})"), colour))
    });
    resolved.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_its_own_has_every_colour_in_it() {
        let style = style();
        assert!(style.contains(".line0 { stroke: #2b5fb8;") && style.contains(".dag rect { fill: #fff;"), "{style}");
        assert!(!style.contains("var(") && style.lines().count() > 25, "{style}");
        let alone = standalone("<svg class=\"plot\"><title>a > b</title></svg>", " width=\"1\"", "x{}");
        assert_eq!(
            alone,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" width=\"1\" class=\"plot\">\
             <style>x{}</style><title>a > b</title></svg>\n"
        );
    }

    #[test]
    fn whatever_a_stage_is_called_its_file_has_a_plain_name() {
        assert_eq!(["ppo_1@20", "../x", "σ(|Δ|)", "a b"].map(file_name), ["ppo_1@20", "_.._x", "______", "a_b"]);
    }
}
