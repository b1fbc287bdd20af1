//! The schedule against a simulated cluster: nodes that die and come back, and a job on each of them at a time. Time is simulated,
//! so that hours of a cluster take seconds here.

use super::*;
use stages::draw::{Draw, Stream};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A cluster, in units of the mean time of a stage.
struct Cluster {
    nodes: usize,
    /// The mean time until a node dies.
    life: f64,
    /// The time until one that died is back.
    repair: f64,
}

/// The end of a run on a cluster.
#[derive(Debug)]
struct SimulatedRun {
    makespan: f64,
    /// The time that no list schedule beats on nodes that die so: the longest chain, or all work and what was lost of it and of
    /// the nodes, shared by all of them.
    bound: f64,
    done: usize,
    /// Jobs that ended with their node, and were done again.
    lost: usize,
}

/// A change of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NodeChange {
    Dies,
    IsBack,
    /// The job that it began with this number ends.
    Ends(u64),
}

/// Simulated time in whole nanoseconds of a unit, which has an order.
fn tick(time: f64) -> u64 {
    (time * 1e9) as u64
}

fn exponential(stream: &mut Stream, mean: f64) -> f64 {
    -mean * (1.0 - stream.uniform()).ln()
}

/// Stages in layers, each of which needs two of the layer before.
fn layers(layers: usize, width: usize) -> String {
    let mut text = "name: wide\nstages:\n".to_owned();
    for layer in 0..layers {
        let from = match layer.checked_sub(1) {
            None => "{text: ./text.jsonl}".to_owned(),
            Some(before) => {
                format!("{{a: 'l{before}_${{k}}', b: 'l{before}_${{(k * 7 + {layer}) % {width} + 1}}'}}")
            }
        };
        text += &format!(
            "  l{layer}_${{k}}: {{kind: exec, for: {{k: 1..{width}}}, from: {from}, with: {{command: ['true', 'l{layer}', 'k${{k}}']}}}}\n"
        );
    }
    text
}

/// The time of the longest chain of stages.
fn longest_chain(plan: &Plan, times: &[f64]) -> f64 {
    // Layers stand in their order in the file.
    let mut ends = vec![0.0_f64; plan.stages.len()];
    for (id, stage) in plan.stages.iter().enumerate() {
        let begin = stage.needs.iter().map(|need| ends[*need]).fold(0.0, f64::max);
        ends[id] = begin + times[id];
    }
    ends.into_iter().fold(0.0, f64::max)
}

fn simulate(plan: &Plan, cluster: &Cluster, seed: u64) -> SimulatedRun {
    let draw = Draw { seed, kind: "cluster", purpose: "times" };
    let mut stream = draw.stream(0, 0);
    // A few are much longer than the others.
    let times: Vec<f64> = plan.stages.iter().map(|_| 0.5 + exponential(&mut stream, 0.5)).collect();
    let (contents, decisions) = (contents(plan), BTreeMap::new());
    let everything = select(plan, &Filter::default()).unwrap();
    let mut schedule = Schedule::new(plan, &everything, &contents, &decisions);
    let mut commands: VecDeque<Command> = schedule.begin().into();
    let mut pending: VecDeque<Request> = VecDeque::new();
    let mut free: Vec<usize> = (0..cluster.nodes).collect();
    let mut running: Vec<Option<(Request, f64)>> = (0..cluster.nodes).map(|_| None).collect();
    let mut begun = vec![0_u64; cluster.nodes];
    let mut changes: BinaryHeap<Reverse<(u64, usize, NodeChange)>> = BinaryHeap::new();
    for node in 0..cluster.nodes {
        let dies = exponential(&mut stream, cluster.life);
        changes.push(Reverse((tick(dies), node, NodeChange::Dies)));
    }
    let (mut now, mut wasted, mut lost, mut done) = (0.0, 0.0, 0, 0);
    loop {
        while let Some(command) = commands.pop_front() {
            match command {
                Command::Obtain(request) => pending.push_back(request),
                Command::End(_, outcome) => {
                    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
                    done += 1;
                }
                Command::Tell(_) => {}
                _ => panic!("stages without gates ask for nothing else"),
            }
        }
        if done == plan.stages.len() {
            break;
        }
        while !pending.is_empty()
            && let Some(node) = free.pop()
        {
            let request = pending.pop_front().expect("there was one");
            begun[node] += 1;
            let ends = now + times[request.stage];
            running[node] = Some((request, now));
            changes.push(Reverse((tick(ends), node, NodeChange::Ends(begun[node]))));
        }
        let Reverse((at, node, change)) = changes.pop().expect("nodes that die come back");
        now = at as f64 / 1e9;
        match change {
            NodeChange::Dies => {
                wasted += cluster.repair;
                if let Some((request, since)) = running[node].take() {
                    wasted += now - since;
                    lost += 1;
                    pending.push_front(request);
                } else {
                    free.retain(|other| *other != node);
                }
                changes.push(Reverse((tick(now + cluster.repair), node, NodeChange::IsBack)));
            }
            NodeChange::IsBack => {
                free.push(node);
                let dies = now + exponential(&mut stream, cluster.life);
                changes.push(Reverse((tick(dies), node, NodeChange::Dies)));
            }
            // Not if it ended with its node.
            NodeChange::Ends(number) => {
                if let Some((request, since)) = running[node].take_if(|_| begun[node] == number) {
                    free.push(node);
                    let content = Content::Tree(Digest::of(request.action.key.to_string().as_bytes()));
                    let candidate = Candidate { step: 0, content, metrics: BTreeMap::new(), tables: BTreeMap::new() };
                    let record = Arc::new(Record { candidates: vec![candidate] });
                    let known = News::Known { key: request.action.key, record, seconds: Some(now - since) };
                    commands.extend(schedule.news(known));
                }
            }
        }
    }
    assert_eq!(schedule.unfinished().count(), 0);
    let shared = (times.iter().sum::<f64>() + wasted) / cluster.nodes as f64;
    SimulatedRun { makespan: now, bound: shared.max(longest_chain(plan, &times)), done, lost }
}

#[test]
fn a_cluster_whose_nodes_die_does_every_stage_and_is_hardly_ever_idle() {
    let (plan, _place) = plan(&layers(20, 100));
    let run = simulate(&plan, &Cluster { nodes: 20, life: 50.0, repair: 5.0 }, 7);
    assert!(run.done == 2000 && run.lost > 20, "{run:?}");
    assert!(run.makespan <= 1.1 * run.bound, "{run:?}");
}

/// The most memory that this process has had, bytes.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

#[test]
#[ignore = "half a minute; run by .ci/long"]
fn long_a_thousand_nodes_do_a_hundred_thousand_stages() {
    let (plan, _place) = plan(&layers(20, 5000));
    let began = std::time::Instant::now();
    let run = simulate(&plan, &Cluster { nodes: 1000, life: 50.0, repair: 5.0 }, 7);
    let (seconds, memory) = (began.elapsed().as_secs_f64(), most_memory());
    println!(
        "{} stages on 1000 nodes: {:.1} units, {:.3} of the bound; {} jobs ended with their node and were done again; {seconds:.1} s of \
         scheduling; at most {} MB of memory",
        run.done,
        run.makespan,
        run.makespan / run.bound,
        run.lost,
        memory >> 20
    );
    assert!(run.done == 100_000 && run.lost > 1000, "{run:?}");
    assert!(run.makespan <= 1.1 * run.bound, "{run:?}");
    assert!(memory < 500_000_000, "{memory}");
}
