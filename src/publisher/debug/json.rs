//! A message as JSON, in the words of Kadabra's debug publisher.

use serde_json::{Map, Value, json};

use crate::wire::{Field, Kind, Message, MessageSet, Point, Scalar};

pub(super) fn value(set: &MessageSet, message: &Message<'_>) -> Value {
    let dimensions = message.dimensions().iter();
    let dimensions: Vec<Value> =
        dimensions.map(|dimension| json!({ "name": set.text(dimension.name), "value": set.text(dimension.value) })).collect();
    let points = |timers: bool| -> Vec<Value> {
        let points = message.points().iter().filter(|point| matches!(point.kind, Kind::Timer { .. }) == timers);
        points.map(|point| point_to_json(set, point)).collect()
    };
    json!({ "dimensions": dimensions, "counters": points(false), "timers": points(true) })
}

fn point_to_json(set: &MessageSet, point: &Point) -> Value {
    let metadata: Map<String, Value> =
        set.fields(point).iter().map(|field| (set.text(field.name).to_owned(), field_to_json(set, field))).collect();
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(point.time)).map(|time| time.to_string()).unwrap_or_default();
    let mut json = json!({ "name": set.text(point.name), "metadata": metadata, "timestamp": timestamp, "value": point.value });
    if let (Kind::Timer { unit }, Some(json)) = (point.kind, json.as_object_mut()) {
        json.insert("unit".to_owned(), json!({ "name": set.text(unit) }));
    }
    json
}

fn field_to_json(set: &MessageSet, field: &Field) -> Value {
    match field.value {
        Scalar::Text(text) => set.text(text).into(),
        Scalar::Int(int) => int.into(),
        Scalar::Float(float) => float.into(),
        Scalar::Bool(bool) => bool.into(),
    }
}
