//! What can be asked for, what answers, and what every answer has with it.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_http::{ConnectionType, Request};
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::{
    App, Error, HttpRequest, HttpResponse, HttpResponseBuilder, Route,
    body::{BoxBody, MessageBody},
    dev::{AppConfig, ServiceRequest, ServiceResponse},
    guard,
    http::header::{self, HeaderName, HeaderValue},
    middleware::{Next, from_fn},
    web,
};

use super::{
    access::{Access, Asked, Refusal},
    actions::{self, Acting, Chosen},
    connections::Since,
    metrics,
    page::{self, View},
    tap,
};
use crate::{
    quote::quote,
    status::{Latest, Snapshot, snapshot::AgentState, tap::Tap},
};

/// Scripts, styles and pictures come from here and from nowhere else, none stands within a page, and no page elsewhere shows ours.
/// Nothing is kept but what has its content in its name: all else is old a second later. The referrer stays within, so that a browser says where a form comes from.
const ALWAYS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::X_DNS_PREFETCH_CONTROL, "off"),
];

/// Everything that answers to those who come by one socket.
pub(super) fn app(
    access: Access,
    latest: Latest,
    acting: Arc<Acting>,
    tap: Tap,
) -> impl ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<impl MessageBody>, Error = Error, InitError = ()>
{
    App::new()
        .app_data(Rc::new(access))
        .app_data(web::Data::new(latest))
        .app_data(web::Data::from(acting))
        .app_data(tap)
        .wrap(from_fn(guarded))
        .route("/", look().to(whole_page))
        .route("/fragment", look().to(fragment))
        .route("/assets/{name}", look().to(asset))
        .route("/health/live", look().to(live))
        .route("/health/ready", look().to(ready))
        .route("/metrics", look().to(all_metrics))
        .route("/api/status", look().to(status))
        .route("/api/tap", web::get().to(tap::follow))
        .route("/dead-letters", look().to(dead_letters))
        .route("/api/actions", look().to(actions::token))
        .service(
            web::resource("/api/actions/{act}")
                .route(web::post().to(actions::act))
                .default_service(web::to(HttpResponse::MethodNotAllowed)),
        )
        .default_service(web::to(nothing))
        .into_factory()
}

/// For those who only look.
fn look() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "live": true }))
}

/// Asks for no password, so it says no more than a code.
async fn ready(latest: web::Data<Latest>) -> HttpResponse {
    let snapshot = latest.brief();
    let state = snapshot.agent.state;
    let ready = state == AgentState::Running;
    let mut answer = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let code = snapshot.verdict.code.as_deref().filter(|_| !ready);
    answer.json(serde_json::json!({ "ready": ready, "state": state, "code": code }))
}

async fn all_metrics(request: HttpRequest, latest: web::Data<Latest>) -> HttpResponse {
    let accepted = request.headers().get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    let open_metrics = accepted.contains("application/openmetrics-text");
    let form = if open_metrics { metrics::OPEN_METRICS } else { metrics::PROMETHEUS };
    shown(form, metrics::text(latest.brief(), open_metrics))
}

/// What a program asks with that has seen a snapshot.
#[derive(serde::Deserialize)]
struct After {
    /// When that one was made: the answer is a later one, once there is one.
    after: Option<jiff::Timestamp>,
}

async fn status(after: web::Query<After>, latest: web::Data<Latest>) -> HttpResponse {
    let mut snapshot = latest.get();
    if after.after.is_some_and(|seen| snapshot.at <= seen) {
        snapshot = latest.changed().await;
    }
    HttpResponse::Ok().json(snapshot.as_ref())
}

/// What a page was asked for.
#[derive(serde::Deserialize)]
struct Asking {
    #[serde(default)]
    filter: String,
    /// The name of a notice.
    #[serde(default)]
    notice: String,
}

/// All that a page is made of.
type Visit = (web::Query<Asking>, HttpRequest, web::Data<Latest>, web::Data<Acting>);

async fn whole_page(visit: Visit) -> HttpResponse {
    made_by(page::render, visit)
}

async fn fragment(visit: Visit) -> HttpResponse {
    made_by(page::fragment, visit)
}

fn made_by(
    render: fn(&Snapshot, View<'_>) -> Result<String, askama::Error>,
    (asked, request, latest, acting): Visit,
) -> HttpResponse {
    let notice = acting.notice(&asked.notice);
    shown(HTML, render(&latest.get(), view(&request, &asked.filter, notice.as_deref(), &acting)))
}

fn view<'a>(request: &HttpRequest, filter: &'a str, notice: Option<&'a str>, acting: &'a Acting) -> View<'a> {
    let access = request.app_data::<Rc<Access>>().map_or("", |access| access.said());
    View { filter, notice, access, token: acting.token() }
}

/// Which dead letters a page shows.
#[derive(serde::Deserialize)]
struct Which {
    publisher: Option<String>,
    reason: Option<String>,
    /// Those behind the one with this id.
    after: Option<String>,
}

async fn dead_letters(
    asked: web::Query<Which>,
    request: HttpRequest,
    latest: web::Data<Latest>,
    acting: web::Data<Acting>,
) -> HttpResponse {
    /// So many fit a page.
    const MOST: usize = 50;
    let Which { publisher, reason, after } = asked.into_inner();
    let chosen = Chosen { publisher, reason, ..Chosen::default() };
    match acting.actions().list(&chosen, after.as_deref(), MOST).await {
        Ok(listed) => shown(HTML, page::letters(&latest.brief(), &listed, &chosen, view(&request, "", None, &acting))),
        Err(why) => text(HttpResponse::ServiceUnavailable(), &why),
    }
}

async fn asset(name: web::Path<String>) -> HttpResponse {
    let Some(asset) = page::asset(&name) else { return nothing().await };
    let mut answer = HttpResponse::Ok();
    if asset.is_of_its_name {
        answer.insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"));
    }
    answer.content_type(asset.content_type).body(asset.body)
}

const HTML: &str = "text/html; charset=utf-8";

fn shown(content_type: &str, made: Result<String, impl std::fmt::Display>) -> HttpResponse {
    match made {
        Ok(body) => HttpResponse::Ok().content_type(content_type).body(body),
        Err(error) => text(HttpResponse::InternalServerError(), &format!("it cannot be shown: {error}")),
    }
}

async fn nothing() -> HttpResponse {
    text(HttpResponse::NotFound(), "there is nothing of that name")
}

pub(super) fn text(mut answer: HttpResponseBuilder, sentence: &str) -> HttpResponse {
    answer.content_type("text/plain; charset=utf-8").body(format!("{sentence}\n"))
}

/// Answers those who may ask, and has everything with each answer that it must have.
async fn guarded(request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse<BoxBody>, Error> {
    let judged = match request.app_data::<Rc<Access>>() {
        Some(access) => access.judge(Asked::of(&request)),
        None => Err(Refusal::Elsewhere),
    };
    let is_last = request.conn_data::<Since>().is_some_and(|since| since.is_long_ago());
    let mut response = match judged {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => {
            if refusal == Refusal::WrongPassword {
                guessed().await;
            }
            request.into_response(refused(&refusal))
        }
    };
    for (name, value) in ALWAYS {
        if !(name == header::CACHE_CONTROL && response.headers().contains_key(&name)) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    if is_last {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Wrong guesses are answered one a second, however many there are, also where two threads serve for a moment, as while the agent starts.
async fn guessed() {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn refused(refusal: &Refusal) -> HttpResponse {
    match refusal {
        Refusal::NoPassword | Refusal::WrongPassword => {
            let mut answer = HttpResponse::Unauthorized();
            answer.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"Kadabra\", charset=\"UTF-8\""));
            text(answer, "say the password of [status], as that of any user or as a bearer token")
        }
        Refusal::Host(host) => text(
            HttpResponse::MisdirectedRequest(),
            &format!(
                "this is not {}: ask by an IP address or as localhost, or name it in allowed_hosts of [status]",
                quote(host)
            ),
        ),
        Refusal::Elsewhere => text(HttpResponse::Forbidden(), "a page elsewhere asks for this"),
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    #[test]
    fn wrong_guesses_are_answered_one_a_second_whatever_threads_serve() {
        let begun = Instant::now();
        let threads = [(); 2].map(|()| thread::spawn(|| actix_rt::System::new().block_on(guessed())));
        assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}
