//! The words that the glossary explains.

use super::Phrase;

const fn term(english: &'static str, japanese: &'static str) -> Phrase {
    Phrase { english, japanese }
}

/// Terms and what they mean.
pub const GLOSSARY_ENTRIES: &[(Phrase, Phrase)] = &[
    (
        term("Stage", "ステージ"),
        term(
            "One step of the work: training a model, or measuring one. What is done already is never done again.",
            "作業の一段階です。モデルを学習するか、測定します。すでに終わったことは、二度は行いません。",
        ),
    ),
    (
        term("Gate", "ゲート"),
        term(
            "A written rule at the end of a stage. It decides by measured numbers whether the new model goes on.",
            "ステージの終わりにある、書かれた規則です。測定した数値から、新しいモデルを次に進めるかどうかを決めます。",
        ),
    ),
    (
        term("Candidate, incumbent", "候補と従来モデル"),
        term(
            "The new model that asks to go on, and the one it would replace. If the candidate is rejected, the incumbent stays.",
            "次に進もうとする新しいモデルと、それが置き換えるモデルです。候補が却下されれば、従来モデルが残ります。",
        ),
    ),
    (
        term("Checkpoint, step", "チェックポイントとステップ"),
        term(
            "A model as it was at some moment of its training; the step says when. The last one is not always the best.",
            "学習の途中のある時点のモデルです。ステップがその時点を表します。最後のものが最良とは限りません。",
        ),
    ),
    (
        term("Policy", "方策"),
        term(
            "The model that writes answers, and that the training is meant to improve.",
            "回答を書くモデルです。学習で良くしたいのは、このモデルです。",
        ),
    ),
    (
        term("Reward model", "報酬モデル"),
        term(
            "A model that gives an answer a score. It learned from pairs of answers of which people preferred one.",
            "回答に点数をつけるモデルです。人がどちらを好むかを選んだ回答の組から学びました。",
        ),
    ),
    (
        term("Reward hacking", "報酬の抜け穴"),
        term(
            "The policy finds answers that the reward model likes and people do not. A second reward model, which trained nobody, shows it.",
            "報酬モデルには好まれても、人には好まれない回答を方策が見つけることです。学習に使っていない別の報酬モデルで分かります。",
        ),
    ),
    (
        term("Baseline", "基準"),
        term(
            "The model with which all others are compared, mostly the one from which training started.",
            "ほかのすべてのモデルと比べるためのモデルです。多くは、学習の出発点のモデルです。",
        ),
    ),
    (
        term("Win, loss, tie", "勝ち・負け・引き分け"),
        term(
            "Two models answer the same question, and the reward model scores both answers. Equal answers are an unchanged tie.",
            "二つのモデルが同じ質問に答え、報酬モデルが両方に点数をつけます。同じ回答は「変化のない引き分け」です。",
        ),
    ),
    (
        term("95 % interval", "95 % 区間"),
        term(
            "Where the true value probably lies. With other questions the measured number would have come out somewhere in it.",
            "本当の値がおそらく入っている範囲です。別の質問で測っても、数値はこの範囲のどこかになるでしょう。",
        ),
    ),
    (
        term("Within noise, within luck", "偶然の範囲内"),
        term(
            "The difference is so small that chance alone may have made it. More questions would tell.",
            "差が小さく、偶然だけでも生じうることを表します。質問を増やせば分かります。",
        ),
    ),
    (
        term("Loss", "損失"),
        term(
            "How badly a model predicts the data; less is better. On held-out rows it was not trained on those rows.",
            "モデルがデータをどれだけ予測しそこなうかです。小さいほど良く、heldout は学習に使っていない行で測ったものです。",
        ),
    ),
    (
        term("KL", "KL"),
        term(
            "How far the policy has moved away from the model it started from. A large number is a warning.",
            "方策が出発点のモデルからどれだけ離れたかです。大きな値は注意が必要です。",
        ),
    ),
    (
        term("Calibration (ECE)", "較正(ECE)"),
        term(
            "Whether a reward model is right as often as it is sure. 0 is perfect.",
            "報酬モデルの自信と、実際の正解率が合っているかどうかです。0 が理想です。",
        ),
    ),
    (
        term("distinct_2", "distinct_2"),
        term(
            "The share of pairs of neighbouring tokens in an answer that occur once. Repetition lowers it.",
            "回答の中で、隣り合うトークンの組のうち重複しないものの割合です。くり返しが多いと下がります。",
        ),
    ),
    (
        term("Content, key", "内容とキー"),
        term(
            "Digests: two models with one content are the same bytes, and one key stands for one piece of work.",
            "要約値(ダイジェスト)です。内容が同じなら同じバイト列で、一つのキーは一つの作業を表します。",
        ),
    ),
];
