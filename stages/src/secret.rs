//! Secrets: values that only the command of a stage may see. They are told to the worker by its runner, redacted in logs,
//! and searched for in results. A value is recognised as it is and as JSON writes it; in another encoding (base64, a
//! hash), compressed, or in pieces it is not.

use anyhow::{Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};

/// The shortest secret: anything shorter occurs by chance, and `***` in its places would reveal it.
const SHORTEST: usize = 4;
const SHOWN: &[u8] = b"***";

/// Why a variable of this value cannot be passed on as a secret.
pub fn objection(value: Option<&OsStr>) -> Option<String> {
    match value {
        None => Some("is not set in the environment".to_owned()),
        Some(value) if value.len() < SHORTEST => {
            Some(format!("is shorter than {SHORTEST} bytes, too short to be kept out of a log"))
        }
        Some(_) => None,
    }
}

/// The secrets of a stage. No `Debug`, since it holds the values.
#[derive(Default)]
pub struct Secrets {
    named: Vec<(String, OsString)>,
    /// The bytes that must not be seen, with the index into `named`.
    forms: Vec<(usize, Vec<u8>)>,
}

impl Secrets {
    pub fn read(names: &[String], environment: impl Fn(&str) -> Option<OsString>) -> Result<Secrets> {
        let mut secrets = Secrets::default();
        for (index, name) in names.iter().enumerate() {
            let value = environment(name);
            if let Some(objection) = objection(value.as_deref()) {
                bail!("read the secret `{name}`: it {objection}");
            }
            let value = value.unwrap_or_default();
            let plain = value.as_encoded_bytes().to_vec();
            let json = serde_json::to_string(&value.to_string_lossy())?;
            let json = json.trim_matches('"').as_bytes().to_vec();
            if json != plain {
                secrets.forms.push((index, json));
            }
            secrets.forms.push((index, plain));
            secrets.named.push((name.clone(), value));
        }
        Ok(secrets)
    }

    /// Those of these names, in their order.
    pub fn only(&self, names: &[String]) -> Secrets {
        let mut only = Secrets::default();
        let named = names.iter().filter_map(|name| self.named.iter().position(|(own, _)| own == name));
        for index in named {
            let forms = self.forms.iter().filter(|(of, _)| *of == index);
            only.forms.extend(forms.map(|(_, form)| (only.named.len(), form.clone())));
            only.named.push(self.named[index].clone());
        }
        only
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    pub fn variables(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.named.iter().map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    /// The name of the first secret whose value occurs in these bytes.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.forms.iter().find(|(_, form)| places(bytes, form).next().is_some());
        found.map(|(index, _)| self.named[*index].0.as_str())
    }

    /// The same for a file, which may be larger than memory.
    pub fn found_in_file(&self, mut file: File) -> io::Result<Option<&str>> {
        let longest = self.forms.iter().map(|(_, form)| form.len()).max().unwrap_or(0);
        let (mut held, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            let length = match file.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if length == 0 {
                return Ok(None);
            }
            held.extend_from_slice(&chunk[..length]);
            if let Some(name) = self.found_in(&held) {
                return Ok(Some(name));
            }
            held.drain(..held.len().saturating_sub(longest.saturating_sub(1)));
        }
    }

    pub fn redacted(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.redacted_bytes(text.as_bytes())).into_owned()
    }

    pub fn redacted_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut redaction = self.redaction();
        let mut shown = redaction.pass(bytes);
        shown.extend(redaction.end());
        shown
    }

    pub fn redaction(&self) -> Redaction {
        let forms = self.forms.iter().map(|(_, form)| form.clone()).collect();
        Redaction { forms, held: Vec::new(), is_hidden: Vec::new(), is_inside: false }
    }
}

/// Redacts values in a stream that comes in pieces. Holds back no more than the beginning of a value.
pub struct Redaction {
    forms: Vec<Vec<u8>>,
    held: Vec<u8>,
    /// For each held byte.
    is_hidden: Vec<bool>,
    /// The last byte passed on was hidden: hidden bytes after it belong to the same `***`.
    is_inside: bool,
}

impl Redaction {
    /// Takes the next bytes, and returns what can be shown by now.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.is_hidden.resize(self.held.len(), false);
        for form in &self.forms {
            for at in places(&self.held, form) {
                // Values may overlap: each is hidden as a whole.
                self.is_hidden[at..at + form.len()].fill(true);
            }
        }
        let longest = self.forms.iter().map(Vec::len).max().unwrap_or(0);
        let earliest = self.held.len().saturating_sub(longest.saturating_sub(1));
        let may_go_on = |start: &usize| {
            let end = &self.held[*start..];
            self.forms.iter().any(|form| form.len() > end.len() && form.starts_with(end))
        };
        let decided = (earliest..self.held.len()).find(may_go_on).unwrap_or(self.held.len());
        self.give(decided)
    }

    /// Returns the bytes that were held back, at the end of the stream.
    pub fn end(&mut self) -> Vec<u8> {
        self.give(self.held.len())
    }

    fn give(&mut self, count: usize) -> Vec<u8> {
        let mut given = Vec::with_capacity(count);
        for (byte, is_hidden) in self.held.drain(..count).zip(self.is_hidden.drain(..count)) {
            match (is_hidden, self.is_inside) {
                (false, _) => given.push(byte),
                (true, false) => given.extend_from_slice(SHOWN),
                (true, true) => {}
            }
            self.is_inside = is_hidden;
        }
        given
    }
}

/// Whole outputs are searched: by the first byte, of which there are few.
fn places<'a>(bytes: &'a [u8], form: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let (first, rest) = form.split_first().map_or((None, form), |(first, rest)| (Some(*first), rest));
    let starts = bytes.iter().enumerate().filter(move |(_, byte)| Some(**byte) == first).map(|(at, _)| at);
    starts.filter(move |at| bytes[at + 1..].starts_with(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let names: Vec<String> = (0..values.len()).map(|n| format!("S{n}")).collect();
        Secrets::read(&names, |name| Some(values[name[1..].parse::<usize>().unwrap()].into())).unwrap()
    }

    /// Cut into pieces of every length, the stream must come out the same.
    fn redacted(values: &[&str], text: &str) -> String {
        let whole = secrets(values).redacted(text);
        for length in 1..text.len() {
            let mut redaction = secrets(values).redaction();
            let mut bytes: Vec<u8> = text.as_bytes().chunks(length).flat_map(|chunk| redaction.pass(chunk)).collect();
            bytes.extend(redaction.end());
            assert_eq!(String::from_utf8_lossy(&bytes), whole, "in pieces of {length}");
        }
        whole
    }

    #[test]
    fn a_value_is_hidden_wherever_the_stream_is_cut() {
        assert_eq!(redacted(&["hf_token"], "a hf_token, hf_toke, hhf_token\nhf_"), "a ***, hf_toke, h***\nhf_");
    }

    #[test]
    fn values_that_overlap_or_hold_each_other_are_hidden_whole() {
        assert_eq!(redacted(&["abab"], "xabababx"), "x***x");
        assert_eq!(redacted(&["abcd", "abcdefgh"], "abcdefg abcdefgh"), "***efg ***");
        assert_eq!(redacted(&["first", "stone"], "firstone firststone"), "*** ***");
    }

    #[test]
    fn a_value_that_json_writes_otherwise_is_known_in_both_forms() {
        let values = ["say \"yes\"\nor no"];
        assert_eq!(redacted(&values, "say \"yes\"\nor no"), "***");
        assert_eq!(secrets(&values).found_in(br#"{"a": "say \"yes\"\nor no"}"#), Some("S0"));
        assert_eq!(secrets(&values).found_in(b"say yes or no"), None);
    }

    #[test]
    fn a_value_is_found_in_a_large_file_also_where_two_pieces_meet() {
        let secrets = secrets(&["hf_token"]);
        for at in [0, (1 << 20) - 3, (1 << 20), (3 << 20) - 1] {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &vec![b'h'; at]).unwrap();
            io::Write::write_all(&mut file, b"hf_token and more").unwrap();
            io::Seek::rewind(&mut file).unwrap();
            assert_eq!(secrets.found_in_file(file).unwrap(), Some("S0"), "{at}");
        }
    }

    #[test]
    fn a_text_that_begins_no_value_is_not_held_back() {
        let mut redaction = secrets(&["hf_token"]).redaction();
        assert_eq!(redaction.pass(b"50 % h"), b"50 % ");
        assert_eq!(redaction.pass(b"ey"), b"hey");
    }

    #[test]
    fn what_is_unset_or_too_short_is_refused_by_name() {
        let refusal = |value: Option<&str>| {
            let read = Secrets::read(&["TOKEN".to_owned()], |_| value.map(OsString::from));
            read.err().unwrap().to_string()
        };
        assert_eq!(refusal(None), "read the secret `TOKEN`: it is not set in the environment");
        assert!(refusal(Some("abc")).contains("shorter than 4 bytes"));
    }
}
