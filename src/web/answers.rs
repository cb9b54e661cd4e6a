//! What can be asked for, what answers, and what every answer has with it.

use std::{rc::Rc, time::Duration};

use actix_http::{ConnectionType, Request};
use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::{
    App, Error, HttpResponse, HttpResponseBuilder, Route,
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
};
use crate::quote::quote;

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
) -> impl ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<impl MessageBody>, Error = Error, InitError = ()>
{
    App::new()
        .app_data(Rc::new(access))
        .wrap(from_fn(guarded))
        .route("/health/live", look().to(live))
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
