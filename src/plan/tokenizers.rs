//! Tokenizers: a model that reads the tokens of another one must have the same tokenizer. Each model is followed back
//! through the stages to the directory that its tokenizer comes from, so that a reward model which no policy can use is
//! refused before both were trained.

use super::draft::Draft;
use super::gates::Gate;
use super::graph::StageId;
use super::source::{Input, Source};
use crate::diagnostic::Diagnostic;
use anyhow::Result;
use formats::config::Config;
use formats::describe;
use formats::directory::ModelFiles;
use formats::tokenizer::{Tokenizer, difference};
use formats::unreadable;
use stages::stage::{Gives, TokenizerSource, Work};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tokenizer of a model, as far as it is known before anything runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum TokenizerOrigin {
    Directory(PathBuf),
    /// A stage makes a new one.
    New(StageId),
}

/// The next step on the way back from a stage to its tokenizer.
pub enum StepBack<'a> {
    To(&'a Source),
    /// The stage makes a new one.
    New,
    Unknown,
}

/// One step back: the source of the model whose tokenizer a stage works with.
pub fn step_back<'a>(draft: &'a Draft) -> StepBack<'a> {
    let source = |port: &str| draft.inputs.iter().find(|input| input.port == port)?.sources.first();
    match draft.kind.map_or(TokenizerSource::Unknown, |kind| kind.tokenizer) {
        TokenizerSource::Port(port) => source(port).map_or(StepBack::Unknown, StepBack::To),
        TokenizerSource::New { unless, .. } => source(unless).map_or(StepBack::New, StepBack::To),
        TokenizerSource::Unknown => StepBack::Unknown,
    }
}

/// Reports models that would read tokens of another tokenizer.
pub fn check(drafts: &[Draft], gates: &[Option<Box<Gate>>], mistakes: &mut Vec<Diagnostic>) {
    let mut check = TokenizerCheck { drafts, origins: vec![None; drafts.len()], compared: BTreeMap::new() };
    let mut judged: Vec<Vec<StageId>> = vec![Vec::new(); drafts.len()];
    for (stage, gate) in gates.iter().enumerate() {
        gate.iter().flat_map(|gate| &gate.judges).for_each(|judge| judged[*judge].push(stage));
    }
    for (id, draft) in drafts.iter().enumerate() {
        let Some(kind) = draft.kind else { continue };
        for (at, input) in draft.inputs.iter().enumerate() {
            let Some(port) = kind.port(&input.port) else { continue };
            let Some(of) = port.tokens_of else { continue };
            // A port that may have another tokenizer: the first model on it has the same where the parameters need that.
            let readers: Vec<(usize, &Source)> = match port.tokens_if {
                None => input.sources.iter().enumerate().collect(),
                Some(is_needed) => {
                    let parameters = draft.parameters.as_ref().map(|parameters| parameters.value());
                    if !parameters.is_some_and(|parameters| is_needed(&parameters)) {
                        continue;
                    }
                    let first = input.sources.iter().enumerate().find(|(_, source)| check.may_be_model(source));
                    // A source that was refused has been reported, and may have been meant for it.
                    let typed = draft.spec.from.get(at).map_or(0, |from| from.sources.len());
                    if first.is_none() && input.sources.len() == typed {
                        let message = format!("the critic starts from a reward model, and none is on `{}`", input.port);
                        let span = draft.spec.from.get(at).map_or(draft.spec.name.span, |from| from.port.span);
                        mistakes.push(Diagnostic::error(span, message).help(WITHOUT));
                    }
                    first.into_iter().collect()
                }
            };
            let own = draft.inputs.iter().find(|input| input.port == of).and_then(|input| input.sources.first());
            let is_measured = matches!(kind.work, Work::Measure(measure) if measure.port == of);
            let candidates = judged[id].iter().filter(|_| is_measured);
            let candidates: Vec<Source> =
                candidates.map(|stage| Source::Stage { stage: *stage, pin: super::Pin::Open }).collect();
            for (place, reader) in readers {
                // The models whose tokens it reads: that of the other port, and the candidates that the stage judges, for
                // which the first of several sources counts.
                let judged = if place == 0 { &candidates[..] } else { &[] };
                let mut writers = own.into_iter().chain(judged);
                if let Some((message, mut help)) = writers.find_map(|writer| check.mistake(reader, writer)) {
                    if port.tokens_if.is_some() {
                        help = format!("{help}; or, without a critic that starts from it: {WITHOUT}");
                    }
                    let spec = draft.spec.from.get(at);
                    let span = spec.and_then(|from| Some(from.sources.get(place)?.span));
                    mistakes.push(Diagnostic::error(span.unwrap_or(draft.spec.name.span), message).help(help));
                }
            }
        }
    }
}

/// The ways to do without a reward model that reads the tokens of the policy.
const WITHOUT: &str =
    "`with: {critic: zero}` takes a critic of zeros on the policy's own base, `advantage: rloo` and the like none";

/// Everything that was found out, so that no stage is followed and no directory is read twice.
struct TokenizerCheck<'a> {
    drafts: &'a [Draft<'a>],
    /// By stage: the outer `None` until it was looked for.
    origins: Vec<Option<Option<TokenizerOrigin>>>,
    compared: BTreeMap<(TokenizerOrigin, TokenizerOrigin), Option<Fault>>,
}

/// A fault of two tokenizers.
#[derive(Clone)]
enum Fault {
    /// The sentence has `{reader}` and `{writer}` in the places of their names.
    Differ(String),
    Unreadable(String),
}

impl TokenizerCheck<'_> {
    /// The message and the help where `reader` cannot read the tokens of `writer`.
    fn mistake(&mut self, reader: &Source, writer: &Source) -> Option<(String, String)> {
        let (theirs, ours) = (self.origin(reader)?, self.origin(writer)?);
        let fault = match self.compared.get(&(theirs.clone(), ours.clone())) {
            Some(known) => known.clone(),
            None => {
                let found = self.compare(&theirs, &ours);
                self.compared.insert((theirs.clone(), ours.clone()), found.clone());
                found
            }
        };
        let [reader_name, writer_name] = [reader, writer].map(|source| self.name(source));
        let from = [(reader, &theirs), (writer, &ours)].into_iter().filter_map(|(source, origin)| {
            let (name, stage) = (self.name(source), source.stage()?);
            Some(match origin {
                TokenizerOrigin::Directory(path) => format!("`{name}` has the tokenizer of {}", path.display()),
                TokenizerOrigin::New(maker) if *maker == stage => format!("`{name}` makes one of its own"),
                TokenizerOrigin::New(maker) => {
                    format!("`{name}` has the tokenizer that `{}` makes", self.stage(*maker))
                }
            })
        });
        let help = from.chain(["connect models of the same base".to_owned()]).collect::<Vec<_>>().join("; ");
        Some(match fault? {
            Fault::Unreadable(message) => (message, help),
            Fault::Differ(how) => {
                let how = how.replace("{reader}", &reader_name).replace("{writer}", &writer_name);
                let message = format!(
                    "`{reader_name}` cannot read the tokens of `{writer_name}`, since its tokenizer is another one: {how}"
                );
                (message, help)
            }
        })
    }

    /// Whether a source can be a model, as far as is known before anything runs.
    fn may_be_model(&self, source: &Source) -> bool {
        match source {
            Source::Path(path) => !path.is_file(),
            Source::Stage { stage, .. } => self.drafts[*stage].kind.is_none_or(|kind| kind.gives != Gives::Scorer),
            Source::File { .. } => false,
        }
    }

    fn name(&self, source: &Source) -> String {
        match source {
            Source::Stage { stage, .. } | Source::File { stage, .. } => self.stage(*stage).to_owned(),
            Source::Path(path) => path.display().to_string(),
        }
    }

    fn stage(&self, id: StageId) -> &str {
        &self.drafts[id].spec.name.value
    }

    /// The tokenizer that a source has. `None`: it is not known before something has run, or the source has none.
    fn origin(&mut self, source: &Source) -> Option<TokenizerOrigin> {
        let mut way = Vec::new();
        let mut here = source;
        let origin = loop {
            let stage = match here {
                // A model of a hub that is not here yet is known by its name alone.
                Source::Path(path) => break path.is_dir().then(|| TokenizerOrigin::Directory(path.clone())),
                Source::File { .. } => break None,
                Source::Stage { stage, .. } => *stage,
            };
            // A circle is reported elsewhere.
            if way.len() == self.drafts.len() {
                break None;
            }
            if let Some(known) = &self.origins[stage] {
                break known.clone();
            }
            way.push(stage);
            match step_back(&self.drafts[stage]) {
                StepBack::To(source) => here = source,
                StepBack::New => break Some(TokenizerOrigin::New(stage)),
                StepBack::Unknown => break None,
            }
        };
        way.into_iter().for_each(|stage| self.origins[stage] = Some(origin.clone()));
        origin
    }

    fn compare(&self, reader: &TokenizerOrigin, writer: &TokenizerOrigin) -> Option<Fault> {
        match (reader, writer) {
            _ if reader == writer => None,
            (TokenizerOrigin::Directory(reader), TokenizerOrigin::Directory(writer)) => of_directories(reader, writer),
            (TokenizerOrigin::New(reader), TokenizerOrigin::New(writer)) => self.of_new_ones(*reader, *writer),
            (TokenizerOrigin::Directory(directory), TokenizerOrigin::New(stage)) => {
                self.of_new_one(*stage, directory, "{reader}")
            }
            (TokenizerOrigin::New(stage), TokenizerOrigin::Directory(directory)) => {
                self.of_new_one(*stage, directory, "{writer}")
            }
        }
    }

    /// Two stages make the same tokenizer of the same data with the same size.
    fn of_new_ones(&self, reader: StageId, writer: StageId) -> Option<Fault> {
        let made_of = |id: StageId| -> (Option<&Input>, Option<serde_json::Value>) {
            let draft = &self.drafts[id];
            let Some(TokenizerSource::New { data, .. }) = draft.kind.map(|kind| kind.tokenizer) else {
                return (None, None);
            };
            (draft.inputs.iter().find(|input| input.port == data), self.size(id))
        };
        (made_of(reader) != made_of(writer)).then(|| {
            let stages = [reader, writer].map(|stage| self.stage(stage));
            Fault::Differ(format!(
                "`{}` and `{}` make different ones, of other data or of another size",
                stages[0], stages[1]
            ))
        })
    }

    /// A new tokenizer and one that is there: an earlier run may have made it.
    fn of_new_one(&self, stage: StageId, directory: &Path, given: &str) -> Option<Fault> {
        let size = self.size(stage)?.as_u64()? as usize;
        match opened(directory) {
            Ok((_, tokenizer)) if tokenizer.may_be_made_here(size) => None,
            Ok(_) => {
                let stage = self.stage(stage);
                Some(Fault::Differ(format!(
                    "`{stage}` makes a new one, and that of `{given}` is none that it could make"
                )))
            }
            Err(error) => Some(Fault::Unreadable(unreadable::message(&error, directory))),
        }
    }

    /// The parameter that says how many tokens a new tokenizer has.
    fn size(&self, id: StageId) -> Option<serde_json::Value> {
        let draft = &self.drafts[id];
        let TokenizerSource::New { size, .. } = draft.kind?.tokenizer else { return None };
        draft.parameters.as_ref()?.value().get(size).cloned()
    }
}

fn opened(directory: &Path) -> Result<(ModelFiles, Tokenizer)> {
    let files = ModelFiles::open(directory)?;
    let tokenizer = Tokenizer::load(files.path())?;
    Ok((files, tokenizer))
}

fn of_directories(reader: &Path, writer: &Path) -> Option<Fault> {
    if describe::has_same_tokenizer_files(reader, writer) {
        return None;
    }
    let compared = || -> Result<Option<String>> {
        let ((files, theirs), (_, ours)) = (opened(reader)?, opened(writer)?);
        if let Some(how) = difference(&theirs, &ours, ["{reader}", "{writer}"])? {
            return Ok(Some(how));
        }
        // A token for padding that the writer alone has makes no other tokenizer, but must have a row.
        let (tokens, rows) = (ours.rows(), Config::load(files.path())?.vocabulary);
        let lacks = format!("`{{writer}}` has {tokens} tokens, and the embedding of `{{reader}}` {rows} rows");
        Ok((tokens > rows).then_some(lacks))
    };
    match compared() {
        Ok(how) => how.map(Fault::Differ),
        Err(error) => Some(Fault::Unreadable(unreadable::message(&error, reader))),
    }
}
