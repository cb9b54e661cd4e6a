//! An InfluxDB that answers as told, over a real socket: 204 and keeps what came, or anything else and keeps nothing.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

#[derive(Clone)]
pub(super) struct Influxd {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The status line and headers to answer with.
    answer: String,
    /// The same where there is no line, in turn; none where that makes no difference.
    to_questions: Vec<String>,
    /// The lines of bodies that were answered with 204.
    stored: Vec<String>,
}

/// The answer of one that works.
pub(super) const WORKS: &str = "204 No Content\r\n";

impl Influxd {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { answer: WORKS.to_owned(), to_questions: Vec::new(), stored: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || while serve(&stream, &state).is_some() {});
            }
        });
        Self { url, state }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// From now on every request is answered so.
    pub(super) fn answers(&self, answer: &str) {
        answer.clone_into(&mut self.state.lock().unwrap().answer);
    }

    /// From now on what has no line is answered so, in turn.
    pub(super) fn answers_questions(&self, answers: &[&str]) {
        self.state.lock().unwrap().to_questions = answers.iter().map(|answer| (*answer).to_owned()).collect();
    }

    pub(super) fn stored(&self) -> Vec<String> {
        self.state.lock().unwrap().stored.clone()
    }
}

fn serve(mut stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let is_question = body == b"\n";
    let mut state = state.lock().unwrap();
    if state.answer == WORKS {
        state.stored.extend(String::from_utf8(body).ok()?.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let mut answer = state.answer.clone();
    if is_question && let Some(first) = state.to_questions.first() {
        answer = first.clone();
        state.to_questions.rotate_left(1);
    }
    let answer = format!("HTTP/1.1 {answer}Content-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()
}
