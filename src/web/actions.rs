//! What can be done over HTTP: dead letters are queued anew or deleted. By POST alone, and with the token of this process, which a page
//! elsewhere can neither read nor guess; who may ask at all is decided in `access` before.
//!
//! A browser is sent back to the page, which shows what was done as a notice; a program has the same as JSON.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, ResponseError as _, dev::UrlEncoded, http::StatusCode, http::header, web};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::{
    plural::{count, either},
    quote::quote,
    status::Latest,
};

/// How large a form may be.
const FORM: usize = 16 << 10;
/// How long a form may take to arrive.
const FORM_WITHIN: Duration = Duration::from_secs(5);
/// How many notices are kept, the newest.
const NOTICES: usize = 16;

/// Does to dead letters what is asked for.
#[async_trait(?Send)]
pub(crate) trait Actions: Send + Sync {
    /// Dead letters, the oldest first: those that are meant, behind the one with the id `after`, and at most so many.
    ///
    /// # Errors
    /// A sentence with what to do, when what keeps them cannot be reached or refuses it.
    async fn list(&self, chosen: &Chosen, after: Option<&str>, most: usize) -> Result<Listed, String>;

    /// Does it to all that are meant. One that is gone by now is none of them.
    ///
    /// # Errors
    /// As [`Actions::list`]; what was done until then is done.
    async fn act(&self, act: Act, chosen: &Chosen) -> Result<Done, String>;
}

/// What is to be done to dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// To queue them anew, for the publishers that set them aside.
    Replay,
    /// To delete them.
    Discard,
}

/// Which dead letters are meant: all that is said must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Those with these ids; empty where any may be meant.
    pub(crate) ids: Vec<String>,
    /// That this one of several publishers has set aside.
    pub(crate) publisher: Option<String>,
    /// For this reason, as [`DeadLetterReason::reason`](crate::status::snapshot::DeadLetterReason::reason) has it, or as the page shows
    /// that.
    pub(crate) reason: Option<String>,
    /// Set aside until then, so that nothing is done to one that nobody has seen.
    pub(crate) until: Option<Timestamp>,
}

/// A dead letter, without its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Its id, by which `kadabra dead-letters` knows it, too.
    pub(crate) id: String,
    /// When it was set aside.
    pub(crate) time: String,
    /// Which of several publishers has set it aside.
    pub(crate) publisher: Option<String>,
    /// Why.
    pub(crate) reason: String,
    /// How large its message is, in bytes; absent where it was too large to be read.
    pub(crate) bytes: Option<u64>,
}

/// Some dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Those.
    pub(crate) letters: Vec<Letter>,
    /// The id behind which to go on, where there may be more.
    pub(crate) more: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// To how many.
    pub(crate) letters: u64,
    /// Which of the ids are not there.
    pub(crate) missing: Vec<String>,
    /// Whether it took long enough, and there may be more.
    pub(crate) more: bool,
}

impl Act {
    fn named(name: &str) -> Option<Self> {
        match name {
            "replay" => Some(Self::Replay),
            "discard" => Some(Self::Discard),
            _ => None,
        }
    }

    /// What was done, in a sentence.
    fn said(self, Done { letters, missing, more }: &Done) -> String {
        let what = match self {
            Self::Replay => "queued anew",
            Self::Discard => "deleted",
        };
        let mut said = format!("{} {} {what}", count(*letters, "dead letter"), either(*letters, "is", "are"));
        if !missing.is_empty() {
            let missing: Vec<_> = missing.iter().map(|id| quote(id)).collect();
            said += &format!("; there is none any more with the id {}", missing.join(", "));
        }
        if *more {
            said += "; there are more, for which to do it again";
        }
        said
    }
}

/// What actions need: the token, and whoever does them. One for all sockets.
pub(super) struct Acting {
    actions: Arc<dyn Actions>,
    /// Absent where the system has no random numbers: then nothing can be done.
    token: Option<String>,
    /// What was done, by names that nobody guesses; the newest last.
    notices: Mutex<VecDeque<(String, String)>>,
}

impl Acting {
    pub(super) fn new(actions: Arc<dyn Actions>) -> Self {
        Self { actions, token: random(), notices: Mutex::default() }
    }

    /// What a form must have with it.
    pub(super) fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub(super) fn actions(&self) -> &dyn Actions {
        self.actions.as_ref()
    }

    /// What was done, by the name that the visitor was given for it.
    pub(super) fn notice(&self, name: &str) -> Option<String> {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.iter().find(|(other, _)| other == name).map(|(_, notice)| notice.clone())
    }

    fn keep(&self, notice: String) -> Option<String> {
        let name = random()?;
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() == NOTICES {
            notices.pop_front();
        }
        notices.push_back((name.clone(), notice));
        Some(name)
    }

    /// The time that this takes does not tell how much was right.
    fn knows(&self, said: Option<&str>) -> bool {
        let both = self.token.as_deref().zip(said);
        both.is_some_and(|(token, said)| token.as_bytes().ct_eq(said.as_bytes()).into())
    }
}

impl fmt::Debug for Acting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acting").finish_non_exhaustive()
    }
}

/// 256 bits that nobody can guess, as text.
fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is asked for. A field of another name is refused: it may have been to say which.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    token: Option<String>,
    /// Several are apart by spaces.
    id: Option<String>,
    publisher: Option<String>,
    reason: Option<String>,
    until: Option<Timestamp>,
    #[serde(default)]
    all: bool,
    /// What the page had filtered, which it still does afterwards.
    #[serde(default)]
    filter: String,
}

/// Why nothing was done.
struct Refused(StatusCode, String);

/// The token, for programs.
pub(super) async fn token(acting: web::Data<Acting>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "token": acting.token(), "actions": ["replay", "discard"] }))
}

pub(super) async fn act(
    name: web::Path<String>,
    request: HttpRequest,
    body: web::Payload,
    acting: web::Data<Acting>,
    latest: web::Data<Latest>,
) -> HttpResponse {
    let Some(act) = Act::named(&name) else {
        return HttpResponse::NotFound().json(json!({ "error": "there is no such action" }));
    };
    let form = read(&request, body).await;
    let filter = form.as_ref().map(|form| form.filter.clone()).unwrap_or_default();
    let done = match form {
        Ok(form) => run(act, form, &acting).await,
        Err(refused) => Err(refused),
    };
    // What is shown next is of after it.
    latest.changes();
    let accepted = request.headers().get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    let for_people = accepted.contains("text/html");
    match done {
        Ok(done) if !for_people => HttpResponse::Ok().json(json!({
            "letters": done.letters, "missing": done.missing, "more": done.more, "notice": act.said(&done),
        })),
        Err(Refused(status, why)) if !for_people => HttpResponse::build(status).json(json!({ "error": why })),
        Ok(done) => back(&acting, act.said(&done), &filter),
        Err(Refused(_, why)) => back(&acting, format!("Nothing more was done: {why}"), &filter),
    }
}

async fn read(request: &HttpRequest, body: web::Payload) -> Result<Form, Refused> {
    let mut body = body.into_inner();
    match timeout(FORM_WITHIN, UrlEncoded::new(request, &mut body).limit(FORM)).await {
        Ok(form) => form.map_err(|error| Refused(error.status_code(), format!("the form cannot be read: {error}"))),
        Err(_) => Err(Refused(StatusCode::REQUEST_TIMEOUT, "the form did not arrive in time".to_owned())),
    }
}

async fn run(act: Act, form: Form, acting: &Acting) -> Result<Done, Refused> {
    let Form { token, id, publisher, reason, until, all, .. } = form;
    if !acting.knows(token.as_deref()) {
        let why = "the token is not that of this process, which each page and /api/actions have; the agent may have been restarted \
                   meanwhile: do it again";
        return Err(Refused(StatusCode::FORBIDDEN, why.to_owned()));
    }
    let ids: Vec<_> = id.iter().flat_map(|id| id.split_whitespace()).map(str::to_owned).collect();
    if ids.is_empty() && publisher.is_none() && reason.is_none() && !all || id.is_some() && ids.is_empty() {
        let why = "it is not said to which dead letters; expected id, publisher, reason, or all=true";
        return Err(Refused(StatusCode::BAD_REQUEST, why.to_owned()));
    }
    let named = !ids.is_empty();
    let chosen = Chosen { ids, publisher, reason, until };
    match acting.actions.act(act, &chosen).await {
        Ok(done) if named && done.letters == 0 => Err(Refused(StatusCode::NOT_FOUND, act.said(&done))),
        Ok(done) => Ok(done),
        Err(why) => Err(Refused(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

/// Back to the page, where a reload does nothing anew.
fn back(acting: &Acting, notice: String, filter: &str) -> HttpResponse {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(name) = acting.keep(notice) {
        query.append_pair("notice", &name);
    }
    if !filter.is_empty() {
        query.append_pair("filter", filter);
    }
    HttpResponse::SeeOther().insert_header((header::LOCATION, format!("/?{}", query.finish()))).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    #[async_trait(?Send)]
    impl Actions for Nothing {
        async fn list(&self, _: &Chosen, _: Option<&str>, _: usize) -> Result<Listed, String> {
            Ok(Listed::default())
        }

        async fn act(&self, _: Act, chosen: &Chosen) -> Result<Done, String> {
            Ok(Done { letters: 1, missing: chosen.ids.clone(), more: true })
        }
    }

    fn form(text: &str) -> Form {
        web::Query::<Form>::from_query(text).unwrap().into_inner()
    }

    #[actix_rt::test]
    async fn nothing_is_done_without_the_token_or_without_saying_to_which() {
        let acting = Acting::new(Arc::new(Nothing));
        let token = acting.token().to_owned();
        assert_eq!(token.len(), 64);
        assert_ne!(token, Acting::new(Arc::new(Nothing)).token(), "another process has another");
        let status =
            async |text: String| run(Act::Replay, form(&text), &acting).await.map_err(|Refused(status, _)| status.as_u16());
        for wrong in ["", "x", &token[1..], &format!("{token}x"), &token.to_uppercase()] {
            if wrong != token {
                assert_eq!(status(format!("token={wrong}&all=true")).await, Err(403), "{wrong}");
            }
        }
        assert_eq!(status("all=true".to_owned()).await, Err(403));
        for unsaid in ["", "&all=false", "&id=", "&id=+&all=true"] {
            assert_eq!(status(format!("token={token}{unsaid}")).await, Err(400), "{unsaid}");
        }
        assert!(status(format!("token={token}&all=true")).await.is_ok());
        let mut without = acting;
        without.token = None;
        assert!(!without.knows(Some("")) && !without.knows(None), "without random numbers nothing can be done");
    }

    #[test]
    fn a_field_that_is_not_known_may_have_been_to_say_which() {
        assert!(web::Query::<Form>::from_query("token=x&all=true&reasn=x").is_err());
        assert!(web::Query::<Form>::from_query("all=true&all=true").is_err());
    }

    #[test]
    fn what_was_done_is_said_and_the_newest_of_it_are_kept() {
        let done = Done { letters: 1, missing: vec!["1\u{202e}7".to_owned()], more: true };
        assert_eq!(
            Act::Discard.said(&done),
            "1 dead letter is deleted; there is none any more with the id 1\u{fffd}7; there are more, for which to do it again"
        );
        let acting = Acting::new(Arc::new(Nothing));
        let names: Vec<_> = (0..=NOTICES).map(|number| acting.keep(number.to_string()).unwrap()).collect();
        assert_eq!(acting.notice(&names[0]), None);
        assert_eq!(acting.notice(&names[NOTICES]).unwrap(), NOTICES.to_string());
    }
}
