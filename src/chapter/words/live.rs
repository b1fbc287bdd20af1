//! The phrases of the page that follows a run.

use super::Phrase;

phrases! {
    LIVE: "live" | "実行中の画面";
    NOTHING_YET: "Nothing was run yet. The page fills itself when a run begins." | "まだ何も実行されていません。実行が始まると、この画面に表示されます。";
    NO_CONNECTION: "The server of this page does not answer. The run goes on without it; the page follows again when the server is back."
        | "この画面のサーバーから応答がありません。実行はそのまま続いています。サーバーが戻れば、この画面も自動で続きを表示します。";
    ASKED: "People are asked" | "ラベル付けのお願い";
    WAITS_FOR_LABELS: "{stage} waits for labels" | "{stage} はラベルを待っています";
    TO_LABEL: "Label" | "ラベルを付ける";
    TO_OVERVIEW: "How far it is" | "進み具合を見る";
    NOW: "At work" | "いま動いているもの";
    NOTHING_AT_WORK: "The run is between two stages." | "次のステージを準備しています。";
    LOG: "The end of its log" | "ログの末尾";
    STOP: "Stop the run" | "実行を止める";
    STOP_SAYS: "Running stages write a checkpoint and stop, as after Ctrl-C. The same command goes on from there."
        | "実行中のステージはチェックポイントを書いてから止まります(Ctrl-C と同じ)。同じコマンドで続きから再開できます。";
    STOP_NOW: "Stop now" | "止める";
    STOPPING: "The run was told to stop: running stages write a checkpoint." | "停止を指示しました。実行中のステージがチェックポイントを書いています。";
    DECIDE: "Your decision" | "人の判断";
    QUESTION: "The gate of {stage} waits for a person" | "{stage} のゲートは人の判断を待っています";
    REASON: "The reason: what was looked at, and why" | "理由(何を見て、なぜそう判断したか)";
    BY: "Name" | "名前";
    APPROVE: "Approve" | "承認する";
    REJECT: "Reject" | "却下する";
    APPROVED: "Approved" | "承認";
    REJECTED: "Rejected" | "却下";
    LAST_COUNTS: "The last decision counts when the pipeline is run again; all of them stay in the file."
        | "次にパイプラインを実行したときは、最後の判断が有効になります。それまでの判断もすべてファイルに残ります。";
    WRITTEN: "Written down. The next run goes on with it." | "記録しました。次の実行から反映されます。";
    GOES_ON: "Written down. The run goes on." | "記録しました。実行を続けます。";
    ASKED_ANEW: "The question is another one now: what was measured or the rule has changed. Run the pipeline first."
        | "判断の対象が変わりました(測定値かルールが変更されています)。先にパイプラインを実行してください。";
    INCOMPLETE: "A decision needs a name and a reason." | "名前と理由を入力してください。";
    NOT_WRITTEN: "It was not written down. The terminal of this page says why." | "記録できませんでした。理由は、この画面を開いた端末に表示されています。";
    TOLD_TO_STOP: "The run was told to stop." | "停止を指示しました。";
    NOT_STOPPED: "There is nothing to stop: the run has ended, or it was told to stop already." | "止めるものがありません。実行が終わっているか、すでに停止を指示しています。";
}
