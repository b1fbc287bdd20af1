//! The device that a person or the runner asks for: `auto`, `cpu`, `wgpu`, `wgpu:1`, `wgpu:NAME-PART`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The device to compute on. Never part of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// A real GPU through wgpu when there is one, else the CPU backend.
    #[default]
    Auto,
    /// The best adapter that wgpu has, which may be a software driver.
    Wgpu,
    /// The adapter of this number, as `doctor` lists them.
    Adapter(usize),
    /// The first adapter whose name contains this text in upper or lower case; real ones come before software drivers.
    Named(String),
    Cpu,
}

impl DeviceChoice {
    /// The forms that a person may type.
    pub const FORMS: [&str; 5] = ["auto", "cpu", "wgpu", "wgpu:1", "wgpu:NAME-PART"];
}

/// Names of GPUs in other tools.
const FOREIGN: [&str; 9] = ["cuda", "gpu", "mps", "metal", "rocm", "hip", "vulkan", "xpu", "directml"];

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceChoice, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(DeviceChoice::Auto),
            None if text == "cpu" => Ok(DeviceChoice::Cpu),
            None if text == "wgpu" => Ok(DeviceChoice::Wgpu),
            Some(("wgpu", which)) if !which.trim().is_empty() => Ok(which
                .trim()
                .parse()
                .map_or_else(|_| DeviceChoice::Named(which.trim().to_owned()), DeviceChoice::Adapter)),
            Some((name, _)) if FOREIGN.contains(&name) => Err(foreign()),
            None if FOREIGN.contains(&text) => Err(foreign()),
            _ => Err(format!("there is no such device [possible values: {}]", DeviceChoice::FORMS.join(", "))),
        }
    }
}

fn foreign() -> String {
    "GPUs of all makes are used through wgpu (Vulkan, Metal, DX12): write `wgpu`, or `auto`; `wgpu:1` for the adapter \
     that `pipeline doctor` lists as number 1"
        .to_owned()
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, text: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DeviceChoice::Auto => text.write_str("auto"),
            DeviceChoice::Wgpu => text.write_str("wgpu"),
            DeviceChoice::Adapter(number) => write!(text, "wgpu:{number}"),
            DeviceChoice::Named(part) => write!(text, "wgpu:{part}"),
            DeviceChoice::Cpu => text.write_str("cpu"),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<DeviceChoice, String> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_written_down() {
        let typed = ["auto", "cpu", "wgpu", "wgpu:1", "wgpu:GeForce RTX 5080"];
        for text in typed {
            let choice: DeviceChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!((json.as_str(), serde_json::from_str(&json).ok()), (&*format!("{text:?}"), Some(choice)));
        }
        assert_eq!("wgpu:01".parse(), Ok(DeviceChoice::Adapter(1)));
        for wrong in ["", "wgpu:", "wgpu: ", "Wgpu", "cpu:1", "tpu", "cuda", "cuda:0", "vulkan"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
