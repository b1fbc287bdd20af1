//! The words on the command line.

use formats::dtype::Dtype;
use stages::io::DeviceChoice;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub struct Options {
    pub device: DeviceChoice,
    /// The small models that a software driver can do.
    pub is_tiny: bool,
    /// Parts of the names of what is wanted; none: all of it.
    pub words: Vec<String>,
    pub shows_kernels: bool,
    pub measures: bool,
    /// The seconds for everything.
    pub seconds: f64,
    /// The same program built with `--features vulkan`.
    pub spirv: Option<PathBuf>,
    pub python: PathBuf,
    /// The folder of the peers' programs.
    pub peers: PathBuf,
    /// The lines go here, the messages of the sections beside them (`.log`), and the table (`.md`).
    pub out: PathBuf,
    /// Prints the table of such a file.
    pub table: Option<PathBuf>,
    /// The section that this process is.
    pub section: Option<String>,
    /// When it has to end.
    pub end: Instant,
    /// The time that the work before took, divided by the predicted one.
    pub slowness: f64,
}

impl Options {
    /// # Errors
    /// A word has no value, or a wrong one.
    pub fn of(words: &[String]) -> Result<Options, String> {
        let mut rest = words.iter();
        let beside = |name: &str| {
            let program = std::env::current_exe().ok()?;
            Some(program.parent()?.join(name)).filter(|path| path.exists())
        };
        // Cargo tells where the sources are; elsewhere everything lies beside the program.
        let sources = std::env::var_os("CARGO_MANIFEST_DIR").map(|root| PathBuf::from(root).join("benches/peers"));
        let mut options = Options {
            device: DeviceChoice::Wgpu,
            is_tiny: false,
            words: Vec::new(),
            shows_kernels: false,
            measures: false,
            seconds: 405.0,
            spirv: None,
            python: "python3".into(),
            peers: beside("peers").or(sources).unwrap_or_else(|| "peers".into()),
            out: "gpu.jsonl".into(),
            table: None,
            section: None,
            end: Instant::now() + Duration::from_secs(3600),
            slowness: 1.0,
        };
        while let Some(word) = rest.next() {
            let mut value = || rest.next().cloned().ok_or(format!("{word} wants a value"));
            let number = |text: String| text.parse::<f64>().map_err(|error| format!("{word} {text}: {error}"));
            match word.as_str() {
                "--kernels" => options.shows_kernels = true,
                "--measure" => options.measures = true,
                "--device" => {
                    let text = value()?;
                    options.device = text.parse().map_err(|error| format!("--device {text}: {error}"))?;
                }
                "--sizes" => match value()?.as_str() {
                    "tiny" => options.is_tiny = true,
                    "full" => options.is_tiny = false,
                    other => return Err(format!("--sizes {other}: take tiny or full")),
                },
                "--seconds" => options.seconds = number(value()?)?,
                "--spirv" => options.spirv = Some(value()?.into()),
                "--python" => options.python = value()?.into(),
                "--peers" => options.peers = value()?.into(),
                "--out" => options.out = value()?.into(),
                "--table" => options.table = Some(value()?.into()),
                "--section" => options.section = Some(value()?),
                "--limit" => options.end = Instant::now() + Duration::from_secs_f64(number(value()?)?.max(0.0)),
                "--slowness" => options.slowness = number(value()?)?,
                other if other.starts_with('-') => {
                    return Err(format!(
                        "there is no {other}; the header of main.rs and docs/performance.md have what there is"
                    ));
                }
                other => options.words.push(other.to_owned()),
            }
        }
        Ok(options)
    }

    pub fn is_wanted(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Seconds until this process has to end.
    pub fn left(&self) -> f64 {
        self.end.saturating_duration_since(Instant::now()).as_secs_f64()
    }

    /// The words with which a process of its own works a section, as this one would.
    pub fn words_of(&self, section: &str, limit: f64, slowness: f64) -> Vec<String> {
        let path = |path: &PathBuf| path.display().to_string();
        let sizes = if self.is_tiny { "tiny" } else { "full" };
        [
            ["--section", section],
            ["--device", &self.device.to_string()],
            ["--sizes", sizes],
            ["--limit", &format!("{limit:.2}")],
            ["--slowness", &format!("{slowness:.4}")],
            ["--python", &path(&self.python)],
            ["--peers", &path(&self.peers)],
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
    }
}

/// A precision by its name.
pub fn dtype(name: &str) -> Option<Dtype> {
    Dtype::ALL.into_iter().find(|dtype| dtype.name() == name)
}
