//! The file of a SentencePiece model: a protocol buffer with pieces, how they were trained, and how a text is normalised
//! (`sentencepiece_model.proto`). Fields that change no ids are skipped.

use crate::whole;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

pub struct Model {
    pub pieces: Vec<Piece>,
    pub kind: ModelKind,
    pub byte_fallback: bool,
    pub unknown: usize,
    pub unknown_text: String,
    /// `None`: there is none.
    pub bos: Option<String>,
    pub eos: Option<String>,
    /// Rewrites of letters, compiled; empty: there are none.
    pub charsmap: Vec<u8>,
    pub has_dummy_prefix: bool,
    pub removes_extra_spaces: bool,
    pub escapes_spaces: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    Unigram,
    Bpe,
}

pub struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: PieceKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// A piece that was learned.
    Plain,
    /// A piece that stands for something and is no text: `<s>`.
    Control,
    /// A text that is always one piece.
    User,
    /// The unknown piece, bytes, and what is not used.
    Other,
}

/// A value of a protocol buffer.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Eight,
}

impl<'a> Value<'a> {
    fn number(&self) -> Result<u64> {
        match self {
            Value::Number(number) => Ok(*number),
            _ => bail!("a number is of another type"),
        }
    }

    fn flag(&self) -> Result<bool> {
        Ok(self.number()? != 0)
    }

    /// A number that is negative where there is none.
    fn place(&self) -> Result<i64> {
        Ok(self.number()? as i64)
    }

    fn bytes(&self) -> Result<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => bail!("a text or a part is of another type"),
        }
    }

    fn text(&self) -> Result<String> {
        Ok(std::str::from_utf8(self.bytes()?).context("a text is not UTF-8")?.to_owned())
    }

    fn float(&self) -> Result<f32> {
        match self {
            Value::Four(bytes) => Ok(f32::from_le_bytes(*bytes)),
            _ => bail!("a fraction is of another type"),
        }
    }
}

/// The fields of a part, by their numbers.
fn fields(mut rest: &[u8], mut read: impl FnMut(u64, Value) -> Result<()>) -> Result<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => {
                take(&mut rest, 8)?;
                Value::Eight
            }
            2 => {
                let length = varint(&mut rest)?;
                Value::Bytes(take(&mut rest, usize::try_from(length)?)?)
            }
            5 => Value::Four(take(&mut rest, 4)?.try_into()?),
            other => bail!("there is no type {other} of fields"),
        };
        read(key >> 3, value)?;
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length).context("it ends too early")?;
    *rest = after;
    Ok(taken)
}

/// Seven bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for place in 0..10 {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number is too long")
}

impl Model {
    /// # Errors
    /// It is no SentencePiece model, a part of one, or of a kind without merges and scores.
    pub fn read(bytes: &[u8], path: &Path) -> Result<Model> {
        let mut model = Model {
            pieces: Vec::new(),
            kind: ModelKind::Unigram,
            byte_fallback: false,
            unknown: 0,
            unknown_text: "<unk>".to_owned(),
            bos: Some("<s>".to_owned()),
            eos: Some("</s>".to_owned()),
            charsmap: Vec::new(),
            has_dummy_prefix: true,
            removes_extra_spaces: true,
            escapes_spaces: true,
        };
        let (mut trainer, mut normaliser) = (None, None);
        let read = fields(bytes, |number, value| {
            match number {
                1 => model.pieces.push(piece(value.bytes()?)?),
                2 => trainer = Some(value.bytes()?.to_vec()),
                3 => normaliser = Some(value.bytes()?.to_vec()),
                _ => {}
            }
            Ok(())
        });
        if model.pieces.is_empty() {
            read.context("it is no SentencePiece model")?;
            bail!("it is no SentencePiece model: it has no pieces");
        }
        let cut = || whole::cut(path, " within its parts", bytes.len(), None);
        read.map_err(|_| cut())?;
        // Every model has both, behind its pieces.
        let (trainer, normaliser) = (trainer.ok_or_else(cut)?, normaliser.ok_or_else(cut)?);
        model.read_trainer(&trainer).context("read its trainer's part")?;
        fields(&normaliser, |number, value| {
            match number {
                2 => model.charsmap = value.bytes()?.to_vec(),
                3 => model.has_dummy_prefix = value.flag()?,
                4 => model.removes_extra_spaces = value.flag()?,
                5 => model.escapes_spaces = value.flag()?,
                _ => {}
            }
            Ok(())
        })
        .context("read its normaliser's part")?;
        Ok(model)
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Result<()> {
        let mut kind = 1;
        let (mut bos, mut eos) = (1, 2);
        let (mut bos_text, mut eos_text) = ("<s>".to_owned(), "</s>".to_owned());
        fields(bytes, |number, value| {
            match number {
                3 => kind = value.number()?,
                24 => ensure!(!value.flag()?, "spaces behind words (`treat_whitespace_as_suffix`) are not supported"),
                35 => self.byte_fallback = value.flag()?,
                40 => self.unknown = usize::try_from(value.place()?).context("it has no unknown piece")?,
                41 => bos = value.place()?,
                42 => eos = value.place()?,
                45 => self.unknown_text = value.text()?,
                46 => bos_text = value.text()?,
                47 => eos_text = value.text()?,
                _ => {}
            }
            Ok(())
        })?;
        self.kind = match kind {
            1 => ModelKind::Unigram,
            2 => ModelKind::Bpe,
            _ => bail!("it is a model of words or letters; Unigram and BPE are known"),
        };
        // A number of 32 bits below zero is stored in 64.
        self.bos = (bos >= 0).then_some(bos_text);
        self.eos = (eos >= 0).then_some(eos_text);
        Ok(())
    }
}

fn piece(bytes: &[u8]) -> Result<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Plain };
    fields(bytes, |number, value| {
        match number {
            1 => piece.text = value.text()?,
            2 => piece.score = value.float()?,
            3 => {
                piece.kind = match value.number()? {
                    1 => PieceKind::Plain,
                    3 => PieceKind::Control,
                    4 => PieceKind::User,
                    _ => PieceKind::Other,
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_refused() {
        let read = |bytes: &[u8]| Model::read(bytes, Path::new("tokenizer.model"));
        let told = |bytes: &[u8]| format!("{:#}", read(bytes).map(drop).unwrap_err());
        assert_eq!(told(b""), "it is no SentencePiece model: it has no pieces");
        // The vocabulary of LLaMA 3, which has the same name.
        assert!(told(b"IQ== 0\nIg== 1\n").starts_with("it is no SentencePiece model: "));
        assert!(told(b"\x0a\x05\x0a\x03abc\x12\x02\x18\x03\x1a\x00").contains("a model of words or letters"));
        let whole = b"\x0a\x0a\x0a\x03abc\x15\x00\x00\x80\x3f\x12\x00\x1a\x00";
        let model = read(whole).unwrap();
        assert_eq!((model.pieces[0].text.as_str(), model.pieces[0].score), ("abc", 1.0));
        for length in 1..whole.len() {
            let is_cut =
                told(&whole[..length]).starts_with(&format!("it is cut within its parts: it has {length} bytes"));
            assert_eq!(is_cut, length >= 12, "{length}");
        }
    }
}
