//! A strict stand-in for InfluxDB 2 (OSS): it refuses what that refuses, in its words, and stores the rest as that does.
//! `tests/stand_ins.rs` holds it to what a real 2.9.1 answered, case by case, and to the documentation.

mod bucket;
mod faults;
mod lines;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Serialize as _;
use serde_json::{Value, json};

use self::bucket::Bucket;
use super::http_server::{Fault, Request, Response, Server, with_fault};

const SECOND: i64 = 1_000_000_000;

/// Which release it stands in for: what is not named here they answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Strips a field `time` without a word.
    V2_7,
    /// Strips a field `time` and answers 422 with `dropped=0`.
    V2_9,
}

/// What a token may do in the organization.
#[derive(Clone, Debug)]
pub(crate) enum Right {
    Everything,
    /// Write to the bucket of this name and nothing else.
    Write(&'static str),
    /// Read and write the bucket of this name.
    ReadWrite(&'static str),
    /// Read the bucket of this name and nothing else.
    Read(&'static str),
    /// Nothing while it is inactive.
    Inactive,
}

/// A running stand-in; ends with its value.
pub(crate) struct Influxdb2 {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    release: Release,
    organization: String,
    buckets: BTreeMap<String, Bucket>,
    made: u64,
    tokens: BTreeMap<String, Right>,
    fault: Option<Fault>,
    writes: usize,
}

/// What is wrong with a write: a code of <https://docs.influxdata.com/influxdb/v2/api/> and a message.
type Refusal = (&'static str, String);

impl Influxdb2 {
    /// One with this organization, a bucket that keeps everything, and a token that may do everything.
    pub(crate) fn start(organization: &str, bucket: &str, token: &str) -> Self {
        let state = State {
            release: Release::V2_9,
            organization: organization.to_owned(),
            buckets: BTreeMap::new(),
            made: 0,
            tokens: BTreeMap::from([(token.to_owned(), Right::Everything)]),
            fault: None,
            writes: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let of = Arc::clone(&state);
        let this = Self { server: Server::start(move |request| answer(&of, request)), state };
        this.create_bucket(bucket, Duration::ZERO);
        this
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Ends it as an outage does; nothing that was answered is lost.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it on the same port after [`Self::stop`].
    pub(crate) fn start_again(&mut self) {
        self.server.start_again();
    }

    pub(crate) fn release(&self, release: Release) {
        self.state().release = release;
    }

    /// Makes a bucket that keeps points for so long; zero is for ever.
    pub(crate) fn create_bucket(&self, name: &str, retention: Duration) {
        let mut state = self.state();
        state.made += 1;
        let id = format!("{:016x}", 0xb0c4_e700_0000_0000_u64 + state.made);
        state.buckets.insert(name.to_owned(), Bucket::new(id, retention));
    }

    /// Lets a bucket keep points for so long from now on; zero is for ever.
    pub(crate) fn keep(&self, bucket: &str, retention: Duration) {
        self.state().buckets.get_mut(bucket).unwrap().retention = retention;
    }

    pub(crate) fn delete_bucket(&self, name: &str) {
        self.state().buckets.remove(name);
    }

    pub(crate) fn bucket_id(&self, name: &str) -> String {
        self.state().buckets[name].id.clone()
    }

    pub(crate) fn organization_id(&self) -> String {
        ORGANIZATION.to_owned()
    }

    /// Makes a token, or changes what it may do.
    pub(crate) fn token(&self, token: &str, right: Right) {
        self.state().tokens.insert(token.to_owned(), right);
    }

    pub(crate) fn remove_token(&self, token: &str) {
        self.state().tokens.remove(token);
    }

    /// What it does to every write from now on, in place of what it would do.
    pub(crate) fn fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// How many writes came, of whatever sort.
    pub(crate) fn writes(&self) -> usize {
        self.state().writes
    }

    /// Every point of a bucket as `{"measurement", "tags", "fields", "time"}`, sorted by its text.
    pub(crate) fn points(&self, bucket: &str) -> Vec<Value> {
        self.state().buckets[bucket].stored.points(i64::MIN)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The identity of the only organization.
const ORGANIZATION: &str = "0123456789abcdef";

fn answer(state: &Mutex<State>, request: &Request) -> Option<Response> {
    let mut response = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/health") => plain(
            200,
            r#"{"name":"influxdb", "message":"ready for queries and writes", "status":"pass", "checks":[], "version": "v2.9.1", "commit": "source"}"#.to_owned() + "\n",
        ),
        ("GET", "/ready") => plain(200, "{\n    \"status\": \"ready\",\n    \"started\": \"2026-01-01T00:00:00Z\",\n    \"up\": \"1m0s\"\n}\n".to_owned()),
        ("GET" | "HEAD", "/ping") => Response::new(204, &[("Vary", "Accept-Encoding")], ""),
        ("POST", path @ ("/api/v2/write" | "/write")) => {
            let fault = {
                let mut state = state.lock().unwrap();
                state.writes += 1;
                state.fault.clone()
            };
            with_fault(fault, || {
                let mut state = state.lock().unwrap();
                let written = if path == "/write" { state.write_as_v1(request) } else { state.write(request) };
                Some(written.unwrap_or_else(refusal))
            })?
        }
        (method, path) => state.lock().unwrap().other(method, path, request).unwrap_or_else(refusal),
    };
    response.headers.push(("X-Influxdb-Build".to_owned(), "OSS".to_owned()));
    let version = if state.lock().unwrap().release == Release::V2_7 { "v2.7.12" } else { "v2.9.1" };
    response.headers.push(("X-Influxdb-Version".to_owned(), version.to_owned()));
    Some(response)
}

fn plain(status: u16, body: String) -> Response {
    Response::new(status, &[("Content-Type", "application/json; charset=utf-8")], body)
}

fn is_gzip(request: &Request) -> bool {
    matches!(request.header("content-encoding"), Some("gzip" | "x-gzip"))
}

/// Refuses what does not begin as gzip does.
fn check_gzip(request: &Request) -> Result<(), Refusal> {
    if is_gzip(request) && !request.body.starts_with(&[0x1f, 0x8b, 8]) {
        return Err(("internal error", "An internal error has occurred - check server logs".to_owned()));
    }
    Ok(())
}

/// Indented as the API answers what is not about a write.
fn indented(value: &Value) -> String {
    let mut text = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"\t")))
        .unwrap();
    html_safe(&String::from_utf8(text).unwrap())
}

/// JSON as Go's encoder writes it.
fn html_safe(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

fn refusal((code, message): Refusal) -> Response {
    // As `kit/transport/http/error_handler.go` of v2.9.1 has them.
    let status = match code {
        "invalid" => 400,
        "unauthorized" => 401,
        "forbidden" => 403,
        "not found" => 404,
        "method not allowed" => 405,
        "request too large" => 413,
        "unprocessable entity" => 422,
        _ => 500,
    };
    let body = html_safe(&format!("{{\"code\":{},\"message\":{}}}", json!(code), json!(message)));
    let mut response = plain(status, body);
    response.headers.push(("X-Platform-Error-Code".to_owned(), code.to_owned()));
    response
}

impl State {
    /// What the token of a request may do.
    fn authorized(&self, request: &Request) -> Result<&Right, Refusal> {
        let header = request.header("authorization").unwrap_or_default();
        let (scheme, token) = header.split_once(' ').unwrap_or_default();
        let known = ["token", "bearer"].contains(&scheme.to_ascii_lowercase().as_str()).then(|| self.tokens.get(token));
        known.flatten().ok_or_else(|| ("unauthorized", "unauthorized access".to_owned()))
    }

    /// The same on the 1.x interface, which takes a token as a password, too, and knows logins of its own: a token `name:password` here.
    fn authorized_as_v1(&self, request: &Request) -> Result<&Right, Refusal> {
        let decoded = |login: &str| String::from_utf8(BASE64_STANDARD.decode(login).ok()?).ok();
        let (name, password) = match (request.header("authorization"), request.parameter("u"), request.parameter("p")) {
            (Some(header), ..) => match header.strip_prefix("Basic ").map(decoded) {
                None => return self.authorized(request),
                Some(login) => {
                    login.unwrap_or_default().split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
                }
            },
            (None, Some(name), Some(password)) => Some((name.to_owned(), password.to_owned())),
            _ => return self.authorized(request),
        }
        .unwrap_or_default();
        let known = self.tokens.get(&password).or_else(|| self.tokens.get(&format!("{name}:{password}")));
        known.ok_or_else(|| ("unauthorized", "Unauthorized".to_owned()))
    }

    fn find_organization(&self, request: &Request) -> Result<(), Refusal> {
        if let Some(id) = request.parameter("orgID").filter(|id| !id.is_empty()) {
            return match id {
                ORGANIZATION => Ok(()),
                id if id.len() != 16 => Err(("invalid", "id must have a length of 16 bytes".to_owned())),
                _ => Err(("not found", "organization not found".to_owned())),
            };
        }
        match request.parameter("org").filter(|name| !name.is_empty()) {
            None => Err(("invalid", "Please provide either orgID or org".to_owned())),
            Some(name) if name == self.organization || name == ORGANIZATION => Ok(()),
            Some(name) => Err(("not found", format!("organization name {name:?} not found"))),
        }
    }

    /// The name of a bucket that is given by its name or identity.
    fn find_bucket(&self, bucket: &str) -> Option<String> {
        let by_id = self.buckets.iter().find(|(_, found)| found.id == bucket).map(|(name, _)| name.clone());
        by_id.or_else(|| self.buckets.contains_key(bucket).then(|| bucket.to_owned()))
    }

    fn may_read(right: &Right, bucket: &str) -> bool {
        match right {
            Right::Everything => true,
            Right::Read(name) | Right::ReadWrite(name) => *name == bucket,
            Right::Write(_) | Right::Inactive => false,
        }
    }

    /// In the order of `http/write_handler.go` of v2.9.1.
    fn write(&mut self, request: &Request) -> Result<Response, Refusal> {
        let right = self.authorized(request)?.clone();
        let unit = match request.parameter("precision").unwrap_or_default() {
            "" | "ns" => 1,
            "us" => 1000,
            "ms" => 1_000_000,
            "s" => SECOND,
            _ => return Err(("invalid", "invalid precision; valid precision units are ns, us, ms, and s".to_owned())),
        };
        let bucket = request.parameter("bucket").filter(|name| !name.is_empty());
        let bucket = bucket.ok_or_else(|| ("not found", "bucket not found".to_owned()))?;
        check_gzip(request)?;
        self.find_organization(request)?;
        let name = self.find_bucket(bucket).ok_or_else(|| ("not found", format!("bucket {bucket:?} not found")))?;
        self.store(&name, &right, unit, request)
    }

    /// What stays of the 1.x interface: `http/legacy/write_handler.go` of v2.9.1.
    fn write_as_v1(&mut self, request: &Request) -> Result<Response, Refusal> {
        let right = self.authorized_as_v1(request)?.clone();
        let unit = match request.parameter("precision") {
            Some("us") => 1000,
            Some("ms") => 1_000_000,
            Some("s") => SECOND,
            _ => 1,
        };
        let database =
            request.parameter("db").filter(|name| !name.is_empty()).ok_or_else(|| ("invalid", "missing db".to_owned()))?;
        let policy = request.parameter("rp").unwrap_or_default();
        if !self.buckets.contains_key(database) || !["", "autogen"].contains(&policy) {
            return Err(("not found", "no dbrp mapping found".to_owned()));
        }
        check_gzip(request)?;
        self.store(database, &right, unit, request)
    }

    /// Writes to a bucket that there is.
    fn store(&mut self, bucket: &str, right: &Right, unit: i64, request: &Request) -> Result<Response, Refusal> {
        match right {
            Right::Everything => {}
            Right::Write(allowed) | Right::ReadWrite(allowed) if *allowed == bucket => {}
            Right::Inactive => return Err(("forbidden", "insufficient permissions for write: token is inactive".to_owned())),
            _ => return Err(("forbidden", "insufficient permissions for write".to_owned())),
        }
        let body = if is_gzip(request) {
            request.inflated().map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => ("internal error", "unable to read data: unexpected EOF".to_owned()),
                _ => ("invalid", "unable to read data: gzip: invalid checksum".to_owned()),
            })?
        } else {
            request.body.clone()
        };
        let now = now();
        let lines = lines::parse(&body, now, unit).map_err(|message| ("invalid", message))?;
        if let Some(Fault::Storage(response)) = self.fault.as_ref().filter(|_| !lines.is_empty()) {
            return Ok(response.clone());
        }
        let strips_silently = self.release == Release::V2_7;
        match self.buckets.get_mut(bucket).unwrap().write(lines, now, strips_silently) {
            None => Ok(Response::new(204, &[], "")),
            Some(reason) => Err(("unprocessable entity", format!("failure writing points to database: partial write: {reason}"))),
        }
    }

    fn other(&self, method: &str, path: &str, request: &Request) -> Result<Response, Refusal> {
        if path.starts_with("/api/v2/") || path == "/query" {
            self.authorized(request)?;
        }
        match (method, path) {
            ("GET", "/api/v2/buckets") => self.list_buckets(request),
            ("GET" | "POST", "/query") => Ok(self.query(request)),
            (_, "/api/v2/write") => {
                let mut response = refusal(("method not allowed", "allow: OPTIONS, POST".to_owned()));
                response.headers.push(("Allow".to_owned(), "OPTIONS, POST".to_owned()));
                Ok(response)
            }
            _ => {
                let mut response = refusal(("not found", String::new()));
                response.body = indented(&json!({ "code": "not found", "message": "path not found" }));
                Ok(response)
            }
        }
    }

    fn list_buckets(&self, request: &Request) -> Result<Response, Refusal> {
        let right = self.authorized(request)?;
        let named = request.parameter("name").unwrap_or_default();
        if let Some(name) = request.parameter("org").filter(|name| *name != self.organization) {
            let mut response = refusal(("not found", String::new()));
            let message = format!("organization name {name:?} not found");
            response.body = indented(&json!({ "code": "not found", "message": message }));
            return Ok(response);
        }
        let found = self.buckets.iter().filter(|(name, _)| named.is_empty() || *name == named);
        let found = found.filter(|(name, _)| Self::may_read(right, name)).map(|(name, bucket)| {
            let rule = json!({
                "type": "expire", "everySeconds": bucket.retention.as_secs(), "shardGroupDurationSeconds": bucket.shard_duration() / SECOND,
            });
            json!({ "id": bucket.id, "orgID": ORGANIZATION, "type": "user", "name": name, "retentionRules": [rule], "labels": [] })
        });
        let this = if named.is_empty() { String::new() } else { format!("bucket={named}&") };
        let this = format!("/api/v2/buckets?{this}descending=false&limit=20&offset=0");
        // Keys in the order of the real one.
        let buckets = indented(&Value::Array(found.collect())).replace('\n', "\n\t");
        let body = format!(
            "{{\n\t\"links\": {{\n\t\t\"self\": {}\n\t}},\n\t\"buckets\": {buckets}\n}}",
            html_safe(&json!(this).to_string())
        );
        Ok(plain(200, body))
    }

    /// Of InfluxQL, `SHOW FIELD KEYS`, of all measurements or `FROM` some, `SHOW DATABASES`, and
    /// `SELECT last("F") FROM "M" WHERE "T" = 'V' AND time > now() - 1h`.
    fn query(&self, request: &Request) -> Response {
        let right = self.authorized(request).unwrap();
        let question = request.parameter("q").unwrap_or_default();
        let result = match question {
            "SHOW DATABASES" => {
                let names = self.buckets.keys().filter(|name| Self::may_read(right, name)).map(|name| json!([name]));
                format!(",\"series\":[{}]", series("databases", &["name"], names.collect()))
            }
            _ if question == "SHOW FIELD KEYS" || question.starts_with("SHOW FIELD KEYS FROM ") => {
                let named = question.strip_prefix("SHOW FIELD KEYS FROM ").map(identifiers);
                let database = request.parameter("db").unwrap_or_default();
                match self.buckets.get(database).filter(|_| Self::may_read(right, database)) {
                    Some(bucket) => bucket.field_keys(named.as_deref()),
                    None => format!(",\"error\":{}", json!(format!("database not found: {database}"))),
                }
            }
            _ if question.starts_with("SELECT last(") => {
                let database = request.parameter("db").unwrap_or_default();
                match self.buckets.get(database).filter(|_| Self::may_read(right, database)) {
                    Some(bucket) => last(question, bucket),
                    None => format!(",\"error\":{}", json!(format!("database not found: {database}"))),
                }
            }
            _ => format!(",\"error\":{}", json!(format!("not implemented: {question}"))),
        };
        let headers = [("Content-Type", "application/json"), ("Vary", "Accept-Encoding")];
        Response::new(200, &headers, format!("{{\"results\":[{{\"statement_id\":0{result}}}]}}\n"))
    }
}

/// The newest value of a field.
fn last(question: &str, bucket: &Bucket) -> String {
    let question = question.strip_prefix("SELECT last(").unwrap().strip_suffix(" AND time > now() - 1h").unwrap();
    let (field, rest) = question.split_once(") FROM ").unwrap();
    let (measurement, rest) = rest.split_once(" WHERE ").unwrap();
    let (tag, value) = rest.split_once(" = ").unwrap();
    let name = |quoted: &str| identifiers(quoted).remove(0);
    let value = value.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
    let value = value.replace("\\'", "'").replace(r"\\", r"\");
    let measurement = name(measurement);
    match bucket.stored.newest(&measurement, (&name(tag), &value), &name(field), now()) {
        Some(newest) => {
            format!(",\"series\":[{}]", series(&measurement, &["time", "last"], vec![json!(["2026-01-01T00:00:00Z", newest])]))
        }
        None => String::new(),
    }
}

/// Identifiers of InfluxQL, which are all quoted.
fn identifiers(list: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), list);
    while let Some(quoted) = rest.trim_start_matches(", ").strip_prefix('"') {
        let (mut name, mut letters) = (String::new(), quoted.char_indices());
        rest = loop {
            match letters.next().unwrap() {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => name.push(match letters.next().unwrap().1 {
                    'n' => '\n',
                    letter => letter,
                }),
                (_, letter) => name.push(letter),
            }
        };
        found.push(name);
    }
    assert!(rest.is_empty(), "{list}");
    found
}

/// A series of an answer to InfluxQL, its keys in their order.
fn series(name: &str, columns: &[&str], values: Vec<Value>) -> String {
    format!("{{\"name\":{},\"columns\":{},\"values\":{}}}", json!(name), json!(columns), Value::Array(values))
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}
