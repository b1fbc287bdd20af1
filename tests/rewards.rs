//! Rewards that are not models made here, as a user meets them: another tokenizer, several by weight, a command, a server.

#[path = "support/judge.rs"]
mod judge;
#[path = "support/program.rs"]
mod program;

use judge::{Asked, Judge, Reply, answers};
use program::{Events, Place, ROOT, place};
use serde_json::json;
use std::fs;

/// Two small models with different tokenizers, the rest as `below` has it.
fn small(below: &str) -> Place {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    for (name, rows) in [("corpus", 200), ("sft", 40), ("rankings", 40), ("heldout", 8), ("prompts", 24)] {
        let name = format!("data/{name}.jsonl");
        let text = fs::read_to_string(format!("{ROOT}/pipelines/{name}")).unwrap();
        place.write(&name, &text.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>());
    }
    place.write("words.tsv", "the\t1\nand\t-2\n");
    write(&place, below);
    place
}

fn write(place: &Place, below: &str) {
    let model = |vocabulary: u32| {
        format!(
            "{{layers: 1, width: 32, inner: 64, heads: 2, kv_heads: 2, vocabulary: {vocabulary}, context: 192, steps: 20, batch: 8}}"
        )
    };
    place.write(
        "rlhf.yaml",
        &format!(
            "name: rlhf\nseed: 3\nstages:\n  base:\n    kind: pretrain\n    from: {{text: data/corpus.jsonl}}\n    with: {}\n  \
             other:\n    kind: pretrain\n    from: {{text: data/corpus.jsonl}}\n    with: {}\n  \
             rm:\n    kind: rm\n    from: {{model: base, data: data/rankings.jsonl}}\n    with: {{epochs: 1, batch: 8, max_tokens: 96}}\n  \
             strange:\n    kind: rm\n    from: {{model: other, data: data/rankings.jsonl}}\n    with: {{epochs: 1, batch: 8, max_tokens: 96}}\n{below}",
            model(400),
            model(300)
        ),
    );
}

fn ppo(reward: &str, with: &str) -> String {
    format!(
        "  ppo:\n    kind: ppo\n    from: {{policy: base, prompts: data/prompts.jsonl, reward: {reward}}}\n    with: {{steps: 2, batch: 8, \
         epochs: 1, max_new_tokens: 8, missing_eos_score: null{with}}}\n"
    )
}

fn eval(name: &str, reward: &str) -> String {
    format!(
        "  {name}:\n    kind: eval\n    from: {{policy: base, prompts: data/heldout.jsonl, reward: {reward}}}\n    with: {{max_new_tokens: 8}}\n"
    )
}

fn run(place: &Place, exit: i32) -> Events {
    place.run(&["run", "rlhf.yaml", "--device", "cpu", "--json"]).expect_exit(exit).events()
}

fn mean(events: &Events, stage: &str, metric: &str) -> f64 {
    events.outcome(stage)["metrics"][metric].as_f64().unwrap_or_else(|| panic!("{}", events.outcome(stage)))
}

fn worked(events: &Events, stage: &str) -> usize {
    events.of("started").filter(|event| event["stage"] == stage).count()
}

#[test]
fn a_reward_model_with_a_tokenizer_of_its_own_scores_texts_and_the_record_says_so() {
    let place = small(&[ppo("strange", ", critic: zero"), eval("measured", "[strange, rm]")].concat());
    place.run(&["check", "rlhf.yaml"]).expect_exit(0);
    let events = run(&place, 0);
    assert!(mean(&events, "ppo", "score_sd") > 0.0);
    assert!(mean(&events, "measured", "mean_score") != mean(&events, "measured", "mean_score_2"));
    let said = format!("{:?}", events.0);
    assert!(said.matches("reward 1 has a tokenizer or chat template of its own").count() >= 2, "{said}");
    assert_eq!(worked(&run(&place, 0), "ppo"), 0);
}

#[test]
fn a_critic_that_would_start_from_another_tokenizer_is_refused_before_anything_runs() {
    let place = small(&ppo("strange", ""));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2);
    assert!(
        refused.stderr.contains("cannot read the tokens of `base`") && refused.stderr.contains("critic: zero"),
        "{}",
        refused.stderr
    );
    write(&place, &ppo("words.tsv", ""));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2);
    assert!(
        refused.stderr.contains("the critic starts from a reward model, and none is on `reward`"),
        "{}",
        refused.stderr
    );
    for fine in [ppo("strange", ", advantage: rloo, answers_per_prompt: 2"), ppo("[words.tsv, rm, strange]", "")] {
        write(&place, &fine);
        place.run(&["check", "rlhf.yaml"]).expect_exit(0);
    }
}

#[test]
fn several_rewards_are_added_up_by_their_weights() {
    let all = [
        ppo("[{from: rm, weight: 0.5}, {from: strange, weight: -2}, {from: words.tsv, weight: 0.2}]", ""),
        eval("apart", "[rm, strange, words.tsv]"),
        eval("sum", "[{from: rm, weight: 0.5}, {from: strange, weight: -2}, {from: words.tsv, weight: 0.2}]"),
    ];
    let place = small(&all.concat());
    let events = run(&place, 0);
    let [first, second, third] =
        ["mean_score", "mean_score_2", "mean_score_3"].map(|name| mean(&events, "apart", name));
    let sum = mean(&events, "sum", "mean_score");
    assert!((sum - (0.5 * first - 2.0 * second + 0.2 * third)).abs() < 1e-6, "{sum} {first} {second} {third}");
    assert_eq!(events.outcome("sum")["metrics"].get("mean_score_2"), None);
    // Another weight is another reward; the rewards apart are measured as before.
    write(&place, &[&all[1], &all[2].replace("-2", "-1")].map(String::as_str).concat());
    let again = run(&place, 0);
    assert_eq!((worked(&again, "apart"), worked(&again, "sum")), (0, 1));
}

#[test]
fn a_command_that_does_not_end_when_a_run_is_stopped_is_ended_and_its_scores_are_kept() {
    let place = small("");
    // The fourth call reads what nobody writes, and heeds no signal.
    let hold = place.at("hold");
    std::process::Command::new("mkfifo").arg(&hold).status().unwrap();
    let command = "trap '' TERM; cat > lines; echo x >> \\\"$CALLS\\\"; if [ $(wc -l < \\\"$CALLS\\\") -gt 3 ] && [ -p \\\"$HOLD\\\" ]; then cat \\\"$HOLD\\\"; fi; awk '{print 1}' lines";
    let (calls, shown) = (place.at("calls"), hold.display());
    let slow = format!(
        "  slow:\n    kind: reward\n    with: {{command: \"{command}\", env: {{CALLS: \"{}\", HOLD: \"{shown}\"}}, batch: 1}}\n",
        calls.display()
    );
    write(&place, &[slow, eval("measured", "slow")].concat());
    let called = || fs::read_to_string(&calls).unwrap_or_default().lines().count();
    let live = place.start(&["run", "rlhf.yaml", "--device", "cpu", "--json"]);
    program::wait_for("the fourth call", || (called() == 4).then_some(()));
    live.signal(rustix::process::Signal::INT);
    assert_eq!(live.end().0, Some(130));
    place.wait_for_silence();
    fs::remove_file(&hold).unwrap();
    run(&place, 0);
    // A trial, and a call for each of the eight answers: one of them twice.
    assert_eq!(called(), 1 + 8 + 1);
}

/// A command that notes each call, and scores an answer by the length of its line.
fn counting(place: &Place, more: &str) -> String {
    let command = "cat > lines; wc -l < lines >> \\\"$CALLS\\\"; awk -f in/score.awk lines";
    place.write("score.awk", "{ print length($0) }\n");
    let calls = place.at("calls").display().to_string();
    format!(
        "  letters:\n    kind: reward\n    from: {{score: score.awk}}\n    with: {{command: \"{command}\", env: {{CALLS: \"{calls}\"}}{more}}}\n"
    )
}

/// The number of answers of each call.
fn calls(place: &Place) -> Vec<usize> {
    let text = fs::read_to_string(place.at("calls")).unwrap_or_default();
    text.lines().map(|line| line.trim().parse().unwrap()).collect()
}

#[test]
fn a_command_scores_answers_and_is_asked_for_none_twice() {
    let place = small("");
    let measured = eval("measured", "letters");
    write(&place, &[counting(&place, ""), ppo("letters", ", critic: zero"), measured.clone()].concat());
    let events = run(&place, 0);
    assert!(mean(&events, "ppo", "score_sd") > 0.0 && mean(&events, "measured", "mean_score") > 1.0);
    let first = calls(&place);
    assert_eq!(first[0], 0, "it is tried out before anything trains");
    assert!(first[1..].iter().sum::<usize>() <= 3 * 8 + 8, "{first:?}");
    let said = format!("{:?}", events.0);
    assert!(said.contains("may not give the same again"), "{said}");
    // How it is called is in no key.
    write(
        &place,
        &[counting(&place, ", timeout: 30, batch: 3"), ppo("letters", ", critic: zero"), measured.clone()].concat(),
    );
    assert_eq!(run(&place, 0).of("started").count(), 0);
    // Another stage with the same answers asks for nothing.
    write(&place, &[counting(&place, ""), eval("again", "{from: letters, weight: 2}")].concat());
    let again = run(&place, 0);
    assert_eq!(mean(&again, "again", "mean_score"), 2.0 * mean(&events, "measured", "mean_score"));
    assert_eq!(calls(&place), first);
    // Another script is another reward.
    let letters = counting(&place, "");
    place.write("score.awk", "{ print -length($0) }\n");
    write(&place, &[letters, measured].concat());
    run(&place, 0);
    assert!(calls(&place).len() > first.len());
}

#[test]
fn a_command_that_fails_says_why_before_anything_trains() {
    let place = small("");
    let of = |command: &str, more: &str| {
        let reward = format!("  letters:\n    kind: reward\n    with: {{command: \"{command}\"{more}}}\n");
        [reward, eval("measured", "letters")].concat()
    };
    for (command, more, why) in [
        ("exit 3", "", "exit status: 3"),
        ("cat > all; echo 1", "", "it was given 0 answers and gave 1 scores"),
        ("cat > all; sleep 60", ", timeout: 1", "took more than `timeout: 1` seconds"),
        ("cat > all; yes 1", "", "it has written more than 4 MiB"),
    ] {
        write(&place, &of(command, more));
        let events = run(&place, 1);
        let error = events.outcome("letters").to_string();
        assert!(error.contains(why), "{command}: {error}");
        assert_eq!(worked(&events, "measured"), 0);
    }
    write(&place, &of("cat > all; awk '{ print \\\"x\\\" }' all", ""));
    let error = run(&place, 1).outcome("measured").to_string();
    assert!(error.contains("line 1 of its output is neither a number nor an object with a `score`"), "{error}");
    write(&place, "  letters:\n    kind: reward\n    with: {command: [no-such-program]}\n");
    assert!(place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr.contains("no such program"));
    write(&place, "  letters:\n    kind: reward\n");
    assert!(place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr.contains("there is nothing that scores"));
    write(
        &place,
        "  m:\n    kind: sft\n    from: {model: letters, data: data/sft.jsonl}\n  letters:\n    kind: reward\n    with: {command: \"true\"}\n",
    );
    assert!(place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr.contains("gives a reward that is no model"));
}

#[test]
fn a_stopped_run_goes_on_with_the_scores_that_were_kept_and_gives_the_same() {
    let undisturbed = small("");
    let below = |place: &Place, more: &str| {
        [counting(place, ""), ppo("letters", &format!(", critic: zero{more}")).replace("steps: 2", "steps: 6")].concat()
    };
    // The place is in the environment of the command, and so in its key: one place for both.
    write(&undisturbed, &below(&undisturbed, ""));
    let whole = run(&undisturbed, 0).content("ppo").to_owned();
    fs::remove_dir_all(undisturbed.at(".pipeline")).unwrap();
    let live = undisturbed.start(&["run", "rlhf.yaml", "--device", "cpu", "--json"]);
    let before = calls(&undisturbed).len();
    program::wait_for("some calls", || (calls(&undisturbed).len() > before + 3).then_some(()));
    live.signal(rustix::process::Signal::KILL);
    live.end();
    undisturbed.wait_for_silence();
    assert_eq!(run(&undisturbed, 0).content("ppo"), whole);
}

/// A server that scores a text by its length.
fn scoring(asked: &Asked) -> Reply {
    let texts = asked.body["query"].as_array().unwrap();
    assert_eq!(texts.len(), asked.body["prompts"].as_array().unwrap().len());
    let scores: Vec<usize> = texts.iter().map(|text| text.as_str().unwrap().chars().count()).collect();
    answers(200, &json!({"rewards": scores}).to_string())
}

#[test]
fn a_server_scores_answers_and_its_key_is_told_to_nobody_else() {
    let server = Judge::start(scoring);
    let other = Judge::start(scoring);
    let of = |name: &str, server: &Judge, secret: &str| {
        format!(
            "  {name}:\n    kind: reward\n    with: {{endpoint: {{url: \"{}/score\", model: letters}}, batch: 4}}\n    secret: [{secret}]\n",
            server.address
        )
    };
    let place = small("");
    let below = [
        of("first", &server, "FIRST_KEY"),
        of("second", &other, "SECOND_KEY"),
        ppo("[{from: first, weight: 1}, {from: second, weight: 0.5}]", ", advantage: rloo, answers_per_prompt: 2"),
        eval("measured", "first"),
    ];
    write(&place, &below.concat());
    let mut command = place.command(&["run", "rlhf.yaml", "--device", "cpu", "--json"]);
    command.env("FIRST_KEY", "first-secret-key").env("SECOND_KEY", "second-secret-key");
    let events = program::ran(command).expect_exit(0).events();
    assert!(mean(&events, "measured", "mean_score") > 0.0);
    let told = |server: &Judge, key: &str| server.headers().iter().any(|header| header.contains(key));
    assert!(told(&server, "Bearer first-secret-key") && told(&other, "Bearer second-secret-key"));
    assert!(!told(&server, "second-secret-key") && !told(&other, "first-secret-key"));
    for file in program::files(&place.at(".pipeline")).iter().filter(|path| path.is_file()) {
        let bytes = fs::read(file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret-key"), "{}", file.display());
    }
    let before = server.requests();
    let mut again = place.command(&["run", "rlhf.yaml", "--device", "cpu", "--json", "--force", "measured"]);
    again.env("FIRST_KEY", "first-secret-key").env("SECOND_KEY", "second-secret-key");
    program::ran(again).expect_exit(0);
    assert_eq!(server.requests(), before, "each score is asked for once");
}

#[test]
fn a_server_that_gives_no_scores_is_told_before_anything_trains() {
    let server = Judge::start(|_| answers(404, "no such path"));
    let place = small("");
    let reward = format!("  first:\n    kind: reward\n    with: {{endpoint: {{url: \"{}/x\"}}}}\n", server.address);
    write(&place, &[reward, eval("measured", "first")].concat());
    let events = run(&place, 1);
    assert!(events.outcome("first").to_string().contains("404: no such path"), "{}", events.outcome("first"));
    assert_eq!(worked(&events, "measured"), 0);
    // What would come again as long is not asked for again.
    let endless = Judge::start(|_| answers(200, &json!({"rewards": vec!["1"; 2 << 20]}).to_string()));
    let reward = format!("  first:\n    kind: reward\n    with: {{endpoint: {{url: \"{}/x\"}}}}\n", endless.address);
    write(&place, &[reward.clone(), eval("measured", "first")].concat());
    let events = run(&place, 1);
    assert!(events.outcome("first").to_string().contains("a reply of more than 4 MiB"), "{}", events.outcome("first"));
    assert_eq!(endless.requests(), 1);
    write(&place, &reward.replace("    with", "    from: {more: words.tsv}\n    with"));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("a server reads no inputs, and `more` is one"), "{refused}");
    write(&place, "  first:\n    kind: reward\n    with: {endpoint: {url: \"https://me:key@host/\"}}\n");
    assert!(place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr.contains("holds neither a key nor a query"));
}

#[test]
fn a_reward_model_of_others_reads_dialogues_through_its_own_template() {
    let place = small("");
    run(&place, 0);
    place.run(&["export", "strange", "own", "rlhf.yaml", "--merge"]).expect_exit(0);
    let prompts = ["Why?", "Who, then?"].map(|text| json!({"messages": [{"role": "user", "content": text}]}));
    place.write("chat.jsonl", &prompts.map(|row| format!("{row}\n")).concat());
    let template = "{% for message in messages %}<{{ message.content }}>.{% endfor %}";
    let measured = |reward: &str| {
        let line = eval("measured", reward).replace("data/heldout.jsonl", "chat.jsonl");
        line.replace("max_new_tokens: 8", &format!("max_new_tokens: 8, chat_template: \"{template}\""))
    };
    write(&place, &measured("./own"));
    let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
    assert!(refused.contains("cannot read the dialogues that it is to score"), "{refused}");
    place.write("own/chat_template.jinja", template);
    let of_ours = mean(&run(&place, 0), "measured", "mean_score");
    // One that was trained elsewhere has no scale beside it, and reads all that the template writes.
    fs::remove_file(place.at("own/reward.json")).unwrap();
    let of_others = mean(&run(&place, 0), "measured", "mean_score");
    assert!(of_others.is_finite() && of_others != of_ours, "{of_others} {of_ours}");
}

#[test]
fn a_directory_that_describes_a_command_starts_none() {
    let place = small("");
    run(&place, 0);
    place.run(&["export", "rm", "model", "rlhf.yaml", "--merge"]).expect_exit(0);
    let parameters = json!({"command": ["touch", place.at("started")]});
    place.write("model/asked.json", &json!({"format": 1, "identity": "ab", "parameters": parameters}).to_string());
    for with in [eval("measured", "./model"), ppo("./model", "")] {
        write(&place, &with);
        let refused = place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr;
        assert!(refused.contains("write a stage of kind `reward` for it"), "{refused}");
    }
    assert!(!place.at("started").exists());
}

#[test]
fn rewards_that_differ_in_a_file_alone_get_each_its_own_secret() {
    let place = small("");
    let told = place.at("told").display().to_string();
    for name in ["a", "b"] {
        place.write(
            &format!("{name}.sh"),
            &format!("echo {name} ${{KEY_A-none}} ${{KEY_B-none}} >> {told}; awk '{{ print 1 }}'\n"),
        );
    }
    let of = |name: &str, key: &str| {
        format!(
            "  {name}:\n    kind: reward\n    from: {{script: {name}.sh}}\n    with: {{command: [sh, in/script.sh]}}\n    secret: [{key}]\n"
        )
    };
    write(&place, &[of("a", "KEY_A"), of("b", "KEY_B"), eval("measured", "[a, b]")].concat());
    let mut command = place.command(&["run", "rlhf.yaml", "--device", "cpu", "--json"]);
    command.env("KEY_A", "first-key").env("KEY_B", "other-key");
    program::ran(command).expect_exit(0);
    let told = place.read("told");
    // Once tried, once asked.
    assert_eq!(told.matches("a first-key none\n").count(), 2, "{told}");
    assert_eq!(told.matches("b none other-key\n").count(), 2, "{told}");
    write(
        &place,
        &of("a", "KEY_A")
            .replace("{command: [sh, in/script.sh]}", "{endpoint: {url: 'https://host/'}}")
            .replace("KEY_A", "KEY_A, KEY_B"),
    );
    assert!(place.run(&["check", "rlhf.yaml"]).expect_exit(2).stderr.contains("`KEY_B` is told to nobody"));
}

#[test]
fn stages_at_once_ask_a_server_for_no_score_twice_and_a_new_row_costs_one() {
    let server = Judge::start(|asked| {
        let mut reply = scoring(asked);
        reply.after = std::time::Duration::from_millis(200);
        reply
    });
    let reward =
        format!("  first:\n    kind: reward\n    with: {{endpoint: {{url: \"{}/\"}}, batch: 1}}\n", server.address);
    let evals = [eval("one", "{from: first, weight: 1}"), eval("two", "{from: first, weight: 2}")].concat();
    let place = small("");
    let row = |text: &str| format!("{}\n", json!({"prompt": text}));
    place.write("data/heldout.jsonl", &["Why so?", "And then what?", "Who is it?"].map(row).concat());
    write(&place, &[reward.as_str(), &evals].concat());
    place.run(&["run", "rlhf.yaml", "--device", "cpu", "--jobs", "2"]).expect_exit(0);
    // One of the requests is the trial.
    assert_eq!(server.requests(), 1 + 3);
    // Rows without ids are numbered, and the numbers are told to nobody.
    place.write("data/heldout.jsonl", &["Since when?", "Why so?", "And then what?", "Who is it?"].map(row).concat());
    place.run(&["run", "rlhf.yaml", "--device", "cpu", "--jobs", "2"]).expect_exit(0);
    assert_eq!(server.requests(), 1 + 3 + 1);
}

#[test]
fn a_refusal_for_good_ends_all_that_wait_for_room() {
    let server = Judge::start(|asked| match asked.number {
        0 => scoring(asked),
        1 | 2 => answers(429, "slowly"),
        _ => answers(400, "no more of this"),
    });
    let reward = format!(
        "  first:\n    kind: reward\n    with: {{endpoint: {{url: \"{}/\", parallel: 2}}, batch: 1}}\n",
        server.address
    );
    let place = small(&[reward, eval("measured", "first")].concat());
    let events = run(&place, 1);
    let error = events.outcome("measured").to_string();
    assert!(error.contains("400: no more of this"), "{error}");
}
