//! The claim that a rule makes, apart from its thresholds: a bound holds for every threshold at once, so that another one
//! is no further look at the items.

use super::column::restriction;
use super::tree::{Arguments, Confidence, Leaves, Margin, Name, Number, Other, Qualifier, Rule, Test, Who};

impl Rule {
    /// The confident comparisons of the rule in one spelling, without plain thresholds, with `called` in place of the name
    /// of each stage and judge. Rules with equal claims about equal numbers ask one question.
    pub fn claim(&self, called: &dyn Fn(&str) -> String) -> String {
        ClaimText { leaves: &self.leaves, called }.test(&self.test)
    }
}

struct ClaimText<'a> {
    leaves: &'a Leaves,
    called: &'a dyn Fn(&str) -> String,
}

impl ClaimText<'_> {
    fn test(&self, test: &Test) -> String {
        let all = |tests: &[Test]| tests.iter().map(|test| self.test(test)).collect::<Vec<_>>().join(", ");
        match test {
            Test::And(tests) => format!("all({})", all(tests)),
            Test::Or(tests) => format!("any({})", all(tests)),
            Test::Not(test) => format!("not({})", self.test(test)),
            // What asks for no confidence spends none of the level.
            _ if !test.is_confident() => "plain".to_owned(),
            Test::Compare { first, links, margin, confidence } => {
                let mut text = self.side(first);
                for (comparison, number) in links {
                    text += &format!(" {} {}", if comparison.is_downwards() { "<" } else { ">" }, self.side(number));
                }
                text + &relative(margin) + &level(confidence)
            }
            Test::Between { value, low, high, confidence } => {
                let [value, low, high] = [value, low, high].map(|number| self.side(number));
                format!("{value} between {low} and {high}{}", level(confidence))
            }
            Test::Improves { metric, over, margin, confidence } => {
                let [metric, over] = [metric, over].map(|name| self.name(&self.leaves.names[*name]));
                format!("{metric} improves over {over}{}{}", relative(margin), level(confidence))
            }
        }
    }

    /// One side of a comparison without the numbers that are only added to it.
    fn side(&self, number: &Number) -> String {
        match number {
            Number::Literal { .. } => "#".to_owned(),
            Number::Chain { first, rest } if rest[0].0.is_sum() => {
                let first = (!matches!(**first, Number::Literal { .. })).then(|| self.number(first));
                let rest = rest.iter().filter(|(_, number)| !matches!(number, Number::Literal { .. }));
                let rest = rest.map(|(operator, number)| format!("{} {}", operator.sign(), self.number(number)));
                let terms: Vec<String> = first.into_iter().chain(rest).collect();
                if terms.is_empty() { "#".to_owned() } else { terms.join(" ") }
            }
            other => self.number(other),
        }
    }

    fn number(&self, number: &Number) -> String {
        match number {
            Number::Literal { value, .. } => value.to_string(),
            Number::Name(name) => self.name(&self.leaves.names[*name]),
            Number::Negative(inner) => format!("-({})", self.number(inner)),
            Number::Chain { first, rest } => {
                let rest =
                    rest.iter().map(|(operator, number)| format!(" {} {}", operator.sign(), self.number(number)));
                format!("({}{})", self.number(first), rest.collect::<String>())
            }
            Number::Call { function, arguments, .. } => format!("{}({})", function.name, self.arguments(arguments)),
        }
    }

    fn arguments(&self, arguments: &Arguments) -> String {
        match arguments {
            Arguments::Numbers(_, numbers) => {
                numbers.iter().map(|number| self.number(number)).collect::<Vec<_>>().join(", ")
            }
            Arguments::Answers(other) => self.other(&self.leaves.others[*other]),
            Arguments::Field(_, name, argument) => {
                let name = &self.leaves.names[*name];
                format!("{}{argument}{}", self.name(name), restriction(name.subset.as_deref()))
            }
            Arguments::Checkpoints(_, name) => self.name(&self.leaves.names[*name]),
            Arguments::Members(_, family, condition) => {
                let members = self.leaves.families[*family].members.iter().map(|name| &self.leaves.names[*name]);
                let members = members.map(|name| self.name(name)).collect::<Vec<_>>().join("+");
                let condition =
                    condition.as_ref().map(|(sign, bound)| format!(" {} {}", sign.sign(), self.number(bound)));
                members + &condition.unwrap_or_default()
            }
        }
    }

    fn name(&self, name: &Name) -> String {
        format!("{}{}.{}", self.by(name.qualifier.as_ref()), self.who(&name.who), name.metric)
    }

    fn other(&self, other: &Other) -> String {
        let by = self.by(other.qualifier.as_ref().map(|(qualifier, _)| qualifier));
        format!("{by}{}{}", self.who(&other.who), if other.of.is_over_changed { " over changed" } else { "" })
    }

    fn by(&self, qualifier: Option<&Qualifier>) -> String {
        match qualifier {
            None => String::new(),
            Some(Qualifier::Own) => "own.".to_owned(),
            Some(Qualifier::Judge) => "judge.".to_owned(),
            Some(Qualifier::By(judge)) => format!("{}.", (self.called)(judge)),
        }
    }

    fn who(&self, who: &Who) -> String {
        match who {
            Who::Candidate => "candidate".to_owned(),
            Who::Incumbent => "incumbent".to_owned(),
            Who::Stage(stage) => (self.called)(stage),
        }
    }
}

/// A margin in percent is a multiple of a measured number, which is another claim; others are thresholds.
fn relative(margin: &Option<Margin>) -> String {
    margin
        .as_ref()
        .filter(|margin| margin.is_percent)
        .map_or_else(String::new, |margin| format!(" by {}%", margin.amount))
}

fn level(confidence: &Option<Confidence>) -> String {
    let text = |confidence: &Confidence| format!(" at {}{}", confidence.percent, confidence.form());
    confidence.as_ref().map_or_else(String::new, text)
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn claim(text: &str) -> String {
        parse(text).unwrap().claim(&|name| format!("<{name}>"))
    }

    #[test]
    fn another_threshold_is_the_same_claim() {
        let same = [
            "mean_score > incumbent.mean_score with 95% confidence",
            "mean_score >= incumbent.mean_score + 0.1 with 95% confidence",
            "mean_score > incumbent.mean_score by 0.2 with 95.0% confidence over 4 looks",
            "mean_score + 1 - 3 > incumbent.mean_score with 95% confidence over looks",
        ];
        for text in same {
            assert_eq!(claim(text), "candidate.mean_score > incumbent.mean_score at 95", "{text}");
        }
        assert_eq!(claim("eval.sft.kl < 0.5 with 99% confidence"), claim("eval.sft.kl <= 3 with 99% confidence"));
    }

    #[test]
    fn what_weighs_the_items_otherwise_is_another_claim() {
        let all = [
            "mean_score > incumbent.mean_score with 95% confidence",
            "mean_score > incumbent.mean_score with 99% confidence",
            "mean_score < incumbent.mean_score with 95% confidence",
            "mean_score > sft.mean_score with 95% confidence",
            "mean_score > 1.1 * incumbent.mean_score with 95% confidence",
            "mean_score > incumbent.mean_score by 5% with 95% confidence",
            "mean_score improves over incumbent with 95% confidence",
            "quantile(score, 0.1) > 0 with 95% confidence",
            "quantile(score, 0.2) > 0 with 95% confidence",
            "quantile(score, 0.2 where subset = \"ja\") > 0 with 95% confidence",
            "quantile(score, 0.2 where subset = \"en\") > 0 with 95% confidence",
            "share(score > 1) > 0.5 with 95% confidence",
            "win_rate(incumbent over changed) > 0.5 with 95% confidence",
            "not mean_score > 1 with 95% confidence",
            "mean_score > incumbent.mean_score with 95% confidence up to 2000 items",
            "mean_score > incumbent.mean_score with 95% confidence up to 4000 items",
            "mean_score > incumbent.mean_score with 95% confidence assuming bounds",
            "win_rate(incumbent over changed) > 0.5 with 95% confidence up to items",
            "mean_score > 1 with 95% confidence or kl < 3",
        ];
        let mut claims: Vec<String> = all.iter().map(|text| claim(text)).collect();
        claims.sort();
        claims.dedup();
        assert_eq!(claims.len(), all.len(), "{claims:#?}");
        assert_eq!(claim("kl < 3"), "plain");
    }
}
