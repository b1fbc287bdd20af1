//! The confidence behind a comparison.

use super::super::lexer::Kind;
use super::super::tree::{Confidence, DeclaredGrowth, DeclaredLooks};
use super::super::{Mistake, show};
use super::{Parser, Token, found};

/// More looks than this leave no level worth speaking of.
const MOST_LOOKS: f64 = 1000.0;
/// More items than any table has.
const MOST_ITEMS: f64 = 1e9;

impl Parser<'_> {
    /// `with 95% confidence`.
    pub(super) fn confidence(&mut self) -> Result<Option<Confidence>, Mistake> {
        const HELP: &str = "write `with 95% confidence`";
        let start = self.peek().range.start;
        if !self.take_word("with") {
            return Ok(None);
        }
        let Token { kind: Kind::Number(percent), text, range } = self.peek().clone() else {
            let message = format!("expected a percentage after `with`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help(HELP));
        };
        self.next();
        if !self.take_symbol('%') {
            let percent = if percent < 1.0 { show::number(100.0 * percent, 12) } else { text.to_owned() };
            return Err(Mistake::new(&range, "a confidence is a percentage")
                .help(format!("write `with {percent}% confidence`")));
        }
        if !self.take_word("confidence") {
            let message = format!("expected `confidence`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help(HELP));
        }
        // Above 99.9 % 10,000 resamples could not tell; at 50 % and below the rule would ask for nothing.
        if !(percent > 50.0 && percent <= 99.9) {
            return Err(Mistake::new(&range, "a confidence lies above 50% and is at most 99.9%").help(HELP));
        }
        let (looks, growth, assumes_bounds) = (self.looks()?, self.growth()?, self.assumption()?);
        let range = self.since(start);
        Ok(Some(Confidence { percent, text: text.to_owned(), looks, growth, assumes_bounds, range }))
    }

    /// `over 4 looks`, `over looks`.
    fn looks(&mut self) -> Result<Option<DeclaredLooks>, Mistake> {
        const HELP: &str = "write `with 95% confidence over 4 looks`, or `over looks` for any number of them";
        if !self.take_word("over") {
            return Ok(None);
        }
        let count = self.count("looks are counted", MOST_LOOKS, HELP)?;
        if !(self.take_word("looks") || count.is_some() && self.take_word("look")) {
            let message = format!("expected `looks`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help(HELP));
        }
        Ok(Some(count.map_or(DeclaredLooks::Open, DeclaredLooks::Exactly)))
    }

    /// `up to 2000 items`, `up to items`.
    fn growth(&mut self) -> Result<Option<DeclaredGrowth>, Mistake> {
        const HELP: &str =
            "write `with 95% confidence up to 2000 items`, or `up to items` for a win rate without a maximum";
        if !self.take_word("up") {
            return Ok(None);
        }
        if !self.take_word("to") {
            let message = format!("expected `to` after `up`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help(HELP));
        }
        let count = self.count("items are counted", MOST_ITEMS, HELP)?;
        if !(self.take_word("items") || count.is_some() && self.take_word("item")) {
            let message = format!("expected `items`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help(HELP));
        }
        Ok(Some(count.map_or(DeclaredGrowth::Open, DeclaredGrowth::UpTo)))
    }

    /// `assuming bounds`.
    fn assumption(&mut self) -> Result<bool, Mistake> {
        if !self.take_word("assuming") {
            return Ok(false);
        }
        if !self.take_word("bounds") {
            let message = format!("expected `bounds` after `assuming`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help("write `with 95% confidence assuming bounds`"));
        }
        Ok(true)
    }

    /// A whole number from 1 to `most`, if a number comes next.
    fn count(&mut self, what: &str, most: f64, help: &str) -> Result<Option<u32>, Mistake> {
        let Token { kind: Kind::Number(count), range, .. } = self.peek().clone() else { return Ok(None) };
        self.next();
        if count.fract() != 0.0 || !(1.0..=most).contains(&count) {
            let message = format!("{what}: a whole number from 1 to {most}");
            return Err(Mistake::new(&range, message).help(help));
        }
        Ok(Some(count as u32))
    }
}
