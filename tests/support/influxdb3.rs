//! A strict stand-in for InfluxDB 3 Core: it refuses what that refuses, in its words, and stores the rest as that does.
//! `tests/stand_ins.rs` holds it to what a real 3.6.0 answered, case by case, and to the documentation.

mod faults;
mod lines;
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::schema::Limits;
use self::schema::{TIME, Tables, arrow_type, qualify, unit};
use super::{
    http_server::{Fault, Request, Response, Server, with_fault},
    stored::{Line, Stored},
};

/// The largest body, as it comes and inflated, in bytes: `--max-http-request-size`.
const MAX_BODY: usize = 10_485_760;

/// Which release it stands in for: what is not named here they answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Says 500 of a body that is too large or is no gzip, reads the first member of gzip only, takes strings of 64 KiB, and closes the
    /// connection without an answer when byte 20 of a bad line lies within a character.
    V3_6,
    /// Says 413 and 400 of such bodies, takes strings of 1 MiB, and answers.
    V3_10,
}

/// What a token may do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right {
    Everything,
    /// Not write: Enterprise has such ones.
    Read,
    /// Nothing any more.
    Expired,
}

/// A running stand-in; ends with its value.
pub(crate) struct Influxdb3 {
    server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    release: Release,
    tokens: BTreeMap<String, Right>,
    databases: BTreeMap<String, Database>,
    limits: Limits,
    /// How long it takes until the log has what was written.
    flush: Duration,
    fault: Option<Fault>,
    writes: usize,
    /// What was answered for `no_sync` and is not in the log yet, by database.
    buffered: Vec<(String, Line)>,
    /// Lines with the same tag twice, which a real one answers with 204 and does not survive.
    deadly: Vec<String>,
}

#[derive(Default)]
struct Database {
    tables: Tables,
    stored: Stored,
    retention: Option<Duration>,
}

/// What is wrong with one line.
struct LineError {
    line: String,
    number: usize,
    message: String,
}

impl Influxdb3 {
    /// One with this token, which may do everything, and without databases.
    pub(crate) fn start(token: &str) -> Self {
        let state = State {
            release: Release::V3_6,
            tokens: BTreeMap::from([(token.to_owned(), Right::Everything)]),
            databases: BTreeMap::new(),
            limits: Limits { databases: 5, tables: 2000, columns: 500, tags: 256 },
            flush: Duration::ZERO,
            fault: None,
            writes: 0,
            buffered: Vec::new(),
            deadly: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let of = Arc::clone(&state);
        Self { server: Server::start(move |request| answer(&of, request)), state }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Ends it as an outage does; nothing that was answered is lost.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
        self.flush_log();
    }

    /// Ends it as kill -9 does: what was written with `no_sync` since the log was flushed is gone.
    pub(crate) fn kill(&mut self) {
        self.server.stop();
        self.state().buffered.clear();
    }

    /// Flushes the log, as a real one does once a second. A write without `no_sync` does, too.
    pub(crate) fn flush_log(&self) {
        self.state().flush_log();
    }

    /// Starts it on the same port after [`Self::stop`].
    pub(crate) fn start_again(&mut self) {
        self.server.start_again();
    }

    pub(crate) fn release(&self, release: Release) {
        self.state().release = release;
    }

    /// How long a write without `no_sync` waits for the log; with a real one up to a second.
    pub(crate) fn flush_takes(&self, delay: Duration) {
        self.state().flush = delay;
    }

    pub(crate) fn limits(&self, limits: Limits) {
        self.state().limits = limits;
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

    /// The names of the databases, without its own.
    pub(crate) fn databases(&self) -> Vec<String> {
        self.state().databases.keys().cloned().collect()
    }

    /// Every point of a database as `{"measurement", "tags", "fields", "time"}`, sorted by its text. Panics when a line was written that a
    /// real one does not survive.
    pub(crate) fn points(&self, database: &str) -> Vec<Value> {
        let deadly = self.deadly_lines();
        assert!(deadly.is_empty(), "the same tag twice in a line has damaged the table for good: {deadly:?}");
        self.damaged_points(database)
    }

    /// The same after such a line, for the other tables.
    pub(crate) fn damaged_points(&self, database: &str) -> Vec<Value> {
        let state = self.state();
        let Some(database) = state.databases.get(database) else { return Vec::new() };
        let from = database.retention.map_or(i64::MIN, |retention| now() - i64::try_from(retention.as_nanos()).unwrap());
        database.stored.points(from)
    }

    /// The lines that a real one would not have survived.
    pub(crate) fn deadly_lines(&self) -> Vec<String> {
        self.state().deadly.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn answer(state: &Mutex<State>, request: &Request) -> Option<Response> {
    if let Err(refused) = state.lock().unwrap().authorized(request) {
        return Some(refused);
    }
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/api/v3/write_lp") {
        return Some(state.lock().unwrap().other(request));
    }
    let fault = {
        let mut state = state.lock().unwrap();
        state.writes += 1;
        state.fault.clone()
    };
    with_fault(fault, || {
        let (response, delay) = {
            let mut state = state.lock().unwrap();
            let response = state.write(request).unwrap_or_else(Some);
            (response, if request.parameter("no_sync") == Some("true") { Duration::ZERO } else { state.flush })
        };
        thread::sleep(delay);
        response
    })
}

fn text(status: u16, body: impl Into<String>) -> Response {
    Response::new(status, &[], body)
}

fn error(status: u16, message: &str) -> Response {
    text(status, json!({ "error": message }).to_string())
}

impl State {
    fn authorized(&self, request: &Request) -> Result<Right, Response> {
        // The body of a 401 is empty up to 3.9.
        let unauthenticated = || match self.release {
            Release::V3_6 => text(401, ""),
            Release::V3_10 => text(401, r#"{"error": "the request was not authenticated"}"#),
        };
        let header = request.header("authorization").ok_or_else(unauthenticated)?;
        let token = token(header).ok_or_else(|| {
            text(400, r#"{"error": "Authorization header was malformed, the request was not in the form of 'Authorization: <auth-scheme> <token>', supported auth-schemes are Bearer, Token and Basic"}"#)
        })?;
        match self.tokens.get(&token) {
            Some(Right::Expired) | None => Err(unauthenticated()),
            Some(right) => Ok(*right),
        }
    }

    /// Stores what the log has not got yet, in the order in which it came.
    fn flush_log(&mut self) {
        for (name, line) in self.buffered.drain(..) {
            if let Some(database) = self.databases.get_mut(&name) {
                database.stored.write(line);
            }
        }
    }

    /// In the order of `write_lp` in `influxdb3_server/src/http.rs` of v3.6.0. `None` closes the connection.
    fn write(&mut self, request: &Request) -> Result<Option<Response>, Response> {
        if matches!(self.authorized(request)?, Right::Read) {
            return Err(text(403, ""));
        }
        let parameters = request.query.as_ref().ok_or_else(|| text(400, "missing query parameter 'db'"))?;
        let (mut precision, mut accept_partial) = ("auto".to_owned(), true);
        for (name, value) in parameters {
            match (name.as_str(), value.as_str()) {
                ("precision", known) if unit(known, 0).is_some() => value.clone_into(&mut precision),
                ("precision", unknown) => {
                    return Err(text(
                        400,
                        format!(
                            "serde error: unknown variant `{unknown}`, expected one of `auto`, `s`, `second`, `millisecond`, `ms`, `microsecond`, `u`, `us`, `n`, `nanosecond`, `ns`"
                        ),
                    ));
                }
                ("accept_partial" | "no_sync", "true" | "false") => accept_partial &= name == "no_sync" || value == "true",
                ("accept_partial" | "no_sync", _) => {
                    return Err(text(400, "serde error: provided string was not `true` or `false`"));
                }
                _ => {}
            }
        }
        let name = request.parameter("db").ok_or_else(|| text(400, "serde error: missing field `db`"))?;
        check_name(name)?;
        let body = self.body(request)?;
        if !self.databases.contains_key(name) && self.databases.len() >= self.limits.databases {
            return Err(self.no_database_more());
        }
        // The schema gets what is new in a copy, which is thrown away when the whole request is refused.
        let mut tables = self.databases.get(name).map(|database| database.tables.clone()).unwrap_or_default();
        let limit = match self.release {
            Release::V3_6 => (65_536, "String is greater than 64KB"),
            Release::V3_10 => (1_048_576, "String is greater than 1MB"),
        };
        let of_others: usize =
            self.databases.iter().filter(|(other, _)| *other != name).map(|(_, other)| other.tables.len()).sum();
        let (mut good, mut errors, mut originals) = (Vec::new(), Vec::new(), body.lines());
        for (at, parsed) in lines::parse(&body, limit).into_iter().enumerate() {
            let original = originals.next().unwrap_or_default();
            let number = at + 1;
            let qualified = match parsed {
                Ok(parsed) => {
                    let qualified = qualify(&parsed, &mut tables, self.limits, of_others, &precision);
                    qualified.map_err(|message| LineError { line: parsed.to_string(), number, message })
                }
                Err(message) => Err(LineError { line: original.to_owned(), number, message }),
            };
            match qualified {
                Ok(line) => {
                    let mut keys = BTreeSet::new();
                    if !line.1.iter().all(|key| keys.insert(key)) {
                        self.deadly.push(original.to_owned());
                    }
                    good.push(line.0);
                }
                Err(wrong) if accept_partial => errors.push(wrong),
                Err(wrong) => return Ok(self.refused_whole(&wrong)),
            }
        }
        let empty = good.is_empty() && errors.is_empty();
        let database = self.databases.entry(name.to_owned()).or_default();
        database.tables = tables;
        if let Some(Fault::Storage(response)) = self.fault.as_ref().filter(|_| !good.is_empty()) {
            return Ok(Some(response.clone()));
        }
        let synced = request.parameter("no_sync") != Some("true") && !good.is_empty();
        self.buffered.extend(good.into_iter().map(|line| (name.to_owned(), line)));
        if synced {
            self.flush_log();
        }
        if empty {
            return Err(text(400, "incoming write was empty"));
        }
        if errors.is_empty() {
            return Ok(Some(Response::new(204, &[("access-control-allow-origin", "*")], "")));
        }
        Ok(self.refused_in_part(&errors))
    }

    fn refused_whole(&self, wrong: &LineError) -> Option<Response> {
        let error = match self.release {
            Release::V3_6 => "parsing failed for write_lp endpoint",
            Release::V3_10 => "line protocol parsing error",
        };
        Some(text(400, format!("{{\"error\":{},\"data\":{}}}", json!(error), self.described(wrong)?)))
    }

    fn refused_in_part(&self, errors: &[LineError]) -> Option<Response> {
        let limit = |error: &LineError| {
            error.message.starts_with("Update to schema would exceed number of")
                || error.message.starts_with("Adding a new database would exceed limit of")
        };
        let status = if errors.iter().any(limit) { 422 } else { 400 };
        let data: Option<Vec<Value>> = errors.iter().map(|error| self.described(error)).collect();
        let data = json!(data?);
        Some(text(status, format!("{{\"error\":\"partial write of line protocol occurred\",\"data\":{data}}}")))
    }

    /// One line's error; `None` where 3.6 panics over it.
    fn described(&self, error: &LineError) -> Option<Value> {
        let mut end = error.line.len().min(20);
        if self.release == Release::V3_10 {
            end = error.line.floor_char_boundary(end);
        }
        let line = error.line.get(..end)?;
        Some(json!({ "error_message": error.message, "line_number": error.number, "original_line": line }))
    }

    fn no_database_more(&self) -> Response {
        error(422, &format!("Adding a new database would exceed limit of {} databases", self.limits.databases))
    }

    fn body(&self, request: &Request) -> Result<String, Response> {
        let newer = self.release == Release::V3_10;
        let too_large = || text(if newer { 413 } else { 500 }, format!("max request size ({MAX_BODY} bytes) exceeded"));
        if request.body.len() > MAX_BODY {
            return Err(too_large());
        }
        let body = match request.header("content-encoding") {
            None | Some("identity") => request.body.clone(),
            Some("gzip") => {
                // What breaks off and what never was gzip are the same to it.
                let broken = |_| text(if newer { 400 } else { 500 }, "error decoding gzip stream: unexpected end of file");
                if newer { request.inflated() } else { request.inflated_first() }.map_err(broken)?
            }
            Some(other) => return Err(text(400, format!("unacceptable content-encoding: {other}"))),
        };
        if body.len() > MAX_BODY {
            return Err(too_large());
        }
        String::from_utf8(body).map_err(|wrong| {
            text(if newer { 400 } else { 500 }, format!("body content is not valid utf8: {}", wrong.utf8_error()))
        })
    }

    fn other(&mut self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/health" | "/api/v1/health") => text(200, "OK"),
            ("GET" | "POST", "/ping") => {
                let (version, revision) =
                    if self.release == Release::V3_6 { ("3.6.0", "7e07b134f4") } else { ("3.10.0", "d7834110b3") };
                let headers =
                    [("content-type", "application/json"), ("x-influxdb-build", "Core"), ("x-influxdb-version", version)];
                let process = "fc486843-5954-4396-acad-9eae1b3b4348";
                Response::new(
                    200,
                    &headers,
                    format!(r#"{{"version":"{version}","revision":"{revision}","process_id":"{process}"}}"#),
                )
            }
            ("GET", "/api/v3/configure/database") => {
                let names = ["_internal".to_owned()].into_iter().chain(self.databases.keys().cloned()).collect::<BTreeSet<_>>();
                let rows: Vec<Value> = names.into_iter().map(|name| json!({ "iox::database": name })).collect();
                Response::new(200, &[("content-type", "application/json")], json!(rows).to_string())
            }
            ("POST", "/api/v3/configure/database") => self.create_database(request),
            ("DELETE", "/api/v3/configure/database") => {
                self.databases.remove(request.parameter("db").unwrap_or_default());
                text(200, "")
            }
            ("DELETE", "/api/v3/configure/table") => {
                let table = request.parameter("table").unwrap_or_default();
                if let Some(database) = self.databases.get_mut(request.parameter("db").unwrap_or_default()) {
                    database.tables.remove(table);
                    database.stored.remove_measurement(table);
                }
                text(200, "")
            }
            ("GET" | "POST", "/api/v3/query_sql") => self.query(request),
            _ => text(404, "not found"),
        }
    }

    fn create_database(&mut self, request: &Request) -> Response {
        let wanted: Value = serde_json::from_slice(&request.body).unwrap();
        let name = wanted["db"].as_str().unwrap();
        if let Err(refused) = check_name(name) {
            return refused;
        }
        if self.databases.len() >= self.limits.databases {
            return self.no_database_more();
        }
        let retention = wanted["retention_period"].as_str().map(|period| humantime::parse_duration(period).unwrap());
        self.databases.entry(name.to_owned()).or_default().retention = retention;
        text(200, "")
    }

    /// Of SQL, what asks for the columns of tables: `SELECT … FROM information_schema.columns [WHERE …]` with a table's name,
    /// or several in a list, and perhaps `table_schema = 'iox'`, in which all tables are that are written to; and
    /// `SELECT max(F) AS last FROM M WHERE T = 'V' AND time > now() - interval '1 hour'`.
    fn query(&self, request: &Request) -> Response {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let of = |name: &str| body[name].as_str().or(request.parameter(name)).unwrap_or_default().to_owned();
        let (name, question) = (of("db"), of("q"));
        let Some(database) = self.databases.get(&name) else {
            return error(404, &format!("query error: database not found: {name}"));
        };
        if let Some(newest) = question.strip_prefix("SELECT max(") {
            return newest_in(newest, database);
        }
        let Some((selected, from)) = question.split_once("FROM information_schema.columns") else {
            return text(500, format!("query error: this stand-in does not understand: {question}"));
        };
        let from = from.replace("table_schema = 'iox' AND ", "").replace("''", "\0");
        // Between quotes is every second part.
        let tables: Vec<_> = from.split('\'').skip(1).step_by(2).map(|name| name.replace('\0', "'")).collect();
        let selected: Vec<&str> = selected.trim_start_matches("SELECT").split(',').map(str::trim).collect();
        let mut rows = Vec::new();
        for (name, columns) in database.tables.iter().filter(|(name, _)| tables.is_empty() || tables.contains(name)) {
            for (column, kind) in columns {
                let all = [
                    ("column_name", column.as_str()),
                    ("data_type", arrow_type(kind)),
                    ("is_nullable", if *kind == TIME { "NO" } else { "YES" }),
                    ("table_catalog", "public"),
                    ("table_name", name),
                    ("table_schema", "iox"),
                ];
                let row = all.into_iter().filter(|(key, _)| selected == ["*"] || selected.contains(key));
                rows.push(row.map(|(key, value)| (key, json!(value))).collect::<BTreeMap<_, _>>());
            }
        }
        Response::new(200, &[("content-type", "application/json")], json!(rows).to_string())
    }
}

/// The newest value of a field, as the largest one.
fn newest_in(question: &str, database: &Database) -> Response {
    let question = question.strip_suffix(" AND time > now() - interval '1 hour'").unwrap();
    let (field, rest) = question.split_once(") AS last FROM ").unwrap();
    let (table, rest) = rest.split_once(" WHERE ").unwrap();
    let (tag, value) = rest.split_once(" = ").unwrap();
    if !database.tables.contains_key(table) {
        // As a real one says it: https://github.com/influxdata/influxdb3_core/issues/43.
        let why = format!("query error: error while planning query: Error during planning: table 'public.iox.{table}' not found");
        return error(500, &why);
    }
    let value = value.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap().replace("''", "'");
    let newest = database.stored.newest(table, (tag, &value), field, now());
    let row = newest.map_or_else(|| json!({}), |newest| json!({ "last": newest }));
    Response::new(200, &[("content-type", "application/json")], json!([row]).to_string())
}

/// The token in a header: schemes in this case exactly, one blank, and a colon in what Basic encodes.
fn token(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    if token.contains(' ') {
        return None;
    }
    match scheme {
        "Bearer" | "Token" => Some(token.to_owned()),
        "Basic" => {
            let login = String::from_utf8(BASE64_STANDARD.decode(token).ok()?).ok()?;
            login.split_once(':').filter(|(_, token)| !token.contains(':')).map(|(_, token)| token.to_owned())
        }
        _ => None,
    }
}

fn check_name(name: &str) -> Result<(), Response> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let wrong = match name.chars().next() {
        None => "db name cannot be empty",
        Some(_) if name.len() > 64 => "db name too long: max 64",
        Some(first) if first.is_ascii() && !first.is_ascii_alphanumeric() => "db name did not start with a number or letter",
        Some(_) if !name.replacen('/', "", 1).chars().all(allowed) => {
            "invalid character in database or rp name: must be ASCII, containing only letters, numbers, underscores, or hyphens"
        }
        Some(_) => return Ok(()),
    };
    Err(error(400, wrong))
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}
