//! The part of the grammar that reads numbers: sums, names, calls of functions.

use super::super::column::FieldArgument;
use super::super::functions::{self, Asks, Body, Function, Takes};
use super::super::lexer::{self, Comparison, Kind, Token};
use super::super::tree::{Arguments, FamilyName, Name, Number, Operator, Other, Qualifier, Who};
use super::super::{Mistake, show};
use super::{Parser, RulePart, found};
use stages::stage::did_you_mean;
use std::ops::Range;

/// The most numbers that a function takes: the time to weigh a choice among them grows with their square.
const MOST_NUMBERS: usize = 300;

impl Parser<'_> {
    pub(super) fn sum(&mut self) -> Result<RulePart, Mistake> {
        self.chain(Parser::product, |symbol| match symbol {
            '+' => Some(Operator::Plus),
            '-' => Some(Operator::Minus),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<RulePart, Mistake> {
        self.chain(Parser::factor, |symbol| match symbol {
            '*' => Some(Operator::Times),
            '/' => Some(Operator::Over),
            _ => None,
        })
    }

    fn chain(
        &mut self,
        part: fn(&mut Self) -> Result<RulePart, Mistake>,
        operator: fn(char) -> Option<Operator>,
    ) -> Result<RulePart, Mistake> {
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
        Ok(RulePart::Number(Number::Chain { first, rest }, self.since(start)))
    }

    fn factor(&mut self) -> Result<RulePart, Mistake> {
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
        Ok(RulePart::Number(number, self.since(start)))
    }

    fn primary(&mut self) -> Result<RulePart, Mistake> {
        let token = self.peek().clone();
        match token.kind {
            Kind::Number(value) => {
                self.next();
                if self.is_symbol('%') {
                    self.next();
                    let share = show::number(value / 100.0, 12);
                    return Err(Mistake::new(
                        &self.since(token.range.start),
                        "`%` has a place only in a margin or a confidence",
                    )
                    .help(format!("write `{share}`, or a margin such as `a > b by {}%`", token.text)));
                }
                let literal = Number::Literal { value, text: token.text.to_owned() };
                Ok(RulePart::Number(literal, token.range))
            }
            Kind::Symbol('(') => {
                self.next();
                let inner = self.deeper(Parser::any_of)?;
                if !self.take_symbol(')') {
                    return Err(self.unclosed(&token.range));
                }
                let range = self.since(token.range.start);
                Ok(match inner {
                    RulePart::Test(test, _) => RulePart::Test(test, range),
                    RulePart::Number(number, _) => RulePart::Number(number, range),
                })
            }
            Kind::Word if self.after() == Kind::Symbol('(') && !lexer::is_keyword(token.text) => self.call(None),
            Kind::Word if !lexer::is_keyword(token.text) => self.name(),
            Kind::Word if token.text == "not" => Err(Mistake::new(&token.range, "`not` negates a whole comparison")
                .help("write `not a > b`, or `not (…)` around it")),
            _ => Err(self.no_number()),
        }
    }

    fn name(&mut self) -> Result<RulePart, Mistake> {
        let word = self.next();
        if !self.take_symbol('.') {
            if lexer::OWN_NAMES.contains(&word.text) {
                let help = format!("write `{}.` and a metric", word.text);
                return Err(Mistake::new(&word.range, format!("`{}` alone is no number", word.text)).help(help));
            }
            return Ok(self.leaf(
                (Who::Candidate, word.range.start..word.range.start),
                None,
                &word,
                word.range.clone(),
            ));
        }
        if self.peek().kind == Kind::Word && self.after() == Kind::Symbol('(') {
            let qualifier = match word.text {
                "self" | "incumbent" => {
                    let message = format!("`{}.` says whose metric is meant, not whose function", word.text);
                    return Err(Mistake::new(&word.range, message).help("write it before the metric in the brackets"));
                }
                "judge" => Qualifier::Judge,
                judge => Qualifier::By(judge.to_owned()),
            };
            return self.call(Some((qualifier, word.range)));
        }
        let metric = self.next();
        if metric.kind != Kind::Word || lexer::is_keyword(metric.text) {
            return Err(Mistake::new(
                &metric.range,
                format!("expected a metric after the dot, found {}", found(&metric)),
            ));
        }
        let who = |word: &Token| match word.text {
            "incumbent" => (Who::Incumbent, word.range.clone()),
            stage => (Who::Stage(stage.to_owned()), word.range.clone()),
        };
        if !self.take_symbol('.') {
            let range = word.range.start..metric.range.end;
            let nobody = (Who::Candidate, word.range.start..word.range.start);
            return Ok(match word.text {
                "self" => self.leaf(nobody, Some(Qualifier::Own), &metric, range),
                "judge" => self.leaf(nobody, Some(Qualifier::Judge), &metric, range),
                _ => self.leaf(who(&word), None, &metric, range),
            });
        }
        // Three words: the judge, the artifact that it measured, the metric.
        let (whose, metric) = (metric, self.next());
        if metric.kind != Kind::Word || lexer::is_keyword(metric.text) || self.is_symbol('.') {
            let message = format!("expected a metric and no further dot, found {}", found(&metric));
            return Err(
                Mistake::new(&metric.range, message).help("a name is `METRIC`, `STAGE.METRIC` or `JUDGE.STAGE.METRIC`")
            );
        }
        let qualifier = match word.text {
            "judge" => Qualifier::Judge,
            "self" | "incumbent" => {
                return Err(Mistake::new(&word.range, format!("`{}` is no judge", word.text))
                    .help("with two dots a name is `JUDGE.STAGE.METRIC`"));
            }
            judge => Qualifier::By(judge.to_owned()),
        };
        let range = word.range.start..metric.range.end;
        Ok(self.leaf(who(&whose), Some(qualifier), &metric, range))
    }

    fn leaf(
        &mut self,
        who: (Who, Range<usize>),
        qualifier: Option<Qualifier>,
        metric: &Token,
        range: Range<usize>,
    ) -> RulePart {
        let (metric, metric_range) = (metric.text.to_owned(), metric.range.clone());
        let (who, who_range) = who;
        let (like, family, meaning) = (None, None, None);
        let name = Name {
            who,
            who_range,
            qualifier,
            metric,
            is_field: false,
            subset: None,
            range: range.clone(),
            metric_range,
            like,
            family,
            meaning,
        };
        self.leaves.names.push(name);
        RulePart::Number(Number::Name(self.leaves.names.len() - 1), range)
    }

    /// Adds the same metric of another artifact, to be read from the same origin.
    pub(super) fn same_metric(&mut self, like: usize, who: Who, range: Range<usize>) -> usize {
        let (who_range, metric_range, qualifier) = (range.clone(), range.clone(), None);
        let first = self.leaves.names[like].clone();
        self.leaves.names.push(Name { who, who_range, qualifier, range, metric_range, like: Some(like), ..first });
        self.leaves.names.len() - 1
    }

    /// Reads a stage, or the incumbent.
    pub(super) fn artifact(&mut self) -> Result<(Who, Range<usize>), Mistake> {
        let word = self.next();
        let is_stage = word.kind == Kind::Word && !lexer::is_keyword(word.text);
        match word.text {
            "incumbent" => Ok((Who::Incumbent, word.range)),
            stage if is_stage && !lexer::OWN_NAMES.contains(&stage) => Ok((Who::Stage(stage.to_owned()), word.range)),
            _ => Err(Mistake::new(&word.range, format!("expected a stage or `incumbent`, found {}", found(&word)))),
        }
    }

    /// Reads a call. `by` is the judge named before the function.
    fn call(&mut self, by: Option<(Qualifier, Range<usize>)>) -> Result<RulePart, Mistake> {
        let word = self.next();
        let Some(function) = functions::function(word.text) else {
            let names: Vec<&str> = functions::FUNCTIONS.iter().map(|function| function.name).collect();
            let mistake = Mistake::new(&word.range, format!("unknown function `{}`", word.text));
            return Err(mistake.help(did_you_mean(word.text, &names)));
        };
        let start = by.as_ref().map_or(word.range.start, |(_, range)| range.start);
        let qualifier = match (by, &function.body) {
            (Some(by), Body::Answers(_)) => Some(by),
            (Some((_, range)), _) => {
                let message = format!("`{}` compares no answers, so no judge belongs before it", function.name);
                return Err(Mistake::new(&range, message).help("write the judge before the metric in the brackets"));
            }
            (None, _) => None,
        };
        let open = self.next().range;
        let usage = |mistake: Mistake| match mistake.help {
            None => mistake.help(format!("`{}`: {}", function.signature, function.doc)),
            Some(_) => mistake,
        };
        let arguments = self.arguments(function, qualifier).map_err(usage)?;
        if self.is_symbol(',') {
            return Err(usage(Mistake::new(&self.peek().range, format!("too many arguments for `{}`", function.name))));
        }
        if !self.take_symbol(')') {
            return Err(match self.peek().kind {
                Kind::End => self.unclosed(&open),
                _ => usage(Mistake::new(&self.peek().range, format!("expected `)`, found {}", found(self.peek())))),
            });
        }
        let range = self.since(start);
        Ok(RulePart::Number(Number::Call { function, arguments, range: range.clone() }, range))
    }

    fn arguments(
        &mut self,
        function: &'static Function,
        qualifier: Option<(Qualifier, Range<usize>)>,
    ) -> Result<Arguments, Mistake> {
        match &function.body {
            Body::Numbers(of) => Ok(Arguments::Numbers(of, self.numbers(of.takes, function.name)?)),
            Body::Answers(of) => {
                let (who, range) = self.artifact()?;
                if of.is_over_changed && !(self.take_word("over") && self.take_word("changed")) {
                    return Err(Mistake::new(&self.peek().range, "say what the rate is over: `over changed`"));
                }
                self.leaves.others.push(Other { who, range, qualifier, function, of, judge: None });
                Ok(Arguments::Answers(self.leaves.others.len() - 1))
            }
            Body::Field(of) => {
                let field = self.bare_name("a field of the items")?;
                self.leaves.names[field].is_field = true;
                let argument = self.field_argument(of.asks)?;
                self.leaves.names[field].subset = self.subset()?;
                Ok(Arguments::Field(of, field, argument))
            }
            Body::Members(of) => {
                let name = self.bare_name("a metric of the stages of a `for`, such as `ppo.mean_score`")?;
                let range = self.leaves.names[name].range.clone();
                // No stage has this name: the stages that it stands for are known when the rule is checked.
                let typed = self.leaves.names.remove(name);
                if !matches!(typed.who, Who::Stage(_)) {
                    let message = format!("`{}` is a metric of one stage", typed.label());
                    return Err(Mistake::new(&range, message));
                }
                self.leaves.families.push(FamilyName { typed, members: Vec::new() });
                let family = self.leaves.families.len() - 1;
                if !of.asks_condition {
                    return Ok(Arguments::Members(of, family, None));
                }
                let comparison = self.comparison_sign()?;
                let bound = self.deeper(Parser::sum)?.number()?;
                Ok(Arguments::Members(of, family, Some((comparison, Box::new(bound)))))
            }
            Body::Checkpoints(of) => {
                let metric = self.bare_name("a metric of this stage")?;
                if self.leaves.names[metric].who != Who::Candidate {
                    let range = self.leaves.names[metric].range.clone();
                    return Err(Mistake::new(&range, "only this stage's own checkpoints are looked at"));
                }
                Ok(Arguments::Checkpoints(of, metric))
            }
        }
    }

    fn numbers(&mut self, takes: Takes, function: &str) -> Result<Vec<Number>, Mistake> {
        if takes == Takes::MetricAndStage {
            let metric = self.bare_name("a metric of this stage or of its judge")?;
            if !self.take_symbol(',') {
                let message = format!("expected `,` and a stage, found {}", found(self.peek()));
                return Err(Mistake::new(&self.peek().range, message));
            }
            let (who, range) = self.artifact()?;
            return Ok(vec![Number::Name(metric), Number::Name(self.same_metric(metric, who, range))]);
        }
        let start = self.peek().range.start;
        let mut numbers = vec![self.deeper(Parser::sum)?.number()?];
        if takes == Takes::One {
            return Ok(numbers);
        }
        while numbers.len() < MOST_NUMBERS && self.take_symbol(',') {
            numbers.push(self.deeper(Parser::sum)?.number()?);
        }
        if numbers.len() < 2 && self.is_symbol(')') {
            let message = format!("`{function}` needs at least two arguments");
            return Err(Mistake::new(&self.since(start), message));
        }
        Ok(numbers)
    }

    /// Reads a name that nothing is computed with.
    fn bare_name(&mut self, what: &str) -> Result<usize, Mistake> {
        let parsed = self.deeper(Parser::sum)?;
        let range = parsed.range();
        match parsed {
            RulePart::Number(Number::Name(name), _) => Ok(name),
            _ => Err(Mistake::new(&range, format!("expected {what}"))),
        }
    }

    /// Reads what follows the field.
    fn field_argument(&mut self, asks: Asks) -> Result<FieldArgument, Mistake> {
        match asks {
            Asks::Nothing => Ok(FieldArgument::Nothing),
            Asks::Share => {
                if !self.take_symbol(',') {
                    let message = format!("expected `,` and a share from 0 to 1, found {}", found(self.peek()));
                    return Err(Mistake::new(&self.peek().range, message));
                }
                let (share, text, range) = self.literal("a share from 0 to 1")?;
                if !(0.0..=1.0).contains(&share) {
                    return Err(Mistake::new(&range, "a share lies between 0 and 1"));
                }
                Ok(FieldArgument::Share(share, text))
            }
            Asks::Condition => {
                let comparison = self.comparison_sign()?;
                let (bound, text, _) = self.literal("a number")?;
                Ok(FieldArgument::Condition(comparison, bound, text))
            }
        }
    }

    fn comparison_sign(&mut self) -> Result<Comparison, Mistake> {
        let Kind::Compare(comparison) = self.peek().kind else {
            let message = format!("expected a comparison, found {}", found(self.peek()));
            return Err(Mistake::new(&self.peek().range, message));
        };
        self.next();
        Ok(comparison)
    }

    /// Reads `where subset = "NAME"`, if it stands here.
    fn subset(&mut self) -> Result<Option<String>, Mistake> {
        if !self.take_word("where") {
            return Ok(None);
        }
        let is_it = self.take_word("subset") && self.peek().kind == Kind::Compare(Comparison::Equal);
        if is_it {
            self.next();
        }
        let name = self.next();
        if !is_it || name.kind != Kind::Quoted {
            let message = format!("expected `subset = \"NAME\"`, found {}", found(&name));
            return Err(
                Mistake::new(&name.range, message).help("`subset` is a field of the prompts: `where subset = \"ja\"`")
            );
        }
        Ok(Some(name.text.trim_matches('"').to_owned()))
    }

    fn literal(&mut self, what: &str) -> Result<(f64, String, Range<usize>), Mistake> {
        let parsed = self.deeper(Parser::sum)?;
        let range = parsed.range();
        match parsed {
            RulePart::Number(Number::Literal { value, text }, _) => Ok((value, text, range)),
            _ => Err(Mistake::new(&range, format!("expected {what}"))),
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
            (_, Kind::Quoted) => Mistake::new(&token.range, message).help("names are written without quotes"),
            (_, Kind::Symbol('+')) => Mistake::new(&token.range, message).help("leave out the plus sign"),
            _ => Mistake::new(&token.range, message),
        }
    }
}
