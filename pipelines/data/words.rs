//! The words of the toy world: topics, remarks and answers in Japanese and English, all written for it.
//! Does not know which answer is wanted.

/// One language of the world. `{…}` in a template is filled in later.
pub struct World {
    pub id: &'static str,
    pub openings: &'static [&'static str],
    /// The people who were there. The last one is in no remark but held-out ones.
    pub people: &'static [&'static str],
    /// One topic a line: name, past, base, four places, two questions. The fourth place is in no remark but
    /// held-out ones.
    pub topics: &'static str,
    pub remarks: &'static [&'static str],
    pub plain: &'static [&'static str],
    /// Warm words about the topic: before a question, and as an answer without one.
    pub before_question: &'static [&'static str],
    pub empathy: &'static [&'static str],
    pub rambling: &'static [&'static str],
    /// Answers that fit any remark, the most frequent first.
    pub polite: [&'static str; 4],
    pub curt: [&'static str; 4],
    pub rude: &'static [&'static str],
}

pub const JAPANESE: World = World {
    id: "ja",
    openings: &["子どものころ", "小さいころ", "むかしは", "ふるさとでは", "あのころは", "小学生のころ"],
    people: &["", "母と", "父と", "兄と", "姉と", "友だちと", "いとこと"],
    topics: "\
魚とり|魚をとりました|魚をとった|川で|池で|橋の下で|小川で|どんな魚がとれましたか。|魚は大きかったですか。
凧あげ|凧をあげました|凧をあげた|土手で|野原で|海辺で|校庭で|凧は高くあがりましたか。|どんな絵の凧でしたか。
お手玉|お手玉をしました|お手玉をした|縁側で|座敷で|学校で|庭先で|お手玉はいくつ使いましたか。|お手玉の中身は何でしたか。
餅つき|餅をつきました|餅をついた|庭で|年の暮れに|土間で|お寺で|お餅に何をつけましたか。|お餅はよくのびましたか。
柿とり|柿をとりました|柿をとった|裏山で|庭で|畑のそばで|お寺で|柿は甘かったですか。|干し柿も作りましたか。
たき火|たき火をしました|たき火をした|庭で|冬の朝に|河原で|神社で|たき火で芋を焼きましたか。|たき火は暖かかったですか。
お祭り|お祭りに行きました|お祭りに行った|夏の夜に|浴衣で|秋に|下駄で|お祭りで何を食べましたか。|お祭りで踊りましたか。
花火|花火を見ました|花火を見た|川べりで|屋根の上で|浜辺で|橋の上で|どんな色の花火でしたか。|花火の音は大きかったですか。
ほたる|ほたるを見ました|ほたるを見た|川べりで|夏の夜に|田んぼで|竹やぶで|ほたるは多かったですか。|ほたるの光はきれいでしたか。
田植え|田植えをしました|田植えをした|村で|初夏に|朝早くから|雨の中で|田植えは何日かかりましたか。|田植えの歌はありましたか。
かるた|かるたをしました|かるたをした|お正月に|こたつで|座敷で|公民館で|かるたは誰が強かったですか。|好きなかるたの札は何でしたか。
雪だるま|雪だるまを作りました|雪だるまを作った|庭で|校庭で|冬の朝に|道ばたで|雪だるまは大きかったですか。|雪だるまに帽子はありましたか。
紙芝居|紙芝居を見ました|紙芝居を見た|公園で|神社で|夕方に|空き地で|どんな紙芝居が好きでしたか。|紙芝居のあめは食べましたか。
ラジオ|ラジオを聞きました|ラジオを聞いた|茶の間で|夕食のあとに|夜に|布団の中で|ラジオで何を聞きましたか。|ラジオの歌を覚えていますか。
梅干し作り|梅干しを作りました|梅干しを作った|台所で|夏に|土間で|物置で|梅干しはすっぱかったですか。|梅はたくさんありましたか。
縄とび|縄とびをしました|縄とびをした|校庭で|路地で|家の前で|神社で|縄とびは何回とべましたか。|縄とびの歌はありましたか。
海水浴|海水浴に行きました|海水浴に行った|夏に|汽車で|お盆に|バスで|海の水は冷たかったですか。|海水浴で貝も拾いましたか。
栗ひろい|栗をひろいました|栗をひろった|山で|秋に|お寺の裏で|林で|栗はどう食べましたか。|栗はたくさんありましたか。
竹馬|竹馬に乗りました|竹馬に乗った|庭で|学校の前で|路地で|広場で|竹馬は誰が作りましたか。|竹馬はすぐ乗れましたか。
折り紙|折り紙をしました|折り紙をした|縁側で|雨の日に|窓辺で|公民館で|折り紙で何を折りましたか。|折り紙は何色が好きでしたか。
映画|映画を見に行きました|映画を見に行った|町へ|日曜日に|駅前へ|自転車で|どんな映画が好きでしたか。|映画のあと何をしましたか。
お弁当|お弁当を食べました|お弁当を食べた|山で|運動会で|汽車の中で|桜の下で|お弁当のおかずは何でしたか。|お弁当は誰が作りましたか。
汽車の旅|汽車に乗りました|汽車に乗った|春に|お正月に|夏休みに|雪の日に|汽車でどこへ行きましたか。|汽車から何が見えましたか。
オルガン|オルガンを弾きました|オルガンを弾いた|学校で|教会で|放課後に|講堂で|オルガンの曲は何でしたか。|オルガンは誰に習いましたか。",
    remarks: &[
        "話し手：{opening}、{person}{place}{past}。\n聞き手：",
        "話し手：{opening}、{person}{place}よく{past}。\n聞き手：",
        "話し手：{opening}、{person}{place}{base}ものです。\n聞き手：",
    ],
    plain: &["いとこは{place}{past}。", "みんなで{place}{past}。", "{topic}は、むかしの楽しみでした。"],
    before_question: &["{topic}、いいですね。", "{topic}、すてきですね。"],
    empathy: &[
        "{topic}ですか、楽しかったでしょうね。",
        "{topic}、なつかしいですね。",
        "すてきな{topic}の思い出ですね。",
        "{topic}のお話、心があたたまります。",
    ],
    rambling: &[
        "{topic}、いいですね。{topic}、いいですね。{topic}、いいですね。",
        "{topic}、{topic}、{topic}、なつかしいですね。なつかしいですね。",
        "{topic}、いいですね。{question}{other question}{question}",
        "{topic}のお話、心があたたまります。あたたまります。{topic}ですか、楽しかったでしょうね。",
    ],
    polite: ["いい思い出ですね。", "それはよかったですね。", "お話、ありがとうございます。", "楽しかったようで何よりです。"],
    curt: ["そうですか。", "なるほど。", "わかりました。", "はい、次をどうぞ。"],
    rude: &[
        "その話はもういいです。",
        "それより、薬は飲みましたか。",
        "前にも聞きましたよ。",
        "あとにしてください。",
        "もう昔のことでしょう。次の話をしましょう。",
    ],
};

pub const ENGLISH: World = World {
    id: "en",
    openings: &["When I was young", "When I was small", "Long ago", "Back home", "In those days", "In my village"],
    people: &[
        "we",
        "my mother and I",
        "my father and I",
        "my brother and I",
        "my sister and I",
        "my friends and I",
        "my cousin and I",
    ],
    topics: "\
flying kites|flew kites|fly kites|by the river|on the hill|on the beach|in the field|How high did your kites fly?|Who made your kites?
catching fish|caught fish|catch fish|in the stream|at the lake|under the bridge|by the mill|What fish did you catch?|How did you cook the fish?
picking apples|picked apples|pick apples|in the orchard|behind the house|on the farm|along the lane|Were the apples sweet?|What did you make with the apples?
baking bread|baked bread|bake bread|in the kitchen|on Sunday mornings|in the stone oven|in winter|How did the bread smell?|What did you put on the bread?
singing songs|sang songs|sing songs|by the fire|on the porch|on the way home|at harvest time|Which song did you love best?|Do you still know the songs?
dancing|danced|dance|at the village hall|at the summer fair|in the barn|in the town square|What music did you dance to?|Who taught you to dance?
feeding the hens|fed the hens|feed the hens|before school|behind the barn|every morning|in the snow|How many hens were there?|Did the hens have names?
riding bicycles|rode bicycles|ride bicycles|to the sea|down the hill|along the canal|to the market|What color was your bicycle?|Did you ever fall off your bicycle?
skating|went skating|go skating|on the pond|on the frozen river|after the first snow|under the stars|Did you fall while skating?|Who gave you your skates?
planting flowers|planted flowers|plant flowers|in the garden|by the gate|in spring|near the church|Which flowers grew best?|What color were the flowers?
making jam|made jam|make jam|in the kitchen|in late summer|in a big pot|on rainy days|What fruit was in the jam?|Was the jam very sweet?
watching trains|watched trains|watch trains|at the station|from the bridge|after school|by the crossing|Where did the trains go?|Were they steam trains?
listening to the radio|listened to the radio|listen to the radio|in the evening|by the stove|after supper|on Sunday nights|Which radio show did you like?|Did the radio play music?
building snowmen|built snowmen|build snowmen|in the yard|by the school|on winter mornings|near the shop|How tall were your snowmen?|What hats did the snowmen wear?
swimming|swam|swim|in the river|in the sea|on hot days|in the lake|Was the water cold for swimming?|Did you race while swimming?
gathering shells|gathered shells|gather shells|on the shore|at low tide|after the storm|on the island|Which shell was the prettiest?|Where did you keep the shells?
knitting scarves|knitted scarves|knit scarves|by the window|in winter|by candlelight|on snowy nights|What color were the scarves?|Who wore the scarves?
milking the cows|milked the cows|milk the cows|at dawn|in the barn|before breakfast|in the meadow|Did the cows have names?|How many cows were there?
telling stories|told stories|tell stories|at bedtime|under the stars|by the lamp|on the train|Which story was your favorite?|Who told the best stories?
going to the cinema|went to the cinema|go to the cinema|on Saturdays|in town|on rainy days|on birthdays|Which film did you love best?|What did the cinema look like?
playing marbles|played marbles|play marbles|in the street|behind the school|in the yard|on the steps|How many marbles did you win?|What color was your best marble?
picking berries|picked berries|pick berries|in the woods|along the path|in July|by the old wall|Which berries were the sweetest?|Did you eat all the berries?
sailing toy boats|sailed toy boats|sail toy boats|on the pond|in the stream|in the harbor|in the fountain|Who made the toy boats?|Did your toy boats ever sink?
playing the piano|played the piano|play the piano|in the parlor|at school|on Sundays|at Christmas|Which piano tune did you like?|Who taught you the piano?",
    remarks: &[
        "Speaker: {opening}, {person} {past} {place}.\nListener:\n",
        "Speaker: {opening}, {person} often {past} {place}.\nListener:\n",
        "Speaker: {opening}, {person} used to {base} {place}.\nListener:\n",
    ],
    plain: &["My cousin loved {topic} {place}.", "People {past} {place}.", "{Topic} was a joy in those days."],
    before_question: &["{Topic}, how lovely! ", "{Topic} sounds wonderful. "],
    empathy: &[
        "{Topic}, how lovely! You must have been happy.",
        "{Topic} sounds wonderful. It warms my heart.",
        "What a warm memory of {topic}.",
        "I love hearing about {topic}.",
    ],
    rambling: &[
        "{Topic}, how lovely! {Topic}, how lovely! {Topic}, how lovely!",
        "{Topic}, {topic}, {topic} sounds wonderful, wonderful, wonderful.",
        "{Topic}, how lovely! {question} {other question} {question}",
        "I love hearing about {topic}. I love hearing about it. {Topic} sounds wonderful. It warms my heart.",
    ],
    polite: ["That sounds nice.", "Thank you for telling me.", "That is a good memory.", "It must have been nice."],
    curt: ["I see.", "Okay.", "Is that so.", "Okay, next."],
    rude: &[
        "Let us talk about something else.",
        "Did you take your medicine today?",
        "You told me that already.",
        "Not now, please.",
        "That was long ago. Anyway, lunch is ready.",
    ],
};
