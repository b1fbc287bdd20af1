//! The phrases of the page on which people label.

pub use super::Phrase;

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
    KEYS_OF_PAIRS: "1 ←: the left answer · 2 →: the right one · = ↓: a tie · B: both bad" | "1 ←: 左の答え · 2 →: 右の答え · = ↓: 引き分け · B: どちらも悪い";
    KEYS_OF_RANKING: "Digits: from the best to the worst · =: tied with the one before · Backspace: begin anew · Enter: send"
        | "数字: 良い順に選ぶ · =: 直前のものと同順位 · Backspace: 並べ直す · Enter: 送信";
    KEYS_OF_RATINGS: "Digits or ← →: the rating · ↑ ↓: another one · Backspace: none · Enter: send" | "数字または ← →: 評点 · ↑ ↓: 移動 · Backspace: 消す · Enter: 送信";
    KEYS_OF_EDIT: "A digit: that answer in your editor ($EDITOR) · Enter: send" | "数字: その答えをエディター($EDITOR)で直す · Enter: 送信";
    KEYS_OF_TERMINAL: "S: skip · U: undo · N: note · Space: further down · ?: help · Q: quit" | "S: とばす · U: 一つ戻す · N: メモ · スペース: 続きを見る · ?: 説明 · Q: 終了";
    NOT_WRITTEN: "This was not kept: choose again once it can be." | "保存できませんでした。書き込めるようになったら、もう一度選んでください。";
    LEFT_SAYS: "{labels} labels of this session are kept; the same command goes on." | "今回の {labels} 件を保存しました。同じコマンドで続きから始められます。";
    SAVED: "Saved." | "保存しました。";
    NOT_SAVED: "Not saved yet: {count}. They are kept in this browser, and sent as soon as the server answers."
        | "未保存: {count} 件。このブラウザーに残してあり、サーバーが応答すればすぐに送信します。";
    DISK: "The server could not write to its disk. Nothing more is taken until it can; what you chose is kept in this browser."
        | "サーバーがディスクに書き込めませんでした。書き込めるようになるまで受け付けを止めています。選んだ内容はこのブラウザーに残っています。";
    REFUSED: "This one was not taken: it belongs to another worklist or sheet. It is kept in this browser; load the page again." | "受け付けられませんでした。別の作業一覧か評価基準のものです。内容はこのブラウザーに残してあります。画面を読み込み直してください。";
    OF_OTHER: "Your link, or the name, is not one of this page: nothing is sent. Open your own link again." | "このリンクか名前ではこの画面を使えないため、送信していません。自分のリンクを開き直してください。";
    DONE: "Nothing is left for you at the moment. Thank you." | "いまのところ、あなたの分は終わりました。ありがとうございました。";
    COUNT: "{done} of {needed} labels; yours: {own}" | "{needed} 件中 {done} 件。あなたの分: {own} 件";
    CRITERIA: "The criteria" | "評価基準";
    EXAMPLE: "Example" | "例";
    ORDER: "From the best to the worst; each can be dragged, or moved by the arrows" | "良い順。ドラッグ、または矢印キーで動かせます";
    SUGGESTED: "Suggested by a model: {order}" | "モデルの提案: {order}";
    AS_YOURS: "Your choice is kept. You may keep it, or choose again." | "あなたの選択は保存してあります。そのままにするか、選び直してください。";
    KEEP: "Keep my choice (Enter)" | "自分の選択のままにする(Enter)";
    MORE: "about {more} more would settle the gate's rule" | "あと約 {more} 件でゲートの判定がはっきりします";
    TO_OWNER: "How far everybody is" | "全体の進み具合";
    OVERVIEW: "how far the labels are" | "ラベル付けの進み具合";
    OF_ALL: "{done} of {needed} labels" | "{needed} 件中 {done} 件";
    CLOSED: "Enough labels were there, and the set is closed." | "必要な数に達したので、締め切りました。";
    LATER: "{later} later ones change nothing until they are taken in: `pipeline label FILE {stage} --adopt`"
        | "締め切り後のラベルが {later} 件あります。`pipeline label FILE {stage} --adopt` で取り込むまで結果は変わりません。";
    PEOPLE: "People" | "ラベルを付けた人";
    PERSON: "Pseudonym" | "仮名";
    LABELLED: "Labels" | "件数";
    PACE: "Median time" | "所要時間の中央値";
    GOLD: "Known answers right" | "正解つき問題の正答";
    AGAIN: "Repeats alike" | "再出題の一致";
    LEFT: "Left side chosen" | "左を選んだ割合";
    DOUBTS: "Doubts" | "気になる点";
    ONE_SIDE: "chooses one side more often than chance would" | "片側を選ぶ割合が偶然より高い";
    WAVERS: "often wrong on known answers, or unlike before on repeats" | "正解つき問題の誤りや、再出題での食い違いが多い";
    TOO_FAST: "faster than one can read" | "読める速さより速い";
    DRIFTS: "less often right in the last third than in the first" | "後半の三分の一で、正答や一致が最初より減っている";
    NOBODY: "Nobody has labelled yet." | "まだ誰もラベルを付けていません。";
    AGREEMENT: "Two people say the same of an item in {share} of {items} items." | "同じ問題に二人が付けたラベルの一致率は {share} です({items} 問)。";
    RULE: "{metric} {share} of {items}" | "{metric} は {share}({items} 問)";
    ENOUGH: "that is enough for `{rule}`" | "`{rule}` の判定には足りています";
    SETTLES: "about {more} more would settle `{rule}`" | "あと約 {more} 問で `{rule}` の判定がはっきりします";
    NEVER: "no number of labels would settle `{rule}`, if it goes on like this" | "このままでは、何問増やしても `{rule}` の判定はつきません";
    INVITE: "Invite a person" | "人を招待する";
    INVITE_SAYS: "Whoever has the link labels under this pseudonym, and sees nothing else." | "リンクを受け取った人は、この仮名でラベルを付けられます。ほかの画面は見られません。";
    MAKE_LINK: "Make the link" | "リンクを作る";
    NO_INVITING: "This page answers this machine alone. To invite people on others, start it with `--listen`."
        | "この画面はこのパソコンからしか開けません。ほかの人を招待するには、`--listen` を付けて起動してください。";
    NO_NAME: "This is no pseudonym." | "この名前は使えません。";
}
