//! Points as the event files that TensorBoard reads: records of TFRecord, each with one `Event` of TensorBoard's protocol
//! buffers, of which three fields are enough.

use super::curves::Curves;

/// The name that TensorBoard looks for.
pub const FILE: &str = "events.out.tfevents.0.pipeline";

/// The first record: the version of the format. `at`: seconds since 1970.
pub fn header(at: f64) -> Vec<u8> {
    let mut event = time(at);
    bytes(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// One record for each finite number; TensorBoard has no place for others.
pub fn points(curves: &Curves, at: f64) -> Vec<u8> {
    let mut written = Vec::new();
    for name in &curves.names {
        for (step, value) in curves.series(name) {
            written.extend(value.map(|value| record(&scalar(name, value, step, at))).unwrap_or_default());
        }
    }
    written
}

/// A whole file.
pub fn file(curves: &Curves, at: f64) -> Vec<u8> {
    [header(at), points(curves, at)].concat()
}

/// `Event {wall_time = 1, step = 2, summary = 5 {value = 1 {tag = 1, simple_value = 2}}}`.
fn scalar(name: &str, value: f64, step: f64, at: f64) -> Vec<u8> {
    let mut of_value = Vec::new();
    bytes(&mut of_value, 1, name.as_bytes());
    key(&mut of_value, 2, FIXED_32);
    of_value.extend((value as f32).to_le_bytes());
    let mut summary = Vec::new();
    bytes(&mut summary, 1, &of_value);
    let mut event = time(at);
    key(&mut event, 2, VARINT);
    varint(&mut event, step.max(0.0) as u64);
    bytes(&mut event, 5, &summary);
    event
}

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

fn time(at: f64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, FIXED_64);
    event.extend(at.to_le_bytes());
    event
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length, its checksum, the bytes, their checksum.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(checksum(&length).to_le_bytes());
    out.extend_from_slice(event);
    out.extend(checksum(event).to_le_bytes());
    out
}

/// A CRC-32C, turned and shifted as TFRecord does so that a checksum of data with checksums is none of the data.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::super::curves;
    use super::*;
    use expect_test::expect;

    /// Read by TensorBoard's own reader: `docs/elsewhere.md` has the lines.
    #[test]
    fn a_point_is_one_record_for_each_finite_number() {
        let written = points(&curves::read(r#"{"step":300,"kl":null,"loss":0.5}"#), 1.5);
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        expect!["1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000003f69f9315b"]
            .assert_eq(&hex);
        assert_eq!(&header(0.0)[12..21], [9, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
