use super::*;
use expect_test::expect;
use std::fs;

/// The rows of a file of this name, or the reason why there are none.
fn read(name: &str, bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut out = String::new();
    let form = rows(
        &path,
        usize::MAX,
        |row, _| Ok(row.to_string()),
        |place, row| {
            out.push_str(&format!("  {place}: {}\n", row.unwrap_or_else(|error| format!("{error:#}"))));
            Ok(())
        },
    );
    let said = form.map_or_else(|error| format!("{error:#}"), |(form, count)| format!("{form}, {count} rows"));
    format!("{name}: {said}\n{out}").replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn what_other_programs_write_is_read_or_told_by_what_it_is() {
    let (a, b) = (r#"{"p": "a"}"#, r#"{"p": "b"}"#);
    let utf16: Vec<u8> = format!("\u{feff}{a}\n{b}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("bom.jsonl", format!("\u{feff}{a}\n\u{feff}{b}\n").into()),
        ("cr-only.jsonl", format!("{a}\r{b}").into()),
        ("utf16.jsonl", utf16),
        ("shift-jis.jsonl", encoding_rs::SHIFT_JIS.encode("{\"p\": \"海\"}\n{\"p\": \"山\"}").0.into_owned()),
        ("one-bad.jsonl", ["{\"p\": \"海\"}\n{\"p\": \"山\"}\n".as_bytes(), b"{\"p\": \"\xff\"}\n"].concat()),
        ("surrogate.jsonl", format!("{a}\n{{\"p\": \"c \\ud83d\"}}\n").into()),
        ("nan.jsonl", r#"{"p": "a", "n": [NaN, -Infinity]}"#.into()),
        ("deep.jsonl", format!("{{\"p\": {}{}}}\n{a}", "[".repeat(200), "]".repeat(200)).into()),
        ("huge.jsonl", "{\"p\": 1e999}\n".into()),
        ("two.jsonl", format!("{a}{b}\n").into()),
        ("zeros.jsonl", format!("{a}\n\0\0\0\0").into()),
        ("indented.json", "{\n \"p\": \"a\"\n}\n{\n \"p\": \"b\"\n}\n".into()),
        ("inside.json", format!("{{\"data\": [{a}, {b}]}}").into()),
        ("inside-indented.json", format!("{{\n \"version\": 1,\n \"data\": [\n  {a},\n  {b}\n ]\n}}\n").into()),
        ("columns.json", r#"{"p": {"0": "a", "1": "b"}}"#.into()),
        ("comma.json", format!("[{a},]").into()),
        ("torn.json", "{\n \"p\": \"a\",\n".into()),
        ("pointer.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".into()),
        ("a.jsonl.xz", b"\xfd7zXZ\0...".to_vec()),
        ("a.jsonl.bz2", b"BZh9...".to_vec()),
        ("page.jsonl", b"<!DOCTYPE html><html>".to_vec()),
        ("documents.txt", "one\n\ntwo\r\n".into()),
    ];
    let said: String = files.iter().map(|(name, bytes)| read(name, bytes)).collect();
    expect![[r#"
        bom.jsonl: JSONL, 2 rows
          line 1: {"p":"a"}
          line 2: {"p":"b"}
        cr-only.jsonl: JSONL, 2 rows
          line 1: {"p":"a"}
          line 2: {"p":"b"}
        utf16.jsonl: JSONL, 2 rows
          line 1: {"p":"a"}
          line 2: {"p":"b"}
        shift-jis.jsonl: JSONL, 2 rows
          line 1: {"p":"海"}
          line 2: {"p":"山"}
        one-bad.jsonl: JSONL, 3 rows
          line 1: {"p":"海"}
          line 2: {"p":"山"}
          line 3: not UTF-8
        surrogate.jsonl: JSONL, 2 rows
          line 1: {"p":"a"}
          line 2: not JSON, at column 16: half of a character (a surrogate without the other one)
        nan.jsonl: JSONL, 1 rows
          line 1: {"n":[null,null],"p":"a"}
        deep.jsonl: JSONL, 2 rows
          line 1: not JSON, at column 133: lists or objects are nested deeper than 128 times
          line 2: {"p":"a"}
        huge.jsonl: JSONL, 1 rows
          line 1: not JSON, at column 11: a number is too large
        two.jsonl: JSONL, 1 rows
          line 1: not JSON, at column 11: more follows after the row, which takes a line of its own
        zeros.jsonl: JSONL, 2 rows
          line 1: {"p":"a"}
          line 2: it holds zero bytes alone: the file was not written to its end
        indented.json: JSON, 2 rows
          row 1: {"p":"a"}
          row 2: {"p":"b"}
        inside.json: JSON, 2 rows
          row 1: {"p":"a"}
          row 2: {"p":"b"}
        inside-indented.json: JSON, 2 rows
          row 1: {"p":"a"}
          row 2: {"p":"b"}
        columns.json: JSONL, 1 rows
          line 1: it holds columns, not rows; pandas writes rows by `to_json(orient="records", lines=True)`
        comma.json: read comma.json: not a JSON list of rows, at line 1, column 13
        torn.json: read torn.json: not JSON objects, at line 3, column 0: it is cut, as it ends within a value
        pointer.jsonl: read pointer.jsonl: it is a Git LFS pointer, not the file: `git lfs pull` fetches it
        a.jsonl.xz: read a.jsonl.xz: it is packed by xz; unpack it (`xz -d`), or pack it by gzip or zstd
        a.jsonl.bz2: read a.jsonl.bz2: it is packed by bzip2; unpack it (`bzip2 -d`), or pack it by gzip or zstd
        page.jsonl: read page.jsonl: it is a web page, not the file: the address leads to a page about the file (of the hub, take the one with `/resolve/` in the place of `/blob/`)
        documents.txt: text, 2 rows
          line 1: {"text":"one"}
          line 3: {"text":"two"}
    "#]]
    .assert_eq(&said);
}

#[test]
fn tables_have_their_fields_in_the_first_row() {
    let text = "prompt,label,note\n\"a, \"\"b\"\"\nc\",1,\nd,0,x\n";
    let sjis = encoding_rs::SHIFT_JIS.encode("prompt,completion\n海は？,はい。\n").0.into_owned();
    let gzip = |text: &str| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut out, text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("a.csv", text.into()),
        ("bom.csv", format!("\u{feff}{text}").into()),
        ("a.tsv", "p\tq\na\tb\n".into()),
        ("sjis.csv", sjis),
        ("a.csv.gz", gzip(text)),
        ("data.csv-gz", gzip(text)),
        ("lines.csv", "a,b\r\n1,2\r\n3\r\n".into()),
        ("short.csv", "a,b\n1\n".into()),
        ("twice.csv", "a,a\n1,2\n".into()),
        ("head.csv", "a,b\n".into()),
        ("quote.csv", "a,b\n1,\"2\"\n\"3\",\"4\n5,6\n".into()),
        ("open-head.csv", "\"a,b\n1,2\n".into()),
        ("no-end.csv", "a,b\n1,\"2\"".into()),
    ];
    let said: String = files.iter().map(|(name, bytes)| read(name, bytes)).collect();
    expect![[r#"
        a.csv: CSV, 2 rows
          line 2: {"label":"1","note":null,"prompt":"a, \"b\"\nc"}
          line 4: {"label":"0","note":"x","prompt":"d"}
        bom.csv: CSV, 2 rows
          line 2: {"label":"1","note":null,"prompt":"a, \"b\"\nc"}
          line 4: {"label":"0","note":"x","prompt":"d"}
        a.tsv: TSV, 1 rows
          line 2: {"p":"a","q":"b"}
        sjis.csv: CSV, 1 rows
          line 2: {"completion":"はい。","prompt":"海は？"}
        a.csv.gz: CSV, 2 rows
          line 2: {"label":"1","note":null,"prompt":"a, \"b\"\nc"}
          line 4: {"label":"0","note":"x","prompt":"d"}
        data.csv-gz: CSV, 2 rows
          line 2: {"label":"1","note":null,"prompt":"a, \"b\"\nc"}
          line 4: {"label":"0","note":"x","prompt":"d"}
        lines.csv: CSV, 2 rows
          line 2: {"a":"1","b":"2"}
          line 3: the row has 1 cells, the first line names 2
        short.csv: CSV, 1 rows
          line 2: the row has 1 cells, the first line names 2
        twice.csv: read twice.csv: line 1: two columns have the name `a`
        head.csv: read head.csv: the file has no rows
        quote.csv: read quote.csv: line 3: the row ends within quotes: a quote is left open there, or the file is cut
          line 2: {"a":"1","b":"2"}
          line 3: {"a":"3","b":"4\n5,6\n"}
        open-head.csv: read open-head.csv: line 1: the row ends within quotes: a quote is left open there, or the file is cut
        no-end.csv: CSV, 1 rows
          line 2: {"a":"1","b":"2"}
    "#]]
    .assert_eq(&said);
}

#[test]
fn columns_of_parquet_that_nobody_reads_may_hold_anything() {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    let schema = "message rows { required binary prompt; required binary image; }";
    let schema = std::sync::Arc::new(::parquet::schema::parser::parse_message_type(schema).unwrap());
    let mut out = Vec::new();
    let mut writer = ::parquet::file::writer::SerializedFileWriter::new(&mut out, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for value in [&b"p"[..], &b"\xff\x00"[..]] {
        let mut writer = group.next_column().unwrap().unwrap();
        writer.typed::<ByteArrayType>().write_batch(&[ByteArray::from(value.to_vec())], None, None).unwrap();
        writer.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    expect![[r#"
        a.parquet: Parquet, 1 rows
          row 1: {"image":{"bytes":2},"prompt":"p"}
    "#]]
    .assert_eq(&read("a.parquet", &out));
}

/// Files whose download stopped, or that hold what a server said instead of them.
#[test]
fn half_a_file_is_told_as_that() {
    use std::io::Write as _;
    let text = "{\"p\": \"海\"}\n{\"p\": \"山\"}\n".repeat(2000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let arrow = ARROW[0].1;
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("value.jsonl", text[..20].into()),
        ("character.jsonl", text.as_bytes()[..22].into()),
        ("list.json", "[{\"p\": \"a\"}, {\"p\"".into()),
        ("indented.json", "{\n \"data\": [\n  {\"p\": \"a\"},\n".into()),
        ("a.jsonl.gz", gzip[..gzip.len() / 2].into()),
        ("start.jsonl.gz", gzip[..12].into()),
        ("a.jsonl.zst", zstd[..zstd.len() / 2].into()),
        ("a.parquet", b"PAR1\x15\x04\x15\x10 and so on".to_vec()),
        ("a.arrow", arrow[..arrow.len() / 2].into()),
        ("none.jsonl", Vec::new()),
        ("none.parquet", Vec::new()),
        ("blank.jsonl", b"\n\n".to_vec()),
        ("page.parquet", b"\n<html lang=en>".to_vec()),
        ("answer.parquet", b"Entry not found".to_vec()),
        ("pointer.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec()),
    ];
    let said = files.iter().map(|(name, bytes)| read(name, bytes));
    // Whole rows before the end say nothing here.
    let said: String = said
        .map(|said| {
            said.lines().filter(|line| !line.ends_with('}')).map(|line| format!("{line}\n")).collect::<String>()
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let beside = |name: &str, content: Option<&str>| {
        let path = dir.path().join("a.jsonl");
        fs::write(dir.path().join(name), "half").unwrap();
        content.into_iter().for_each(|content| fs::write(&path, content).unwrap());
        let read = rows(&path, usize::MAX, |_, _| Ok(()), |_, row| row);
        format!("{:#}\n", read.unwrap_err()).replace(&format!("{}/", dir.path().display()), "")
    };
    let said = [said, beside("a.jsonl.part", None), beside("a.jsonl.aria2", Some("{}\n\0\0"))].concat();
    expect![[r#"
        value.jsonl: JSONL, 2 rows
          line 2: not JSON, at column 7: it is cut, as it ends within a value
        character.jsonl: JSONL, 2 rows
          line 2: not UTF-8: it is cut, as it ends within a character
        list.json: read list.json: not a JSON list of rows, at line 1, column 17: it is cut, as it ends within a value
        indented.json: read indented.json: not JSON objects, at line 4, column 0: it is cut, as it ends within a value
        a.jsonl.gz: read a.jsonl.gz: the compressed data is cut; fetch or pack it again: read on: incomplete deflate stream
        start.jsonl.gz: read start.jsonl.gz: the compressed data is cut; fetch or pack it again: incomplete deflate stream
        a.jsonl.zst: read a.jsonl.zst: the compressed data is cut; fetch or pack it again: incomplete frame
        a.parquet: read a.parquet: the Parquet file is cut: it has 18 bytes, and its end, which says where its rows lie, is not there; fetch it again
        a.arrow: read a.arrow: the Arrow data is cut or damaged; fetch it again
        none.jsonl: read none.jsonl: it is empty: it was not downloaded or written; fetch it again
        none.parquet: read none.parquet: it is empty: it was not downloaded or written; fetch it again
        blank.jsonl: read blank.jsonl: the file has no rows
        page.parquet: read page.parquet: it is a web page, not the file: the address leads to a page about the file (of the hub, take the one with `/resolve/` in the place of `/blob/`)
        answer.parquet: read answer.parquet: it is the answer of a server that did not give the file; fetch it again, with the rights it asks for
        pointer.parquet: read pointer.parquet: it is a Git LFS pointer, not the file: `git lfs pull` fetches it
        read a.jsonl: it is not there, and `a.jsonl.part` is a download that has not ended
        read a.jsonl: its download has not ended: `a.jsonl.aria2` lies beside it; go on with it
    "#]].assert_eq(&said);
}

/// Files that pyarrow 26 wrote; `types.feather` holds a column of each type (LZ4), the other two rows in several batches:
/// ```python
/// few = pa.table({"prompt": [f"question {n}" for n in range(5)], "label": pa.array(["a", "b", "a", "c", "b"]).dictionary_encode()})
/// with pa.OSFile("stream.arrow", "wb") as sink, pa.ipc.new_stream(sink, few.schema) as writer: writer.write_table(few, max_chunksize=2)
/// feather.write_feather(few, "packed.arrow", compression="zstd", chunksize=3)
/// ```
const ARROW: [(&str, &[u8]); 3] = [
    ("types.feather", include_bytes!("fixtures/types.feather")),
    ("stream.arrow", include_bytes!("fixtures/stream.arrow")),
    ("packed.arrow", include_bytes!("fixtures/packed.arrow")),
];

#[test]
fn arrow_is_read_in_both_of_its_formats_and_with_any_types() {
    let said: String = ARROW.iter().map(|(name, bytes)| read(name, bytes)).collect();
    expect![[r#"
        types.feather: Arrow, 3 rows
          row 1: {"at":"1970-01-01T00:00:00Z","big":18446744073709551615,"bytes":"ok","clock":"00:00:00","day":"2024-01-31","f":0.25,"half":0.5,"kind":"good","large":"x","local":"1970-01-01T00:00:00","map":{"k":1},"n":1,"nothing":null,"price":"1.50","prompt":"a","span":{"unread":"duration"},"turns":[{"content":"q","role":"user"},{"content":"r","role":"assistant"}],"two":[1,2],"view":"short","yes":true}
          row 2: {"at":"1970-01-01T00:00:01.5Z","big":0,"bytes":{"bytes":2},"clock":"00:00:01","day":null,"f":1.0,"half":1.5,"kind":"bad","large":"y","local":"1970-01-01T00:00:01","map":{},"n":-2,"nothing":null,"price":"-0.05","prompt":null,"span":{"unread":"duration"},"turns":[],"two":[3,4],"view":"longer than twelve bytes","yes":false}
          row 3: {"at":null,"big":1,"bytes":null,"clock":"23:59:59","day":"1969-12-31","f":null,"half":null,"kind":"good","large":"","local":"1970-01-01T00:00:02","map":null,"n":null,"nothing":null,"price":null,"prompt":"海","span":{"unread":"duration"},"turns":null,"two":null,"view":null,"yes":null}
        stream.arrow: Arrow, 5 rows
          row 1: {"label":"a","prompt":"question 0"}
          row 2: {"label":"b","prompt":"question 1"}
          row 3: {"label":"a","prompt":"question 2"}
          row 4: {"label":"c","prompt":"question 3"}
          row 5: {"label":"b","prompt":"question 4"}
        packed.arrow: Arrow, 5 rows
          row 1: {"label":"a","prompt":"question 0"}
          row 2: {"label":"b","prompt":"question 1"}
          row 3: {"label":"a","prompt":"question 2"}
          row 4: {"label":"c","prompt":"question 3"}
          row 5: {"label":"b","prompt":"question 4"}
    "#]].assert_eq(&said);
    expect![[r#"
        old.feather: read old.feather: it is Feather version 1; write it anew: `pandas.read_feather(IN).to_feather(OUT)` does
    "#]].assert_eq(&read("old.feather", b"FEA1...."));
}

#[test]
fn of_arrow_no_more_rows_are_read_than_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.arrow");
    fs::write(&path, ARROW[1].1).unwrap();
    let mut numbers = Vec::new();
    let taken = rows(
        &path,
        3,
        |_, number| Ok(number),
        |_, number| {
            numbers.push(number.unwrap());
            Ok(())
        },
    );
    assert_eq!((taken.unwrap(), numbers), (("Arrow", 3), vec![1, 2, 3]));
}

#[test]
fn damaged_arrow_is_refused_and_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    let read = |bytes: &[u8]| {
        count.set(count.get() + 1);
        // A new file each time: a file that is written over goes to the disk at once.
        let path = dir.path().join(format!("{}.arrow", count.get()));
        fs::write(&path, bytes).unwrap();
        let read = rows(&path, usize::MAX, |row, _| Ok(row.to_string().len()), |_, row| row.map(drop));
        fs::remove_file(&path).unwrap();
        read
    };
    for (name, bytes) in ARROW {
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{name}: the first {length} bytes");
        }
        let mut state = 7_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap()
        };
        // Each byte once turned over, then some at a time; what is read of it must only not end the program.
        for at in 0..bytes.len() {
            for mask in [0xff, 0x80, 0x01] {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= mask;
                _ = read(&flipped);
            }
        }
        for _ in 0..2000 {
            let mut flipped = bytes.to_vec();
            for _ in 0..4 {
                let (at, byte) = (draw() % bytes.len(), draw());
                flipped[at] = byte.to_le_bytes()[0];
            }
            _ = read(&flipped);
        }
    }
}
