//! The phrases of the page that compares two runs.

use super::Phrase;

phrases! {
    COMPARISON: "Two runs" | "二つの実行の比較";
    NOTHING_DIFFERS: "Nothing differs between the two runs: {all} stages, the same settings, the same results."
        | "二つの実行に違いはありません。{all} ステージとも、設定も結果も同じです。";
    DIFFERS: "{changed} of {all} stages differ. Metrics: {better} better, {worse} worse, {noise} within noise, {apart} not comparable. Verdicts that flipped: {flipped}."
        | "{all} ステージのうち {changed} が異なります。指標: 改善 {better}、悪化 {worse}、偶然の範囲内 {noise}、比較できないもの {apart}。変わった判定: {flipped}。";
    OLD: "old" | "旧";
    NEW: "new" | "新";
    NOT_MIXED: "Measured by different yardsticks, so not compared:" | "測り方が違うため、比較していないもの:";
    ASKED: "What was asked otherwise" | "指示の違い";
    ONLY_OLD: "only in the old run" | "旧い実行だけ";
    ONLY_NEW: "only in the new run" | "新しい実行だけ";
    NO_LONGER: "no longer" | "なくなった規則";
    NOW: "now" | "新しい規則";
    SAME_ASKED: "Nothing was asked otherwise." | "指示に違いはありません。";
    ANOTHER_OUTPUT: "the same work gave another output" | "同じ作業から別の出力が得られました";
    METRICS: "Metrics" | "指標";
    ITEMS: "items" | "項目";
    CHANGE: "change" | "変化";
    IS: "is" | "評価";
    BETTER: "better" | "改善";
    WORSE: "worse" | "悪化";
    NOT_COMPARED: "not compared: {why}" | "比較しない: {why}";
    PAIRED: "Intervals are those of the mean difference of the same items in both runs (t over prompts, or over their groups), where both runs keep a table of them; any other metric is told by its direction alone."
        | "区間は、両方の実行に同じ項目の表がある場合の、項目ごとの差の平均の区間です(プロンプトまたはそのグループについての t 区間)。表のない指標は、増減の向きだけで評価しています。";
    DIFFERENCE_95: "difference, 95 % interval" | "差の 95 % 区間";
    VERDICTS: "Verdicts" | "判定";
    FLIPPED: "flipped" | "変わった";
    ANSWERS_IN_BOTH: "{model} ({of})" | "{model}({of})";
    NOT_PAIRED: "Not compared answer by answer:" | "回答ごとに比較していないもの:";
    UNSCORED: "Scores are not compared: {why}." | "点数は比較していません: {why}";
    MORE_ANSWERS: "The changed answers of {count} more measurements are not shown; all: `pipeline report --csv DIR` of both runs."
        | "ほかに {count} 件の測定で変わった回答がありますが、示していません。すべて見るには、両方の実行で `pipeline report --csv DIR` を使ってください。";
}
