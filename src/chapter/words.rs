//! Every phrase of the page in English and in Japanese. A phrase that lacks a language cannot be written down.

mod terms;

pub use terms::GLOSSARY_ENTRIES;

/// The language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    Japanese,
}

impl Language {
    pub const ALL: [Language; 2] = [Language::English, Language::Japanese];

    /// The name of it on the command line and in the page (BCP 47).
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Japanese => "ja",
        }
    }

    /// The language of a locale: `ja_JP.UTF-8`.
    pub fn of_locale(locale: &str) -> Language {
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language == Language::Japanese.code() { Language::Japanese } else { Language::English }
    }
}

/// A phrase in both languages. What stands in braces is filled in.
#[derive(Clone, Copy, Debug)]
pub struct Phrase {
    english: &'static str,
    japanese: &'static str,
}

impl Phrase {
    pub fn say(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::Japanese => self.japanese,
        }
    }

    /// The phrase with these values in the place of their names.
    pub fn fill(self, language: Language, values: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for part in self.say(language).split_inclusive('}') {
            // A value that holds braces stays as it is: only the phrase is looked through.
            let (plain, name) = part.split_once('{').unwrap_or((part, ""));
            text.push_str(plain);
            let name = name.trim_end_matches('}');
            text.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        }
        text
    }
}

macro_rules! phrases {
    ($($name:ident: $english:literal | $japanese:literal;)*) => {
        $(pub const $name: Phrase = Phrase { english: $english, japanese: $japanese };)*

        #[cfg(test)]
        pub const ALL: &[(&str, Phrase)] = &[$((stringify!($name), $name),)*];
    };
}

pub mod comparison;
pub mod labelling;
pub mod live;

phrases! {
    // The page.
    REPORT: "report" | "レポート";
    CONTENTS: "Contents" | "目次";
    TO_THE_VERDICT: "To the verdict" | "結論へ";
    FOOTER: "Made from the journals of runs and the records in their stores alone: the same facts give the same bytes."
        | "このページは、実行の記録(ジャーナル)とストアの記録だけから作られています。同じ事実からは、同じバイト列ができます。";
    EMPTY: "(empty)" | "(空)";
    NUMBERS: "The numbers" | "数値";
    AS_A_TABLE: "As a table" | "表で見る";

    // The verdict.
    VERDICT: "Verdict" | "結論";
    IS_STARTING: "{pipeline} is starting: no stage has begun yet." | "{pipeline} は開始したところです。まだどのステージも始まっていません。";
    IS_RUNNING: "{pipeline} is still running: {done} of {all} stages are done, and {stage} is at work."
        | "{pipeline} は実行中です。{all} ステージのうち {done} が終わり、いまは {stage} が動いています。";
    WAS_INTERRUPTED: "{pipeline} was interrupted after {time}: {done} of {all} stages are done, and the same command goes on from here."
        | "{pipeline} は {time} で中断されました。{all} ステージのうち {done} は終わっていて、同じコマンドで続きから再開できます。";
    BROKE_OFF: "{pipeline} broke off: the process that ran it is gone. {done} of {all} stages are done, and the same command goes on from here."
        | "{pipeline} は途中で途切れました。実行していたプロセスがもうありません。{all} ステージのうち {done} は終わっていて、同じコマンドで続きから再開できます。";
    GATE_ERRED: "{pipeline} could not decide: the gate of {stage} lacks a number that it needs ({cause})."
        | "{pipeline} は判定できませんでした。{stage} のゲートに必要な数値がありません({cause})。";
    HAS_FAILED: "{pipeline} failed at {stage}: {cause}." | "{pipeline} は {stage} で失敗しました: {cause}";
    IS_HELD: "{pipeline} waits for a person: the gate of {stage} does not decide alone{number}."
        | "{pipeline} は人の判断を待っています。{stage} のゲートだけでは決められません{number}。";
    IS_UNLABELLED: "{pipeline} waits: {stage} needs more labels or a larger budget, and what stands on it was not run."
        | "{pipeline} は待機中です。{stage} のラベルまたは予算がまだ足りないため、その先のステージは実行されていません。";
    IS_STOPPED: "{pipeline} stopped: the gate of {stage} is closed{number}, and what stands on it was not run."
        | "{pipeline} は停止しました。{stage} のゲートが閉じたため{number}、その先のステージは実行されていません。";
    IS_PROMOTED: "{stage} was promoted: {carries} goes on{number}." | "{stage} は昇格しました。{carries} が次に進みます{number}。";
    IS_PROMOTED_BY_LUCK: "{stage} was promoted, but within luck: {carries} goes on{number}, and a difference of this size may be noise."
        | "{stage} は昇格しましたが、偶然の範囲内です。{carries} が次に進みますが{number}、この程度の差は偶然でも生じます。";
    IS_NOT_SURELY_BETTER: "{stage} was not promoted: it is not surely better{number}. {incumbent} goes on in its place."
        | "{stage} は昇格しませんでした。良くなったとは言い切れません{number}。代わりに、これまでの {incumbent} が次に進みます。";
    IS_NOT_PROMOTED: "{stage} was not promoted{number}: {incumbent} goes on in its place."
        | "{stage} は昇格しませんでした{number}。代わりに、これまでの {incumbent} が次に進みます。";
    HAS_PASSED: "{pipeline} is done: every gate is open, the last one that of {stage}{number}."
        | "{pipeline} は完了しました。すべてのゲートが開きました。最後のゲートは {stage} です{number}。";
    IS_DONE: "{pipeline} is done: {done} of {all} stages, without a gate." | "{pipeline} は完了しました。{all} ステージのうち {done} が終わりました(ゲートなし)。";
    BUT_WARNED: " But {count} of its warnings holds." | " ただし、警告が {count} 件あります。";
    NUMBER_AGAINST: " ({metric} {value} against {other} of {incumbent})" | "({metric} は {value}、{incumbent} は {other})";
    NUMBER_ALONE: " ({metric} {value})" | "({metric} は {value})";
    BECAUSE: "because" | "根拠";
    WARNING: "warning" | "警告";
    NEXT: "Next:" | "次の操作:";
    STAGES_COUNT: "{count} stages" | "{count} ステージ";
    ONLY_A_PART: "only a part:" | "一部だけの実行:";
    PAGE_LACKS: "This page lacks something:" | "このページに欠けているもの:";
    WAY_BACK: "It comes back with" | "元に戻すには";
    LACKS_STORE: "The store cannot be read: {reason}." | "ストアを読めません: {reason}";
    LACKS_JOURNAL: "The newer run {run} cannot be read, so this page is about the one before it. If a newer version of pipeline made it, update pipeline; else a new run takes its place."
        | "より新しい実行 {run} を読めないため、このページはその前の実行についてのものです。新しい版の pipeline によるものなら pipeline を更新してください。そうでなければ、新しい実行がそれに代わります。";
    LACKS_LAST_LINE: "The last line of the journal is cut short: the run was killed while it wrote it."
        | "ジャーナルの最後の行が途中で切れています。書いている途中で実行が強制終了されました。";
    LACKS_LINES: "Damaged lines of the journal: {count}. A new run finds what is done in the store, and tells it again."
        | "ジャーナルの壊れた行: {count}。新しく実行すれば、終わったものはストアから見つかり、改めて記録されます。";
    LACKS_NEWER_LINES: "Lines of the journal that were made by a newer version of pipeline: {count}. Update pipeline to read them."
        | "新しい版の pipeline によるジャーナルの行: {count}。読むには pipeline を更新してください。";
    LACKS_RECORD: "Records that are not in the store: {stage}." | "ストアにない記録: {stage}。";
    LACKS_CURVE: "Curves that are not in the store: {stage}." | "ストアにない曲線: {stage}。";
    LACKS_ITEMS: "Answers that cannot be read: {stage} ({reason})." | "読めない回答: {stage}({reason})。";

    // For papers.
    RATE_BY: "The interval of a win rate is that of the exact sign test over changed answers, or of t over groups of prompts where there are any."
        | "勝率の区間は、変わった回答についての正確な符号検定によるものです(プロンプトにグループがある場合は、グループについての t 区間)。";
    GAIN_BY: "The interval of the mean difference is that of t over prompts, or over their groups."
        | "平均差の区間は、プロンプト(またはそのグループ)についての t 区間です。";
    METHODS_RUN: "The models were made and measured by the run {run} of {file} with pipeline {program}."
        | "モデルは {file} の実行 {run} で、pipeline {program} を用いて作り、測定しました。";
    METHODS_DEVICE: "Device: {device}." | "計算装置: {device}。";
    METHODS_GREEDY: "{judge} decoded every answer greedily." | "{judge} の回答はすべて貪欲法で生成しました。";
    METHODS_FROM: "from {from}" | "入力: {from}";
    METHODS_ROWS: "{rows} rows" | "{rows} 行";
    METHODS_SEED: "seed {seed}" | "シード {seed}";
    METHODS_CHOSEN: "{best} chosen among {count} by {by}" | "{count} 個から {by} により {best} を選択";
    METHODS_RULE: "accepted if {rule}" | "採択の規則: {rule}";

    // Health.
    HEALTH: "Health" | "健康状態";
    NOT_MEASURED: "unknown: not measured" | "不明(測定なし)";
    WITHIN_NOISE: "within noise" | "偶然の範囲内";
    LEARNING: "Learning" | "学習";
    LEARNING_MEANING: "Is the model that goes on better than the one it started from, on questions that it was not trained on?"
        | "次に進むモデルは、学習に使っていない質問で、出発点のモデルより良くなっていますか。";
    IT_LEARNS: "yes" | "している";
    IT_DOES_NOT_LEARN: "no" | "していない";
    CHEATING: "Reward hacking" | "報酬の抜け穴";
    CHEATING_MEANING: "Does the model please only the reward model that trained it, while one that did not train it likes its answers less?"
        | "学習に使った報酬モデルだけを喜ばせ、学習に使っていない報酬モデルの評価は下がっていませんか。";
    IT_CHEATS: "cheating" | "抜け穴を突いている";
    IT_DOES_NOT_CHEAT: "no" | "なし";
    LENGTH: "Length" | "長さ";
    LENGTH_MEANING: "Do the answers grow wordy, or fall silent? Both may please a reward model."
        | "回答が長たらしくなったり、黙り込んだりしていませんか。どちらも報酬モデルには好まれることがあります。";
    IT_IS_LONGER: "longer" | "長くなった";
    IT_IS_WORDY: "wordy" | "長くなりすぎ";
    IT_IS_MUTE: "falling silent" | "短くなりすぎ";
    LENGTH_IS_STEADY: "steady" | "変わりなし";
    REPETITION: "Repetition" | "くり返し";
    REPETITION_MEANING: "Do answers say the same words over and over, or do most questions get one and the same answer?"
        | "同じ言葉をくり返したり、どの質問にも同じ答えを返したりしていませんか。";
    IT_REPEATS: "repeats itself" | "くり返している";
    ONE_ANSWER_FOR_ALL: "one answer for most" | "ほとんど同じ答え";
    IT_DOES_NOT_REPEAT: "no" | "なし";
    PERSON: "A person" | "人の判断";
    PERSON_RULE: "no gate holds" | "保留中のゲートがない";
    PERSON_MEANING: "Does the run wait for somebody to decide?" | "誰かの判断を待っているところはありますか。";
    PERSON_IS_NEEDED: "is needed" | "必要";
    NOBODY_IS_NEEDED: "is not needed" | "不要";

    // Stages.
    STAGES: "Stages" | "ステージ";
    STAGE: "stage" | "ステージ";
    KIND: "kind" | "種類";
    FROM: "from" | "入力";
    STATE: "state" | "状態";
    TIME: "time" | "時間";
    GATE: "gate" | "ゲート";
    DONE: "done" | "完了";
    CACHED: "cached" | "再利用";
    KEPT: "kept the incumbent" | "従来モデルを維持";
    STOPPED: "stopped" | "停止";
    HELD: "held" | "保留";
    WAITS: "waits for labels" | "ラベル待ち";
    WAITS_FOR_BUDGET: "waits for a larger budget" | "予算待ち";
    FAILED: "failed" | "失敗";
    SKIPPED: "skipped" | "省略";
    INTERRUPTED: "interrupted" | "中断";
    BROKEN_OFF: "broken off" | "途絶";
    RUNNING: "running" | "実行中";
    NOT_REACHED: "not reached" | "未到達";
    PASSES: "pass" | "合格";
    FAILS: "fail" | "不合格";
    IS_UNSURE: "unsure" | "判定できず";
    ERRS: "error" | "エラー";
    GRAPH_SAYS: "{count} stages, each to the right of what it stands on; the table below has them all."
        | "{count} 個のステージ。それぞれ、もとになるステージの右にあります。下の表にすべてあります。";
    GRAPH_CAPTION: "Arrows: what stands on what. Dotted: who judges. Diamond: a gate, filled where it passed."
        | "矢印は依存、点線は審査、ひし形はゲート(塗りつぶしは合格)を表します。";
    TOO_MANY_TO_DRAW: "{count} stages are too many to draw." | "{count} ステージは図にするには多すぎます。";

    // The study.
    STUDY: "Study" | "比較表";
    RULING: "verdict" | "判定";
    MODEL: "model" | "モデル";
    FAMILIES: "Repetitions" | "繰り返し";
    FAMILY_OF: "{name}: {count} stages of a for" | "{name}: for の {count} ステージ";
    FAMILY_NOTE: "The same training by other seeds or settings, side by side. The intervals are about what another one would give: they count stages as evidence, not prompts. What other prompts would give is told by the intervals of the study."
        | "シードや設定だけを変えた同じ学習を並べています。区間は、もう一度学習したらどうなるかについてのもので、プロンプトではなくステージを証拠として数えます。別のプロンプトならどうなるかは、比較表の区間が示します。";
    FAMILY_FAILED: "{count} of them gave nothing: they have no part in the mean, and rules count them as failed."
        | "このうち {count} ステージは結果がありません。平均には入らず、規則では失敗として数えます。";
    MEAN: "mean" | "平均";
    OF_ALL: "{count} of {all}" | "{all} のうち {count}";
    MEAN_OF: "mean of {count}" | "{count} つの平均";
    DEVIATION: "standard deviation" | "標準偏差";
    CHECKPOINT: "checkpoint judged" | "審査されたチェックポイント";
    CHECKPOINTS: "Checkpoints" | "チェックポイント";
    STEP: "step {step}" | "ステップ {step}";
    STEP_COLUMN: "step" | "ステップ";
    WIN_RATE: "win rate" | "勝率";
    INTERVAL_95: "95 % interval" | "95 % 区間";
    GAIN: "gain" | "差";
    SCORED_BY: "{metric} is by {reward}." | "{metric} は {reward} による点数です。";
    AGAINST_BASELINE: "Wins, losses and gains are against {baseline}; the win rate is over changed answers, a tie counting one half."
        | "勝敗と差は {baseline} に対するものです。勝率は変わった回答についてのもので、引き分けは 0.5 と数えます。";
    BASELINE: "baseline" | "基準";
    PROMOTED: "promoted" | "昇格";
    REJECTED: "rejected" | "却下";
    NOT_CHOSEN: "not chosen" | "選ばれず";
    NOT_JUDGED: "not judged" | "審査なし";

    // Gates.
    GATES: "Gates" | "ゲート";
    GOES_ON: "{carries} goes on." | "次に進むもの: {carries}";
    APPROVED_BY: "Approved by {by}, {at}" | "承認: {by}、{at}";
    REJECTED_BY: "Rejected by {by}, {at}" | "却下: {by}、{at}";
    NUMBERS_SEEN: "Every number that it saw" | "ゲートが見たすべての数値";
    NEAREST: "would have passed:" | "これなら合格:";
    CANDIDATE: "candidate" | "候補";
    INCUMBENT: "incumbent" | "従来";
    METRIC: "metric" | "指標";
    VALUE: "value" | "値";
    CONTENT: "content" | "内容";
    CHOSEN_AMONG_STAGES: "Chosen among {count} stages" | "{count} 個のステージから選択";
    CHOSEN_AMONG: "Chosen among {count} checkpoints" | "{count} 個のチェックポイントから選択";

    // Curves.
    CURVES: "Curves" | "学習曲線";
    NO_CURVE: "This stage wrote no curve." | "このステージは曲線を書き出していません。";
    NO_CURVE_KEPT: "The record is of a version that kept no curves. It is made again, to the same result, with"
        | "この記録は、曲線を残さない版のものです。次のコマンドで、同じ結果のまま作り直せます:";
    CURVE_LOST: "The store has lost the curve. It is made again, to the same result, with"
        | "ストアから曲線が失われています。次のコマンドで、同じ結果のまま作り直せます:";
    ALL_SERIES: "All {count} series" | "全 {count} 系列";
    CEILING: "The people of {people}, who made its data, say the same of an item with a share of {share}: no reward model can be expected to agree with them more often."
        | "学習データにラベルを付けた人たち({people})どうしの一致率は {share} です。報酬モデルの正解率は、これを超えないのが普通です。";
    SAMPLES: "Greedy answers along the way" | "途中のモデルの答え(貪欲法)";
    SAMPLE_PROMPT: "Prompt" | "入力";
    AT_STEP: "step {step}" | "ステップ {step}";
    POINTS_COUNT: "{count} points." | "{count} 点。";
    UNREADABLE_POINTS: "{count} lines could not be read." | "{count} 行は読めませんでした。";
    ALL_POINTS: "Every number:" | "すべての数値:";
    MIN_MAX_DRAWN: "{count} points, min–max drawn." | "{count} 点(最小・最大を描画)。";
    NOT_FINITE: "{count} numbers were not finite: the line is broken there." | "{count} 個は有限の数ではなく、線が途切れています。";
    CURVE_SAYS: "{name} goes from {first} to {last}." | "{name} は {first} から {last} へ変わりました。";
    SERIES: "series" | "系列";
    POINTS: "points" | "点";
    FIRST: "first" | "最初";
    LAST: "last" | "最後";
    LOWEST: "lowest" | "最小";
    HIGHEST: "highest" | "最大";

    // Reward models.
    REWARD_MODELS: "Reward models" | "報酬モデル";
    BY_CHECKPOINT: "{metric} by checkpoint" | "チェックポイントごとの {metric}";
    CHECKPOINTS_SAY: "{metric} of {count} checkpoints; step {step} goes on." | "{count} 個のチェックポイントの {metric}。ステップ {step} が次に進みます。";
    CHOSEN_IS_RINGED: "The ring is step {step}, which goes on." | "輪はステップ {step}(次に進むもの)です。";
    CHOSEN: "goes on" | "次に進む";
    RELIABILITY: "How sure it is, and how often it is right" | "自信と正解率";
    RELIABILITY_SAYS: "Share of held-out pairs that were right against the chance that the model gave, σ(|Δ|); the dotted line is a model that is right as often as it says."
        | "モデルが示した確率 σ(|Δ|) と、実際に正しかった割合。点線は、自信のとおりに正しいモデルです。";
    RELIABILITY_CAPTION: "Across: σ(|Δ|), what it says. Up: how often it is right. Below the dotted line it is too sure. Larger points: more pairs."
        | "横: モデルの自信 σ(|Δ|)。縦: 正解率。点線より下は自信過剰です。点の大きさは組の数を表します。";
    SAYS_CHANCE: "says" | "自信";
    PAIRS: "pairs" | "組";
    SAID: "mean said" | "自信の平均";
    HAPPENED: "right" | "正解率";
    SCORES_OF_PAIRS: "Scores of held-out pairs" | "検証用の組の点数";
    HISTOGRAM_SAYS: "Histograms of the scores of {count} chosen and rejected answers." | "{count} 組の、選ばれた回答と選ばれなかった回答の点数の分布。";
    CHOSEN_ANSWERS: "chosen" | "選ばれた回答";
    REJECTED_ANSWERS: "rejected" | "選ばれなかった回答";
    SCORE: "score" | "点数";
    SCORE_BY_LENGTH: "Score against length" | "点数と長さ";
    SCORED_BY_MODEL: "scored by {reward}" | "{reward} による点数";
    LENGTH_SAYS: "Scores by {reward} against the length of the answers." | "{reward} による点数と回答の長さ。";
    LENGTH_CAPTION: "Across: characters of the answer. Up: its score." | "横: 回答の文字数。縦: 点数。";
    SOME_POINTS: "At most {count} answers of each are drawn, evenly picked; all:" | "それぞれ最大 {count} 件を等間隔に選んで描いています。すべては:";
    CHARACTERS: "mean characters" | "平均文字数";
    CORRELATION: "correlation" | "相関";

    // Models and answers.
    MODELS_BY_REWARDS: "Models × reward models" | "モデル × 報酬モデル";
    MODELS_NOTE: "Mean scores of the same answers. Each reward model has a scale of its own: compare down a column, not across."
        | "同じ回答の平均点です。尺度は報酬モデルごとに違うので、縦の列の中で比べてください。";
    TRAINED_BY: "trained by" | "学習に使った報酬";
    CHANGED_ANSWERS: "Changed answers" | "変わった回答";
    ANSWERS: "answers" | "回答";
    SEARCH: "Search the answers" | "回答を検索";
    ANSWERS_OF: "{candidate} against {other} ({of})" | "{candidate} と {other} の比較({of})";
    CHANGED_COUNT: "{changed} of {all} changed" | "{all} 件中 {changed} 件が変化";
    MORE_CONTESTS: "The answers of {count} more pairs of models are not shown; all:" | "ほかに {count} 組のモデルの回答がありますが、示していません。すべて見るには:";
    MORE_REWARDS: "The scores by {count} more rewards are not drawn; all:" | "ほかに {count} 個の報酬による点数がありますが、描いていません。すべて見るには:";
    SHOWN_OF: "{shown} of {all} changed answers are shown, the largest gains and losses; all:"
        | "変わった回答 {all} 件のうち、増減の大きい {shown} 件を示しています。すべて見るには:";

    // What did not go on.
    DARK_SIDE: "Rejected, failed, stopped, interrupted" | "却下・失敗・停止・中断";
    NOTHING_DARK: "Nothing was rejected, and nothing failed." | "却下も失敗もありません。";
    TRY_RULE: "Try another rule:" | "別の規則を試すには:";
    NOT_BEGUN: "Not begun" | "始まらなかったもの";
    NOTES: "Notes" | "注記";

    // Provenance.
    PROVENANCE: "Provenance" | "来歴";
    RUN: "run" | "実行";
    FILE: "file" | "ファイル";
    STARTED: "started" | "開始";
    FINISHED: "finished" | "終了";
    DEVICES: "devices" | "装置";
    DEVICE: "device" | "装置";
    SYSTEM: "system" | "OS";
    PROCESSOR: "processor" | "プロセッサ";
    CORES: "cores" | "コア数";
    MEMORY: "memory" | "メモリ";
    PROGRAMS: "made by pipeline" | "作成した pipeline の版";
    KEY: "key" | "キー";
    MEASUREMENT: "measurement" | "測定";
    VERSION: "version" | "版";
    SEED: "seed" | "シード";
    DATA_ROWS: "Rows of data" | "データの行";
    ROWS: "rows" | "行";
    ROWS_DROPPED: "left out" | "除外";
    ROWS_TRUNCATED: "cut" | "切り詰め";
    TOO_MANY_FOR_DETAILS: "The parameters of so many stages are not on the page:" | "ステージが多いため、パラメータはこのページにありません:";
    GLOSSARY: "Glossary" | "用語集";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
    }

    #[test]
    fn both_languages_say_every_phrase_with_the_same_values() {
        for (name, phrase) in ALL.iter().chain(comparison::ALL).chain(labelling::ALL).chain(live::ALL) {
            let [english, japanese] = Language::ALL.map(|language| phrase.say(language));
            assert_eq!(names(english), names(japanese), "{name}");
            assert_eq!(english.is_empty(), japanese.is_empty(), "{name}");
        }
        assert!(ALL.len() > 150);
    }

    #[test]
    fn a_phrase_is_filled_once() {
        let phrase = Phrase { english: "{a} and {b}.", japanese: "{b}と{a}" };
        assert_eq!(phrase.fill(Language::English, &[("a", "{b}"), ("b", "x}")]), "{b} and x}.");
        assert_eq!(phrase.fill(Language::Japanese, &[("a", "1"), ("b", "2")]), "2と1");
    }

    #[test]
    fn the_language_is_that_of_the_locale() {
        let of = |locale| Language::of_locale(locale).code();
        assert_eq!(["ja_JP.UTF-8", "ja", "C.UTF-8", "", "en_GB", "jam"].map(of).join(" "), "ja ja en en en en");
    }
}
