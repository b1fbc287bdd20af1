//! The part of the grammar that reads numbers: sums, names, calls of functions.

use super::super::functions::{self, Body, Function};
use super::super::lexer::{self, Comparison, Kind, Token};
use super::super::tree::{Arguments, Name, Number, Operator, Other, Who, Yardstick};
use super::super::{Mistake, show};
use super::{Parsed, Parser, found};
use stages::stage::did_you_mean;
use std::ops::Range;

impl Parser<'_> {
    pub(super) fn sum(&mut self) -> Result<Parsed, Mistake> {
        self.chain(Parser::product, |symbol| match symbol {
            '+' => Some(Operator::Plus),
            '-' => Some(Operator::Minus),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Parsed, Mistake> {
        self.chain(Parser::factor, |symbol| match symbol {
            '*' => Some(Operator::Times),
            '/' => Some(Operator::Over),
            _ => None,
        })
    }

    fn chain(
        &mut self,
        part: fn(&mut Self) -> Result<Parsed, Mistake>,
        operator: fn(char) -> Option<Operator>,
    ) -> Result<Parsed, Mistake> {
        let start = self.peek().range.start;
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Kind::Symbol(symbol) = self.peek().kind
            && let Some(operator) = operator(symbol)
        {
            self.next();
            rest.push((operator, part(self)?.number()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let first = Box::new(first.number()?);
        Ok(Parsed::Number(Number::Chain { first, rest }, self.since(start)))
    }

    fn factor(&mut self) -> Result<Parsed, Mistake> {
        let start = self.peek().range.start;
        if !self.take_symbol('-') {
            return self.primary();
        }
        let number = match self.deeper(Parser::factor)?.number()? {
            Number::Literal { value, text } if !text.starts_with('-') => {
                Number::Literal { value: -value, text: format!("-{text}") }
            }
            other => Number::Negative(Box::new(other)),
        };
        Ok(Parsed::Number(number, self.since(start)))
    }

    fn primary(&mut self) -> Result<Parsed, Mistake> {
        let token = self.peek().clone();
        match token.kind {
            Kind::Number(value) => {
                self.next();
                if self.is_symbol('%') {
                    self.next();
                    let share = show::number(value / 100.0, 12);
                    return Err(Mistake::new(&self.since(token.range.start), "`%` has a place only after `by`")
                        .help(format!("write `{share}`, or a margin such as `a > b by {}%`", token.text)));
                }
                let literal = Number::Literal { value, text: token.text.to_owned() };
                Ok(Parsed::Number(literal, token.range))
            }
            Kind::Symbol('(') => {
                self.next();
                let inner = self.deeper(Parser::any_of)?;
                if !self.take_symbol(')') {
                    return Err(self.unclosed(&token.range));
                }
                let range = self.since(token.range.start);
                Ok(match inner {
                    Parsed::Test(test, _) => Parsed::Test(test, range),
                    Parsed::Number(number, _) => Parsed::Number(number, range),
                })
            }
            Kind::Word if self.after() == Kind::Symbol('(') && !lexer::is_keyword(token.text) => self.call(),
            Kind::Word if !lexer::is_keyword(token.text) => self.name(),
            Kind::Word if token.text == "not" => Err(Mistake::new(&token.range, "`not` negates a whole comparison")
                .help("write `not a > b`, or `not (…)` around it")),
            _ => Err(self.no_number()),
        }
    }

    fn name(&mut self) -> Result<Parsed, Mistake> {
        let word = self.next();
        if !self.take_symbol('.') {
            if lexer::OWN_NAMES.contains(&word.text) {
                let help = format!("write `{}.` and a metric", word.text);
                return Err(Mistake::new(&word.range, format!("`{}` alone is no number", word.text)).help(help));
            }
            return Ok(self.leaf(Who::Candidate, None, &word, word.range.clone()));
        }
        let metric = self.next();
        if metric.kind != Kind::Word || lexer::is_keyword(metric.text) {
            return Err(Mistake::new(
                &metric.range,
                format!("expected a metric after the dot, found {}", found(&metric)),
            ));
        }
        if self.is_symbol('.') {
            return Err(Mistake::new(&self.peek().range, "a name has one dot: the stage, then its metric"));
        }
        let range = word.range.start..metric.range.end;
        let (who, said) = match word.text {
            "self" => (Who::Candidate, Some(Yardstick::Own)),
            "judge" => (Who::Candidate, Some(Yardstick::Judge)),
            "incumbent" => (Who::Incumbent, None),
            stage => (Who::Stage(stage.to_owned()), None),
        };
        Ok(self.leaf(who, said, &metric, range))
    }

    fn leaf(&mut self, who: Who, said: Option<Yardstick>, metric: &Token, range: Range<usize>) -> Parsed {
        let (metric, metric_range) = (metric.text.to_owned(), metric.range.clone());
        let name = Name { who, said, metric, range: range.clone(), metric_range, like: None, meaning: None };
        self.leaves.names.push(name);
        Parsed::Number(Number::Name(self.leaves.names.len() - 1), range)
    }

    /// The metric of another artifact, to be read by the same yardstick.
    pub(super) fn same_metric(&mut self, like: usize, who: Who, range: Range<usize>) -> usize {
        let metric = self.leaves.names[like].metric.clone();
        let metric_range = range.clone();
        self.leaves.names.push(Name { who, said: None, metric, range, metric_range, like: Some(like), meaning: None });
        self.leaves.names.len() - 1
    }

    /// A stage, or the incumbent.
    pub(super) fn artifact(&mut self) -> Result<(Who, Range<usize>), Mistake> {
        let word = self.next();
        let is_stage = word.kind == Kind::Word && !lexer::is_keyword(word.text);
        match word.text {
            "incumbent" => Ok((Who::Incumbent, word.range)),
            stage if is_stage && !lexer::OWN_NAMES.contains(&stage) => Ok((Who::Stage(stage.to_owned()), word.range)),
            _ => Err(Mistake::new(&word.range, format!("expected a stage or `incumbent`, found {}", found(&word)))),
        }
    }

    fn call(&mut self) -> Result<Parsed, Mistake> {
        let word = self.next();
        let Some(function) = functions::function(word.text) else {
            let names: Vec<&str> = functions::FUNCTIONS.iter().map(|function| function.name).collect();
            let mistake = Mistake::new(&word.range, format!("unknown function `{}`", word.text));
            return Err(mistake.help(did_you_mean(word.text, &names)));
        };
        let open = self.next().range;
        let usage = |mistake: Mistake| match mistake.help {
            None => mistake.help(format!("`{}`: {}", function.signature, function.doc)),
            Some(_) => mistake,
        };
        let arguments = self.arguments(function).map_err(usage)?;
        if self.is_symbol(',') {
            return Err(usage(Mistake::new(&self.peek().range, format!("too many arguments for `{}`", function.name))));
        }
        if !self.take_symbol(')') {
            return Err(match self.peek().kind {
                Kind::End => self.unclosed(&open),
                _ => usage(Mistake::new(&self.peek().range, format!("expected `)`, found {}", found(self.peek())))),
            });
        }
        let range = self.since(word.range.start);
        Ok(Parsed::Number(Number::Call { function, arguments, range: range.clone() }, range))
    }

    fn arguments(&mut self, function: &'static Function) -> Result<Arguments, Mistake> {
        match function.body {
            Body::Single(_) => Ok(Arguments::Numbers(vec![self.deeper(Parser::sum)?.number()?])),
            Body::Several(_) | Body::Directed(_) => {
                let start = self.peek().range.start;
                let mut numbers = vec![self.deeper(Parser::sum)?.number()?];
                while self.take_symbol(',') {
                    numbers.push(self.deeper(Parser::sum)?.number()?);
                }
                if numbers.len() < 2 && self.is_symbol(')') {
                    let message = format!("`{}` needs at least two arguments", function.name);
                    return Err(Mistake::new(&self.since(start), message));
                }
                Ok(Arguments::Numbers(numbers))
            }
            Body::Paired { is_over_changed, .. } => {
                let (who, range) = self.artifact()?;
                if is_over_changed && !(self.take_word("over") && self.take_word("changed")) {
                    return Err(Mistake::new(&self.peek().range, "say what the rate is over: `over changed`"));
                }
                self.leaves.others.push(Other { who, range, function });
                Ok(Arguments::Other(self.leaves.others.len() - 1))
            }
            Body::Against(_) => {
                let metric = self.deeper(Parser::sum)?;
                let range = metric.range();
                let metric = match metric {
                    Parsed::Number(Number::Name(name), _) if self.leaves.names[name].who == Who::Candidate => name,
                    _ => return Err(Mistake::new(&range, "expected a metric of this stage or of its judge")),
                };
                if !self.take_symbol(',') {
                    let message = format!("expected `,` and a stage, found {}", found(self.peek()));
                    return Err(Mistake::new(&self.peek().range, message));
                }
                let (who, range) = self.artifact()?;
                Ok(Arguments::Against(metric, self.same_metric(metric, who, range)))
            }
        }
    }

    fn no_number(&self) -> Mistake {
        let token = self.peek();
        let before = self.at.checked_sub(1).map(|before| self.tokens[before].kind);
        let message = format!("expected a number, a metric or `(`, found {}", found(token));
        match (before, token.kind) {
            (Some(Kind::Compare(sign)), Kind::Compare(Comparison::Equal)) => {
                Mistake::new(&token.range, message).help(format!("write `{}=` in one", sign.sign()))
            }
            (_, Kind::Symbol('+')) => Mistake::new(&token.range, message).help("leave out the plus sign"),
            _ => Mistake::new(&token.range, message),
        }
    }
}
