//! Tests of stages that do not simply run through: inputs that changed under them, an interrupt.

use super::*;

#[test]
fn the_result_of_a_stage_whose_input_file_changed_while_it_ran_is_not_recorded() {
    let place = place();
    fs::write(place.path().join("words.txt"), "warm\n").unwrap();
    let text = r#"
name: toy
stages:
  one: {kind: exec, from: {words: ./words.txt}, with: {command: [sh, -c, "echo cold > HERE/words.txt; cp in/words.txt out/0/text"]}}
"#;
    let (exit, told) = place.run(text);
    expect![[r#"
        one: attempt 1: it never ran before
        one: failed
        one: failed: HERE/words.txt was changed while the stage ran: its result is not recorded; run again
    "#]]
    .assert_eq(&told.replace(&place.path().display().to_string(), "HERE"));
    assert_eq!(exit, 1);
    // Now the file keeps its new content.
    let (exit, told) = place.run(text);
    assert!(exit == 0 && told.contains("one: done, run"), "{told}");
    assert_eq!(place.run(text), (0, "one: done, cached\n".to_owned()));
}

#[test]
fn the_result_of_a_stage_that_changed_its_own_input_is_not_recorded() {
    let place = place();
    let text = |does: &str| {
        let command = format!("{does}; echo x > out/0/text");
        format!("{TWO}  three: {{kind: exec, from: {{text: one}}, with: {{command: [sh, -c, \"{command}\"]}}}}\n")
    };
    for does in [
        "echo two > in/text/text.new; mv -f in/text/text.new in/text/text",
        "chmod u+w in/text/text; echo two >> in/text/text",
        // The same length, with the modification time set back.
        "touch -r in/text/text old; chmod u+w in/text/text; echo two > in/text/text; touch -r old in/text/text",
    ] {
        let (exit, told) = place.run(&text(does));
        let said =
            "three: failed: the input `text` (in/text) was changed while the stage ran, by it or by one beside it";
        assert!(exit == 1 && told.contains(said), "{told}");
    }
    // A change to a file that the store shares is found before anybody reads it.
    let (exit, told) = place.run(&text("grep -qx one in/text/text"));
    assert_eq!(exit, 0, "{told}");
}

#[test]
fn an_interrupted_stage_has_the_time_to_write_its_checkpoint_and_one_that_finishes_is_recorded() {
    let place = place();
    let text = r#"
name: toy
stages:
  saves: {kind: exec, with: {command: [sh, -c, "trap 'until test -e HERE/go; do sleep 0.01; done; mkdir resume; echo 7 > resume/step; exit 1' TERM; test -d resume && exec cp resume/step out/0/step; echo x > HERE/saves; while :; do sleep 0.01; done"]}}
  ends: {kind: exec, with: {command: [sh, -c, "trap 'echo done > out/0/text; exit 0' TERM; echo x > HERE/ends; while :; do sleep 0.01; done"]}}
  after: {kind: exec, from: {text: ends}, with: {command: [sh, -c, "cp in/text/text out/0/text"]}}
"#;
    // It saves only after the other has ended and its result was recorded.
    let (exit, told) = place.interrupted_with(text, &["saves", "ends"], &|event| {
        if matches!(event, Event::Ended { stage, .. } if stage == "ends") {
            fs::write(place.path().join("go"), "").unwrap();
        }
    });
    assert_eq!(exit, 130);
    expect![[r#"
        after: Interrupted
        ends: attempt 1: it never ran before
        ends: done, run
        saves: Interrupted
        saves: attempt 1: it never ran before
    "#]]
    .assert_eq(&told);
    let (exit, told) = place.run(text);
    assert_eq!(exit, 0);
    expect![[r#"
        after: attempt 1: it never ran before
        after: done, run
        ends: done, cached
        saves: attempt 2: it was not finished last time; it goes on from a checkpoint
        saves: done, run
    "#]]
    .assert_eq(&told);
}
