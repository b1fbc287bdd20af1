//! Criteria sheets on the ports of a stage: read before anything runs, they take the place of a parameter, so that only
//! what they say is in a key. Mistakes in one are told with its line.

use super::source::{Input, Source};
use crate::diagnostic::{Diagnostic, NamedFileLine, Span};
use crate::spec::{Node, NodeSpans, StageSpec, yaml};
use stages::stage::{Accepts, Kind};
use std::path::{Path, PathBuf};

/// A sheet that takes the place of a parameter.
pub struct SheetFile {
    pub parameter: &'static str,
    path: PathBuf,
    text: String,
    pub node: Node,
    /// The place of the reference to it in the pipeline file.
    span: Span,
}

/// The most bytes of a sheet.
const MOST: u64 = 1 << 20;

/// Takes the sheets out of the inputs of a stage.
pub fn take(stage: &StageSpec, kind: &Kind, inputs: &mut Vec<Input>, mistakes: &mut Vec<Diagnostic>) -> Vec<SheetFile> {
    let mut sheets = Vec::new();
    inputs.retain(|input| {
        let port = kind.port(&input.port).filter(|port| port.accepts == Accepts::Criteria);
        let Some(parameter) = port.and_then(|port| port.instead_of) else { return true };
        let typed = stage.from.iter().find(|from| from.port.value == input.port);
        let span = typed.and_then(|from| from.sources.first()).map_or(stage.name.span, |source| source.span);
        match &input.sources[..] {
            [Source::Path(path)] => sheets.extend(SheetFile::read(parameter, path, span, mistakes)),
            [Source::Stage { .. } | Source::File { .. }] => {
                let message = "a criteria sheet is read before anything runs";
                mistakes.push(Diagnostic::error(span, message).help("name a file that is there: `data/criteria.yaml`"));
            }
            // Another mistake has been told.
            _ => {}
        }
        false
    });
    sheets
}

impl SheetFile {
    fn read(parameter: &'static str, path: &Path, span: Span, mistakes: &mut Vec<Diagnostic>) -> Option<SheetFile> {
        let read = || -> anyhow::Result<String> { Ok(String::from_utf8(files::read_user(path, MOST)?)?) };
        let text = read().map_err(|error| {
            mistakes.push(Diagnostic::error(span, format!("read {}: {error:#}", path.display())));
        });
        let text = text.ok()?;
        let mut found = Vec::new();
        let node = yaml::parse(&text, 0, &mut found);
        let sheet = SheetFile { parameter, path: path.to_owned(), text, node: node?, span };
        let is_whole = found.is_empty();
        mistakes.extend(found.into_iter().map(|mistake| sheet.told(mistake)));
        is_whole.then_some(sheet)
    }

    /// The part of a value that is shown: where it begins on a later line, its key.
    pub fn shown(&self, place: NodeSpans) -> Span {
        let between = self.text.get(place.key.start..place.value.start).unwrap_or_default();
        if between.contains('\n') { place.key } else { place.value }
    }

    /// A mistake in the sheet, which the pipeline file names.
    pub fn told(&self, mistake: Diagnostic) -> Diagnostic {
        let place = mistake.span.unwrap_or_default();
        let beneath = Some(NamedFileLine::of(self.path.clone(), &self.text, place));
        Diagnostic { span: Some(self.span), beneath, ..mistake }
    }
}
