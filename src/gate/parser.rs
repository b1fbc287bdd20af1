//! Tokens → tree, by recursive descent with bounded nesting. Tests and numbers are read by one grammar and told apart
//! afterwards, so that `(a + b) > c` and `(a > b) and c < d` need no look-ahead and a mix-up gets a plain message.

mod confidence;
mod number;

use super::lexer::{self, Comparison, Kind, Token};
use super::tree::{Expression, Leaves, Margin, Number, Rule, Test};
use super::{Mistake, check};
use stages::stage::did_you_mean;
use std::ops::Range;

/// The deepest nesting: far more than a person can read, far less than the stack holds.
const DEEPEST: usize = 50;
const LONGEST: usize = 10_000;

pub fn parse(text: &str) -> Result<Rule, Mistake> {
    let (parsed, leaves) = whole(text)?;
    Ok(Rule { text: text.to_owned(), leaves, test: parsed.test()? })
}

pub fn parse_expression(text: &str) -> Result<Expression, Mistake> {
    let (parsed, leaves) = whole(text)?;
    Ok(Expression { text: text.to_owned(), leaves, number: parsed.number()? })
}

fn whole(text: &str) -> Result<(RulePart, Leaves), Mistake> {
    if text.len() > LONGEST {
        return Err(Mistake::new(&(0..0), format!("the rule is longer than {LONGEST} bytes")));
    }
    if text.trim().is_empty() {
        return Err(Mistake::new(&(0..text.len()), "the rule is empty").help("write one such as `mean_score > 0.5`"));
    }
    let mut parser = Parser { tokens: lexer::tokens(text)?, at: 0, depth: 0, leaves: Leaves::default() };
    let parsed = parser.any_of()?;
    match parser.peek().kind {
        Kind::End => Ok((parsed, parser.leaves)),
        _ => Err(parser.left_over()),
    }
}

/// A part of a rule, as it turned out to be.
#[expect(clippy::large_enum_variant, reason = "it lives only while a rule is parsed")]
enum RulePart {
    Test(Test, Range<usize>),
    Number(Number, Range<usize>),
}

impl RulePart {
    fn range(&self) -> Range<usize> {
        match self {
            RulePart::Test(_, range) | RulePart::Number(_, range) => range.clone(),
        }
    }
    fn test(self) -> Result<Test, Mistake> {
        match self {
            RulePart::Test(test, _) => Ok(test),
            RulePart::Number(_, range) => Err(Mistake::new(&range, "this is a number, which neither passes nor fails")
                .help("compare it, as in `mean_score > 0.5`")),
        }
    }
    fn number(self) -> Result<Number, Mistake> {
        match self {
            RulePart::Number(number, _) => Ok(number),
            RulePart::Test(_, range) => Err(Mistake::new(&range, "this passes or fails, but a number is needed here")
                .help("join tests with `and`, `or`, `not`")),
        }
    }
}

struct Parser<'a> {
    /// Ends with `Kind::End`.
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
    leaves: Leaves,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        &self.tokens[self.at]
    }
    fn after(&self) -> Kind {
        self.tokens.get(self.at + 1).map_or(Kind::End, |token| token.kind)
    }
    /// Takes a token; the last one is never passed.
    fn next(&mut self) -> Token<'a> {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }
    fn is_word(&self, word: &str) -> bool {
        self.peek().kind == Kind::Word && self.peek().text == word
    }
    fn is_symbol(&self, symbol: char) -> bool {
        self.peek().kind == Kind::Symbol(symbol)
    }
    fn take_word(&mut self, word: &str) -> bool {
        let is_it = self.is_word(word);
        if is_it {
            self.next();
        }
        is_it
    }
    fn take_symbol(&mut self, symbol: char) -> bool {
        let is_it = self.is_symbol(symbol);
        if is_it {
            self.next();
        }
        is_it
    }
    /// The range from `start` to the end of the token that was read last.
    fn since(&self, start: usize) -> Range<usize> {
        let end = self.at.checked_sub(1).map_or(start, |last| self.tokens[last].range.end);
        start..end.max(start)
    }

    fn any_of(&mut self) -> Result<RulePart, Mistake> {
        self.joined("or", Parser::all_of, Test::Or)
    }

    fn all_of(&mut self) -> Result<RulePart, Mistake> {
        self.joined("and", Parser::negation, Test::And)
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<RulePart, Mistake>,
        join: fn(Vec<Test>) -> Test,
    ) -> Result<RulePart, Mistake> {
        let start = self.peek().range.start;
        let first = part(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut tests = vec![first.test()?];
        while self.take_word(word) {
            tests.push(part(self)?.test()?);
        }
        Ok(RulePart::Test(join(tests), self.since(start)))
    }

    fn negation(&mut self) -> Result<RulePart, Mistake> {
        let start = self.peek().range.start;
        if !self.take_word("not") {
            return self.comparison();
        }
        let inner = self.deeper(Parser::negation)?.test()?;
        Ok(RulePart::Test(Test::Not(Box::new(inner)), self.since(start)))
    }

    fn comparison(&mut self) -> Result<RulePart, Mistake> {
        let start = self.peek().range.start;
        let first = self.sum()?;
        let test = if self.is_word("between") {
            self.between(first.number()?)?
        } else if self.is_word("improves") {
            self.improves(first)?
        } else if let Kind::Compare(_) = self.peek().kind {
            self.links(first.number()?)?
        } else {
            return Ok(first);
        };
        Ok(RulePart::Test(test, self.since(start)))
    }

    fn links(&mut self, first: Number) -> Result<Test, Mistake> {
        let mut links = Vec::new();
        while let Kind::Compare(comparison) = self.peek().kind {
            self.next();
            links.push((comparison, self.sum()?.number()?));
        }
        let margin = self.margin()?;
        if let Some(margin) = &margin {
            if links.len() > 1 {
                return Err(Mistake::new(&margin.range, "a margin says nothing about a chain of comparisons")
                    .help("write the comparisons one by one, joined by `and`"));
            }
            if matches!(links[0].0, Comparison::Equal | Comparison::Unequal) {
                let message = format!("a margin says nothing about `{}`", links[0].0.sign());
                return Err(Mistake::new(&margin.range, message).help("write `abs(a - b) <= 0.02`"));
            }
        }
        let confidence = self.confidence()?;
        let equality =
            links.iter().find(|(comparison, _)| matches!(comparison, Comparison::Equal | Comparison::Unequal));
        if let (Some(confidence), Some((comparison, _))) = (&confidence, equality) {
            let message = format!("no measurement can be sure of `{}`", comparison.sign());
            return Err(Mistake::new(&confidence.range, message)
                .help("write `a - b between -0.02 and 0.02 with 95% confidence`"));
        }
        Ok(Test::Compare { first, links, margin, confidence })
    }

    fn between(&mut self, value: Number) -> Result<Test, Mistake> {
        self.next();
        let start = self.peek().range.start;
        let low = self.sum()?.number()?;
        if !self.take_word("and") {
            let message = format!("expected `and`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help("write `kl between 0.1 and 0.5`"));
        }
        let high = self.sum()?.number()?;
        if let (Number::Literal { value: from, .. }, Number::Literal { value: to, .. }) = (&low, &high)
            && from > to
        {
            return Err(Mistake::new(&self.since(start), "nothing lies between these").help("the smaller number first"));
        }
        Ok(Test::Between { value, low, high, confidence: self.confidence()? })
    }

    fn improves(&mut self, metric: RulePart) -> Result<Test, Mistake> {
        let metric = match metric {
            // Whether `eval` of `eval.m` is a judge is not known here; the check finds out whose metric it is.
            RulePart::Number(Number::Name(name), _) => name,
            other => {
                return Err(Mistake::new(&other.range(), check::NOT_OURS).help("write `mean_score improves over sft`"));
            }
        };
        self.next();
        if !self.take_word("over") {
            let message = format!("expected `over`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help("write `mean_score improves over sft`"));
        }
        let (who, range) = self.artifact()?;
        if self.is_symbol('.') {
            return Err(Mistake::new(&self.peek().range, "`improves over` is followed by a stage alone")
                .help("the metric is the one before `improves`"));
        }
        let over = self.same_metric(metric, who, range);
        Ok(Test::Improves { metric, over, margin: self.margin()?, confidence: self.confidence()? })
    }

    /// `by 0.02`, `by 5%`.
    fn margin(&mut self) -> Result<Option<Margin>, Mistake> {
        let start = self.peek().range.start;
        if !self.take_word("by") {
            return Ok(None);
        }
        let Token { kind: Kind::Number(amount), text, range } = self.peek().clone() else {
            let help = match self.peek().kind {
                Kind::Symbol('-') => "to allow for a loss write `a > b - 0.02`",
                _ => "write `by 0.02` or `by 5%`",
            };
            let message = format!("expected a plain number after `by`, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message).help(help));
        };
        self.next();
        let is_percent = self.take_symbol('%');
        if matches!(self.peek().kind, Kind::Symbol('+' | '-' | '*' | '/')) {
            return Err(Mistake::new(&self.since(range.start), "a margin is one plain number")
                .help("compute it on the right side of the comparison"));
        }
        let text = if is_percent { format!("{text}%") } else { text.to_owned() };
        Ok(Some(Margin { amount, is_percent, text, range: self.since(start) }))
    }

    fn deeper<T>(&mut self, part: fn(&mut Self) -> Result<T, Mistake>) -> Result<T, Mistake> {
        if self.depth == DEEPEST {
            return Err(Mistake::new(&self.peek().range, format!("nested more than {DEEPEST} deep"))
                .help("write several rules instead"));
        }
        self.depth += 1;
        let parsed = part(self);
        self.depth -= 1;
        parsed
    }

    fn unclosed(&self, open: &Range<usize>) -> Mistake {
        match self.peek().kind {
            Kind::End => Mistake::new(open, "this `(` is never closed"),
            _ => Mistake { help: Some("expected `)` here".to_owned()), ..self.left_over() },
        }
    }

    /// The mistake when something follows a rule that is already complete.
    fn left_over(&self) -> Mistake {
        let token = self.peek();
        let mistake = Mistake::new(&token.range, format!("expected `and`, `or` or the end, found {}", found(token)));
        let is_after_number = self.at > 0 && matches!(self.tokens[self.at - 1].kind, Kind::Number(_));
        match (token.kind, token.text) {
            (Kind::Symbol(')'), _) => Mistake::new(&token.range, "this `)` closes nothing"),
            (Kind::Symbol(','), _) if is_after_number && matches!(self.after(), Kind::Number(_)) => {
                mistake.help("write a decimal point, and no thousands separator")
            }
            (Kind::Symbol(','), _) => mistake.help("one rule a line, or join them with `and`"),
            (Kind::Word, "with") => Mistake::new(&token.range, "confidence belongs to one comparison")
                .help("write it behind each: `a > b with 95% confidence and c > d with 95% confidence`"),
            (Kind::Word, "over" | "up" | "assuming") => mistake.help(
                "write `with 95% confidence over 4 looks up to 2000 items assuming bounds`, or parts of it in this order",
            ),
            (Kind::Word, "by") => {
                Mistake::new(&token.range, "a margin follows a comparison with one of `>` `>=` `<` `<=`")
            }
            (Kind::Word, "is" | "equals") => match self.tokens.get(self.at + 1).map(|token| token.text) {
                Some("greater" | "above" | "more" | "larger" | "higher") => mistake.help("write `>`"),
                Some("less" | "below" | "smaller" | "lower") => mistake.help("write `<`"),
                _ => mistake.help("write `=`"),
            },
            (Kind::Word, "greater" | "above" | "exceeds") => mistake.help("write `>`"),
            (Kind::Word, "less" | "below") => mistake.help("write `<`"),
            (Kind::Word, "beats" | "better") => mistake.help("write `improves over`"),
            (Kind::Word, "at" | "With") | (Kind::Symbol('('), _) => mistake.help("write `with 95% confidence`"),
            (Kind::Word, "percent") => mistake.help("write `%`"),
            (Kind::Word, "xor") => mistake.help("write `(a or b) and not (a and b)`"),
            (Kind::Word, "where") => mistake.help("a subset is asked for in a function: `mean(score where subset = \"ja\")`"),
            (Kind::Word, "in") => mistake.help("write `between LOW and HIGH`"),
            (Kind::Word, "improve" | "improved") => mistake.help("write `improves over`"),
            (Kind::Word, word) if !lexer::is_keyword(word) => {
                mistake.help(did_you_mean(word, &["and", "or", "between", "improves", "by"]))
            }
            _ => mistake,
        }
    }
}

fn found(token: &Token) -> String {
    match token.kind {
        Kind::End => "the end of the rule".to_owned(),
        _ => format!("`{}`", token.text),
    }
}
