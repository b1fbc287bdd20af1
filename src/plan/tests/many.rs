//! Pipelines of thousands of stages: everything from the text to the plan takes time proportional to their number.

use super::*;
use std::time::{Duration, Instant};

fn source(text: String) -> SourceText {
    SourceText { path: PathBuf::from("rlhf.yaml"), text, overrides: Vec::new(), rule: None }
}

fn planned(text: &SourceText) -> Result<Plan, Vec<Diagnostic>> {
    crate::spec::read(text, &|_| None).and_then(|spec| resolve(spec, Path::new(""), KINDS))
}

/// One stage for each number, with the text that `stage` adds to it.
fn stages(count: usize, order: impl Fn(usize) -> usize, stage: impl Fn(usize) -> String) -> SourceText {
    let mut text = "stages:\n".to_owned();
    for number in (0..count).map(order) {
        writeln!(text, "  s{number}: {{kind: exec, with: {{command: [echo, \"{number}\"]}}, {}}}", stage(number))
            .unwrap();
    }
    source(text)
}

fn chain(number: usize) -> String {
    if number == 0 { String::new() } else { format!("from: {{in: s{}}}", number - 1) }
}

/// The CPU time of this thread so far, if the system reports it; else the clock time.
fn spent(start: Instant) -> Duration {
    let of_thread = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = of_thread.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// The time of planning; other work on the machine can only make it longer.
fn time(text: &SourceText) -> Duration {
    let start = Instant::now();
    let before = spent(start);
    drop(planned(text));
    spent(start) - before
}

/// Checks that planning four times as many stages takes less than eight times as long: linear growth would give four,
/// and all pairs of stages sixteen. Both sizes fill the processor's caches, so that these make no difference.
fn check_growth(what: &str, text: impl Fn(usize) -> SourceText) {
    let (few, many) = (text(4_000), text(16_000));
    // The shortest of several, alternating, so that a busy moment of the machine affects both; of more where the machine
    // is busy for longer.
    let (mut shortest_few, mut shortest_many) = (Duration::MAX, Duration::MAX);
    for tries in 1..=25 {
        shortest_few = shortest_few.min(time(&few));
        shortest_many = shortest_many.min(time(&many));
        if tries >= 5 && shortest_many < shortest_few * 8 {
            return;
        }
    }
    panic!("{what}: 4,000 stages in {shortest_few:?}, 16,000 in {shortest_many:?}");
}

#[test]
fn ten_thousand_stages_are_planned_in_the_order_of_their_needs() {
    // Written from last to first.
    let plan = planned(&stages(10_000, |number| 9_999 - number, chain)).unwrap();
    let names: Vec<String> = (0..10_000).map(|number| format!("s{number}")).collect();
    assert!(plan.stages.iter().map(|stage| &stage.name).eq(&names));
    assert_eq!((plan.stages[7].needs.as_slice(), plan.warnings.len()), (&[6][..], 0));
}

#[test]
fn the_time_of_planning_grows_with_the_number_of_stages_and_no_faster() {
    check_growth("chain", |count| stages(count, |number| number, chain));
    check_growth("chain, backwards", |count| stages(count, |number| count - 1 - number, chain));
    check_growth("fan", |count| {
        stages(count, |number| number, |number| if number == 0 { String::new() } else { "from: {in: s0}".to_owned() })
    });
    check_growth("for", |count| {
        source(format!(
            "stages:\n  s_${{k}}: {{kind: exec, for: {{k: 1..{count}}}, with: {{command: [echo, \"${{k}}\"]}}}}\n"
        ))
    });
    check_growth("stages that are alike", |count| {
        source(format!("stages:\n  s_${{k}}: {{kind: exec, for: {{k: 1..{count}}}, with: {{command: [echo]}}}}\n"))
    });
    check_growth("gates that name the stage before, backwards", |count| {
        let gate = |number: usize| match number {
            0 => "metrics: {m: higher}".to_owned(),
            _ => format!("metrics: {{m: higher}}, gate: {{require: m > s{}.m}}", number - 1),
        };
        stages(count, |number| count - 1 - number, gate)
    });
    check_growth("gates that keep the incumbent", |count| {
        let keeps = |number: usize| match number {
            0 => "metrics: {m: higher}".to_owned(),
            _ => format!(
                "{}, metrics: {{m: higher}}, incumbent: in, gate: {{require: m > incumbent.m, on_fail: keep}}",
                chain(number)
            ),
        };
        stages(count, |number| number, keeps)
    });
}

#[test]
fn ten_thousand_mistakes_are_found_and_a_hundred_of_them_shown() {
    let text = stages(10_000, |number| number, |number| format!("from: {{in: t{number}}}"));
    let mistakes = planned(&text).err().unwrap();
    let shown = render(&text, &mistakes, false);
    assert_eq!((mistakes.len(), shown.matches("error: unknown stage `t").count()), (10_000, 100));
    assert!(shown.ends_with("… and 9900 more, 9900 of them errors\n\n"), "{shown}");
}

#[test]
fn a_cycle_through_all_of_ten_thousand_stages_is_one_mistake() {
    let text = stages(10_000, |number| number, |number| format!("from: {{in: s{}}}", (number + 1) % 10_000));
    let mistakes = planned(&text).err().unwrap();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].message.starts_with("these stages wait for each other: s0 -> s9999 -> s9998"));
}
