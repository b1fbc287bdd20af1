//! The texts of Slurm's commands as rows: those of 22.05 and of 24.11. Their JSON differs between versions; texts of fixed
//! fields do not. A task of an array has its number in its name here, as in its id.

use super::array;

/// One job as Slurm tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedJob {
    pub id: String,
    pub name: String,
    /// The state in full, without what follows it: `CANCELLED`, not `CANCELLED by 0`.
    pub state: String,
    /// The exit code and the signal, where the command tells them.
    pub exit: Option<[i32; 2]>,
    /// The reason for a state, as `Resources`; empty if there is none.
    pub reason: String,
    /// The nodes; empty before it has any.
    pub node: String,
}

/// The states after which nothing comes. Whatever else Slurm says, of any version, may go on.
const ENDS: [&str; 9] =
    ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "OUT_OF_MEMORY"];

/// Whether a job in this state may still do something.
pub fn may_live(state: &str) -> bool {
    !ENDS.contains(&state)
}

/// The fields of `squeue` that [`queue`] reads.
pub const QUEUE_FIELDS: &str = "%i|%j|%T|%r|%N";
/// The fields of `sacct` that [`books`] reads.
pub const BOOK_FIELDS: &str = "jobid,jobname,state,exitcode,reason,nodelist";

/// The rows of `squeue -r -h -o QUEUE_FIELDS`.
pub fn queue(text: &str) -> Vec<ListedJob> {
    let row = |line: &str| {
        let [id, name, state, reason, node] = fields(line)?;
        Some(listed(id, name, state, reason, node))
    };
    text.lines().filter_map(row).flat_map(tasks).collect()
}

/// The rows of `sacct -nPX -D -o BOOK_FIELDS`.
pub fn books(text: &str) -> Vec<ListedJob> {
    let row = |line: &str| {
        let [id, name, state, exit, reason, node] = fields(line)?;
        Some(ListedJob { exit: self::exit(exit), ..listed(id, name, state, reason, node) })
    };
    text.lines().filter_map(row).flat_map(tasks).collect()
}

/// The tasks that a row is about: `12_3`, or those that wait, `12_[4-6,8]`. A job of its own is one.
fn tasks(row: ListedJob) -> Vec<ListedJob> {
    let Some((array, numbers)) = row.id.split_once('_') else { return vec![row] };
    let numbers = array::numbers(numbers.trim_matches(['[', ']']));
    let of = |number: u32| ListedJob {
        id: format!("{array}_{number}"),
        name: format!("{}_{number}", row.name),
        ..row.clone()
    };
    numbers.into_iter().map(of).collect()
}

/// The job of `scontrol show job ID`.
pub fn shown(text: &str) -> Option<ListedJob> {
    let field = |name: &str| {
        let mut words = text.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let id = match (field("ArrayJobId"), field("ArrayTaskId")) {
        ("", _) | (_, "") => field("JobId").to_owned(),
        (array, number) => format!("{array}_{number}"),
    };
    let job = listed(&id, field("JobName"), field("JobState"), field("Reason"), field("NodeList"));
    (!job.id.is_empty()).then(|| ListedJob { exit: exit(field("ExitCode")), ..job }).and_then(|job| tasks(job).pop())
}

/// The id in what `sbatch --parsable` says: `123`, or `123;cluster`.
pub fn submitted(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let id = line.split(';').next()?;
    id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.to_owned())
}

/// The row that counts of several of one name: one that lives, else the last one. A job that was started again has a row for
/// each start.
pub fn of_name<'a>(rows: &'a [ListedJob], name: &str) -> Option<&'a ListedJob> {
    let mut of_name = rows.iter().filter(|row| row.name == name);
    of_name.clone().rfind(|row| may_live(&row.state)).or_else(|| of_name.next_back())
}

/// A task of this id that is in the queue no more, while its array is: one that is cancelled while it waits leaves no row.
pub fn left_its_array(rows: &[ListedJob], name: &str, id: &str) -> Option<ListedJob> {
    let ((array, _), (number, _)) = (array::parts(name)?, id.split_once('_')?);
    let is_of_array =
        |row: &ListedJob| row.id.split('_').next() == Some(number) && array::submitted_name(&row.name) == array;
    let is_there = rows.iter().any(is_of_array) && of_name(rows, name).is_none();
    is_there.then(|| listed(id, name, "CANCELLED", "it left the queue, and its array did not", ""))
}

fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.split('|').map(str::trim).collect::<Vec<_>>().try_into().ok()
}

fn listed(id: &str, name: &str, state: &str, reason: &str, node: &str) -> ListedJob {
    // Nothing is told by several words: `None`, `(null)`, `None assigned`.
    let told = |text: &str| {
        let is_nothing = ["None", "(null)", "None assigned", "Unknown"].contains(&text);
        if is_nothing { String::new() } else { text.to_owned() }
    };
    let state = state.split_whitespace().next().unwrap_or_default().trim_end_matches('+').to_owned();
    ListedJob { id: id.to_owned(), name: name.to_owned(), state, exit: None, reason: told(reason), node: told(node) }
}

/// `CODE:SIGNAL`.
fn exit(text: &str) -> Option<[i32; 2]> {
    let (code, signal) = text.split_once(':')?;
    Some([code.parse().ok()?, signal.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn told(rows: &[ListedJob]) -> String {
        let exit = |row: &ListedJob| row.exit.map_or(String::new(), |[code, signal]| format!(" {code}:{signal}"));
        let row = |row: &ListedJob| {
            format!("{} {} {}{} [{}] on [{}]", row.id, row.name, row.state, exit(row), row.reason, row.node)
        };
        rows.iter().map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_queue_is_read_and_what_is_no_row_is_left_out() {
        let text = "12|pl-0badcafe-1-11112222|PENDING|Resources|\n\
                    13|pl-0badcafe-2-11112222|RUNNING|None|n[1-2]\n\
                    slurm_load_jobs error: Unable to contact slurm controller\n\
                    14|pl-0badcafe-3-11112222|CANCELLED|None|n1\n";
        expect![[r"
            12 pl-0badcafe-1-11112222 PENDING [Resources] on []
            13 pl-0badcafe-2-11112222 RUNNING [] on [n[1-2]]
            14 pl-0badcafe-3-11112222 CANCELLED [] on [n1]"]]
        .assert_eq(&told(&queue(text)));
        assert!(queue("").is_empty());
    }

    #[test]
    fn a_task_has_its_number_in_its_name_however_it_is_listed() {
        let text = "12_[4-5,8%2]|pl-a|PENDING|Resources|\n12_0|pl-a|RUNNING|None|n1\n13|pl-a|CANCELLED|None|\n";
        expect![[r"
            12_4 pl-a_4 PENDING [Resources] on []
            12_5 pl-a_5 PENDING [Resources] on []
            12_8 pl-a_8 PENDING [Resources] on []
            12_0 pl-a_0 RUNNING [] on [n1]
            13 pl-a CANCELLED [] on []"]]
        .assert_eq(&told(&queue(text)));
        let shown = shown(
            "JobId=15 ArrayJobId=12 ArrayTaskId=3 JobName=pl-a\n JobState=FAILED Reason=JobLaunchFailure ExitCode=0:53\n",
        );
        assert_eq!(told(&[shown.unwrap()]), "12_3 pl-a_3 FAILED 0:53 [JobLaunchFailure] on []");
    }

    #[test]
    fn a_task_that_is_cancelled_while_it_waits_leaves_no_row_and_its_array_does() {
        let rows = queue("12_0|pl-a|RUNNING|None|n1\n12_4|pl-a|PENDING|None|\n");
        assert_eq!(left_its_array(&rows, "pl-a_3", "12_3").unwrap().state, "CANCELLED");
        assert_eq!(left_its_array(&rows, "pl-a_4", "12_4"), None, "it is there");
        assert_eq!(left_its_array(&rows, "pl-b_3", "12_3"), None, "the id is that of another job now");
        assert_eq!(left_its_array(&rows, "pl-a_3", "13_3"), None, "it was submitted by another call");
        assert_eq!(left_its_array(&rows, "pl-a_3", ""), None, "nobody knows whether it was taken");
        // All that waited were cancelled: what is left has no number.
        let rows = queue("12|pl-a|CANCELLED|None|\n");
        assert_eq!(left_its_array(&rows, "pl-a_3", "12_3").unwrap().state, "CANCELLED");
        assert_eq!(left_its_array(&rows, "pl-a", "12"), None);
    }

    #[test]
    fn the_books_have_a_row_for_each_start_and_a_state_with_more_words() {
        let text = "70|pl-a|NODE_FAIL|0:0|None|n1\n70|pl-a|RUNNING|0:0|None|n2\n\
                    71|pl-b|CANCELLED by 0|0:15|None|None assigned\n72|pl-c|OUT_OF_MEMORY|0:125|OutOfMemory|n3\n";
        let rows = books(text);
        expect![[r"
            70 pl-a NODE_FAIL 0:0 [] on [n1]
            70 pl-a RUNNING 0:0 [] on [n2]
            71 pl-b CANCELLED 0:15 [] on []
            72 pl-c OUT_OF_MEMORY 0:125 [OutOfMemory] on [n3]"]]
        .assert_eq(&told(&rows));
        assert_eq!(of_name(&rows, "pl-a").unwrap().state, "RUNNING");
        assert_eq!(of_name(&rows, "pl-b").unwrap().id, "71");
        assert_eq!(of_name(&rows, "pl-z"), None);
    }

    #[test]
    fn a_job_is_read_as_both_versions_show_it() {
        let old = "JobId=9 JobName=pl-a\n   UserId=root(0) GroupId=root(0) MCS_label=N/A\n   Priority=4294901756 Nice=0 Account=(null) QOS=(null)\n   \
                   JobState=FAILED Reason=NonZeroExitCode Dependency=(null)\n   Requeue=1 Restarts=1 BatchFlag=1 Reboot=0 ExitCode=143:0\n   \
                   NodeList=n1\n   BatchHost=n1\n";
        let new = "JobId=9 JobName=pl-a\n   JobState=FAILED Reason=RaisedSignal:53(Real-time_signal_19) Dependency=(null)\n   \
                   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:53\n   NodeList=(null)\n";
        expect![[r"
            9 pl-a FAILED 143:0 [NonZeroExitCode] on [n1]
            9 pl-a FAILED 0:53 [RaisedSignal:53(Real-time_signal_19)] on []"]]
        .assert_eq(&told(&[shown(old).unwrap(), shown(new).unwrap()]));
        assert_eq!(shown("slurm_load_jobs error: Invalid job id specified\n"), None);
    }

    #[test]
    fn an_id_is_a_number_whatever_stands_before_it() {
        assert_eq!(submitted("123\n").as_deref(), Some("123"));
        assert_eq!(submitted("site: your quota is 80 % used\n123;lab\n").as_deref(), Some("123"));
        assert_eq!(submitted("Submitted batch job"), None);
        assert_eq!(submitted(""), None);
    }
}
