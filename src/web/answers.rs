//! What can be asked for, what answers, and what every answer has with it.

use std::{rc::Rc, time::Duration};

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
    connections::Since,
    metrics,
    page::{self, View},
};
use crate::{
    quote::quote,
    status::{Latest, snapshot::AgentState},
};

/// Scripts, styles and pictures come from here and from nowhere else, none stands within a page, and no page elsewhere shows ours.
/// Nothing is kept: it is old a second later. The referrer stays within, so that a browser says where a form comes from.
const ALWAYS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
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
) -> impl ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<impl MessageBody>, Error = Error, InitError = ()>
{
    App::new()
        .app_data(Rc::new(access))
        .app_data(web::Data::new(latest))
        .wrap(from_fn(guarded))
        .route("/", look().to(whole_page))
        .route("/fragment", look().to(fragment))
        .route("/assets/{name}", look().to(asset))
        .route("/health/live", look().to(live))
        .route("/health/ready", look().to(ready))
        .route("/metrics", look().to(all_metrics))
        .route("/api/status", look().to(status))
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
    let snapshot = latest.get();
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
    shown(form, metrics::text(latest.get(), open_metrics))
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

#[derive(serde::Deserialize)]
struct Filter {
    #[serde(default)]
    filter: String,
}

impl Filter {
    fn view(&self, request: &HttpRequest) -> View<'_> {
        let access = request.app_data::<Rc<Access>>().map_or("", |access| access.said());
        View { filter: &self.filter, access, ..View::default() }
    }
}

async fn whole_page(asked: web::Query<Filter>, request: HttpRequest, latest: web::Data<Latest>) -> HttpResponse {
    shown(HTML, page::render(&latest.get(), asked.view(&request)))
}

async fn fragment(asked: web::Query<Filter>, request: HttpRequest, latest: web::Data<Latest>) -> HttpResponse {
    shown(HTML, page::fragment(&latest.get(), asked.view(&request)))
}

async fn asset(name: web::Path<String>) -> HttpResponse {
    match page::asset(&name) {
        Some(asset) => HttpResponse::Ok().content_type(asset.content_type).body(asset.body),
        None => nothing().await,
    }
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

fn text(mut answer: HttpResponseBuilder, sentence: &str) -> HttpResponse {
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
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if is_last {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Wrong guesses are answered one a second, however many there are.
async fn guessed() {
    thread_local! {
        static TURN: Rc<tokio::sync::Mutex<()>> = Rc::default();
    }
    let turn = TURN.with(Rc::clone);
    let _turn = turn.lock().await;
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
