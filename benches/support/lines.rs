//! Line protocol as straightforward code writes it: no verdicts, no limits, no look at what a name might hide.

use kadabra::wire::{Kind, MessageSet, Scalar};

/// Appends the lines of every message of a set to `body`.
pub(crate) fn encode(set: &MessageSet, body: &mut Vec<u8>) {
    let mut tags = Vec::new();
    let (mut float, mut int) = (ryu::Buffer::new(), itoa::Buffer::new());
    for message in set.messages() {
        tags.clear();
        let mut dimensions: Vec<(&str, &str)> =
            message.dimensions().iter().map(|dimension| (set.text(dimension.name), set.text(dimension.value))).collect();
        dimensions.sort_unstable();
        for (name, value) in dimensions {
            tags.push(b',');
            escape(name, b",= ", &mut tags);
            tags.push(b'=');
            escape(value, b",= ", &mut tags);
        }
        for point in message.points() {
            escape(set.text(point.name), b", ", body);
            body.extend_from_slice(&tags);
            body.extend_from_slice(b" value=");
            body.extend_from_slice(float.format_finite(point.value).as_bytes());
            if let Kind::Timer { unit } = point.kind {
                body.extend_from_slice(b",unit=");
                string(set.text(unit), body);
            }
            for field in set.fields(point) {
                body.push(b',');
                escape(set.text(field.name), b",= ", body);
                body.push(b'=');
                match field.value {
                    Scalar::Text(text) => string(set.text(text), body),
                    Scalar::Int(value) => {
                        body.extend_from_slice(int.format(value).as_bytes());
                        body.push(b'i');
                    }
                    Scalar::Float(value) => body.extend_from_slice(float.format_finite(value).as_bytes()),
                    Scalar::Bool(value) => body.extend_from_slice(if value { b"true" } else { b"false" }),
                }
            }
            body.push(b' ');
            body.extend_from_slice(int.format(point.time).as_bytes());
            body.push(b'\n');
        }
    }
}

fn string(text: &str, body: &mut Vec<u8>) {
    body.push(b'"');
    escape(text, b"\"\\", body);
    body.push(b'"');
}

fn escape(text: &str, special: &[u8], body: &mut Vec<u8>) {
    for byte in text.bytes() {
        if special.contains(&byte) {
            body.push(b'\\');
        }
        body.push(byte);
    }
}
