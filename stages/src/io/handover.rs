//! The handover: what a runner tells its worker alone, as a word on the worker's standard input. Files and the environment of a process
//! can be read by the commands that it starts; this is gone when it was read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handover {
    /// The proof that an outcome is the worker's own.
    pub nonce: String,
    /// Values of environment variables that only the command gets, by name.
    pub secrets: Vec<(String, OsString)>,
}

impl Handover {
    /// `NONCE,NAME=HEX,…`: a word, whatever the values hold.
    pub fn word(&self) -> String {
        let hex = |value: &OsStr| value.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let secrets = self.secrets.iter().map(|(name, value)| format!(",{name}={}", hex(value)));
        std::iter::once(self.nonce.clone()).chain(secrets).collect()
    }

    pub fn read(word: &str) -> Option<Handover> {
        let mut parts = word.split(',');
        let nonce = parts.next()?.to_owned();
        let secrets = parts.map(|part| {
            let (name, value) = part.split_once('=')?;
            let bytes = value.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
            Some((name.to_owned(), OsString::from_vec(bytes.collect::<Option<_>>()?)))
        });
        Some(Handover { nonce, secrets: secrets.collect::<Option<_>>()? })
    }

    pub fn secret(&self, name: &str) -> Option<OsString> {
        self.secrets.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_comes_back_from_one_word() {
        let value = OsString::from_vec(b"a b,c=\n\xff\0".to_vec());
        let handover = Handover {
            nonce: "0badcafe".to_owned(),
            secrets: vec![("TOKEN".to_owned(), value), ("EMPTY".to_owned(), OsString::new())],
        };
        let word = handover.word();
        assert!(!word.contains([' ', '\n']), "{word}");
        assert_eq!(Handover::read(&word).unwrap(), handover);
        assert_eq!(Handover::read("").unwrap(), Handover::default());
        assert_eq!(Handover::read("n,TOKEN"), None);
    }
}
