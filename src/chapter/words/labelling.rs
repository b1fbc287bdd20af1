//! The phrases of the page on which people label.

use super::Phrase;

phrases! {
    LABELS: "labels" | "ラベル付け";
    WHO: "Your pseudonym (letters, digits, `_` and `.`): your labels are kept under it" | "あなたの仮名(文字・数字・_・. が使えます)。ラベルはこの名前で保存されます";
    BEGIN: "Begin" | "始める";
    PROMPT: "Prompt" | "入力";
    ANSWER: "Answer {letter}" | "答え {letter}";
    BETTER: "{letter} is better" | "{letter} の方が良い";
    TIE: "A tie" | "引き分け";
    BOTH_BAD: "Both are bad" | "どちらも悪い";
    SKIP: "Skip" | "とばす";
    UNDO: "Undo" | "一つ戻す";
    SEND: "Send" | "送信";
    TIED_WITH: "Tied with the one before" | "直前のものと同順位";
    CLEAR: "Begin anew" | "並べ直す";
    RANKING_SAYS: "Choose the answers from the best to the worst." | "良いものから順に選んでください。";
    EDIT_SAYS: "Choose an answer, and write it as it should be." | "答えを選び、あるべき文章に直してください。";
    QUESTION_OF_PAIRS: "Which answer is better?" | "どちらの答えが良いですか。";
    NOTE: "A note (it goes into no training data)" | "メモ(学習データには入りません)";
    HELP: "Keys" | "キー操作";
    KEYS: "1 or ←: the left answer · 2 or →: the right one · = or ↓: a tie · B: both bad · S: skip · U: undo · N: note · digits: the order of a ranking · Enter: send"
        | "1 または ←: 左の答え · 2 または →: 右の答え · = または ↓: 引き分け · B: どちらも悪い · S: とばす · U: 一つ戻す · N: メモ · 数字: 順位をつける · Enter: 送信";
    SAVED: "Saved." | "保存しました。";
    NOT_SAVED: "Not saved yet: {count}. They are kept in this browser, and sent as soon as the server answers."
        | "未保存: {count} 件。このブラウザーに残してあり、サーバーが応答すればすぐに送信します。";
    DISK: "The server could not write to its disk. Nothing more is taken until it can; what you chose is kept in this browser."
        | "サーバーがディスクに書き込めませんでした。書き込めるようになるまで受け付けを止めています。選んだ内容はこのブラウザーに残っています。";
    REFUSED: "This one was not taken: it belongs to another worklist or sheet. Load the page again." | "受け付けられませんでした。別の作業一覧か評価基準のものです。画面を読み込み直してください。";
    DONE: "Nothing is left for you. Thank you." | "あなたの分は終わりました。ありがとうございました。";
    COUNT: "{done} of {needed} labels; yours: {own}" | "{needed} 件中 {done} 件。あなたの分: {own} 件";
    CRITERIA: "The criteria" | "評価基準";
    EXAMPLE: "Example" | "例";
    NO_NAME: "This is no pseudonym." | "この名前は使えません。";
}
