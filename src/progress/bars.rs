//! Progress on a terminal: a bar for each running action with its rate and time left; a finished action becomes a line
//! above the bars.

use super::phrases::{lasting_line, title};
use crate::cause::EvalPart;
use crate::event::{Event, place};
use crate::report::visible::visible;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use stages::io::Progress;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

pub struct Bars {
    screen: MultiProgress,
    running: BTreeMap<(String, Option<EvalPart>), ProgressBar>,
}

impl Bars {
    pub fn new(screen: MultiProgress) -> Bars {
        Bars { screen, running: BTreeMap::new() }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started { stage, part, .. } => {
                self.clear(stage, part);
                let bar = self.screen.add(ProgressBar::no_length().with_style(waiting()));
                bar.set_prefix(visible(&title(stage, part)).into_owned());
                // A stage that loads a model is silent for a while: the clock shows that it is alive.
                bar.enable_steady_tick(Duration::from_millis(200));
                self.running.insert((stage.clone(), part.clone()), bar);
            }
            Event::Progressed { stage, part, progress: Progress { done, total, unit, message, .. } } => {
                let Some(bar) = self.running.get(&(stage.clone(), part.clone())) else { return };
                if bar.length() != Some(*total) && *total > 0 {
                    bar.set_length(*total);
                    bar.set_style(working(unit));
                    // A resumed stage does not start at zero: its rate counts from here.
                    bar.set_position(*done);
                    bar.reset_eta();
                }
                bar.set_position(*done);
                // A bar is one line.
                bar.set_message(visible(message).replace(['\n', '\t'], " "));
            }
            Event::Placed { stage, part, executor, id, node, waits, .. } => {
                if let Some(bar) = self.running.get(&(stage.clone(), part.clone())) {
                    bar.set_message(visible(&place(executor, id, node, waits)).into_owned());
                }
            }
            Event::Finished { stage, part, .. } | Event::Failed { stage, part, .. } => self.clear(stage, part),
            Event::RunFinished { .. } => {
                self.running.values().for_each(ProgressBar::finish_and_clear);
                self.running.clear();
            }
            _ => {}
        }
        if let Some(line) = lasting_line(event) {
            // Not `println` of the bars, which pads the line to the width it assumes instead of ending it.
            // Errors are ignored: a closed stderr must not end a run.
            let _ = self.screen.suspend(|| writeln!(std::io::stderr(), "{}", visible(&line)));
        }
    }

    fn clear(&mut self, stage: &str, part: &Option<EvalPart>) {
        if let Some(bar) = self.running.remove(&(stage.to_owned(), part.clone())) {
            bar.finish_and_clear();
        }
    }
}

fn waiting() -> ProgressStyle {
    style("{prefix:16!} {spinner} {elapsed} {wide_msg}")
}

fn working(unit: &str) -> ProgressStyle {
    // The unit comes from a worker, and braces would be read as a template.
    let unit = visible(unit).replace(['{', '}', '\n', '\t'], "");
    style(&format!("{{prefix:16!}} {{bar:24}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{wide_msg}}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
