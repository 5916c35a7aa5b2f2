//! Connections: accepted up to a limit, framed, and served by one router.
//!
//! A request's target may be longer than the HTTP library can hold; the original is then in the
//! request's extensions as a [`Target`]. The peer's address is there as a [`Peer`]. What always holds:
//! every request that is answered at all is answered by the router or by `edge::refuse`, also one
//! whose head is malformed, whose handler panics, or that takes too long.

mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri, header};
use axum::response::Response;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use twoticks_wire::code::Code;
use twoticks_wire::head::{Original, Targets};

use self::stream::Framed;
use crate::api_error::ApiError;
use crate::app::App;
use crate::edge;

/// The request target as it was received, where the request's own is another.
#[derive(Clone, Debug)]
pub(crate) struct Target(pub(crate) Arc<str>);

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How long to wait when no connection can be accepted, for instance because there are too many
/// open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request goes whose target is no path; there is no such route.
const NO_PATH: &str = "/~no-path";

/// Accepts connections until `stop`. Those that are open then answer the request they are at and
/// are closed; they run as tasks of the app.
pub(crate) async fn accept(
    app: &Arc<App>,
    router: &Router,
    listener: &TcpListener,
    stop: &CancellationToken,
) {
    let places = usize::try_from(app.settings.limits.connections_max).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (app, router) = (Arc::clone(app), router.clone());
                let tasks = app.tasks.clone();
                tasks.spawn(|stop| async move {
                    serve(&app, router, stream, peer, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::error!(http.cause = %error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(
    app: &Arc<App>,
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let _open = app.telemetry.connection();
    // An answer is one small write; waiting for more would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(http.cause = %error, "cannot set nodelay");
    }
    let mut token = [0; 16];
    getrandom::fill(&mut token).expect("the operating system gives random bytes");
    let framed = Framed::new(stream, token);
    let targets = framed.targets();
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, router, targets) = (Arc::clone(app), router.clone(), targets.clone());
        async move { Ok::<_, Infallible>(answer(&app, router, &targets, peer, request).await) }
    });
    let head_seconds = u64::from(app.settings.limits.head_seconds_max);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(head_seconds))
        .half_close(true)
        .serve_connection(TokioIo::new(framed), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A caller that goes away is not our failure.
        tracing::debug!(http.cause = %error, "a connection ended early");
    }
}

/// Answers one request: whatever happens, with a response.
async fn answer(
    app: &Arc<App>,
    router: Router,
    targets: &Targets,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response {
    // The bytes of the header are shared, not copied: hardly any request is refused here.
    let host = request.headers().get(header::HOST).cloned();
    let refused = |error: ApiError| {
        let host = host.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes()));
        edge::refuse_unrouted(app, &host.unwrap_or_default(), &error)
    };
    let mut request = request.map(Body::new);
    // A marker is a path, and what is no path is nobody's.
    match targets.take(request.uri().path()) {
        Some(Original::Refused(why)) => return refused(why.refusal().into()),
        Some(Original::Target(target)) => {
            *request.uri_mut() = routable(&target);
            request.extensions_mut().insert(Target(target.into()));
        }
        None => {}
    }
    request.extensions_mut().insert(Peer(peer));
    let patience = Duration::from_secs(u64::from(app.settings.limits.request_seconds_max));
    let routed = AssertUnwindSafe(router.oneshot(request)).catch_unwind();
    match tokio::time::timeout(patience, routed).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(_)) => {
            // The hook has logged where; a caller learns nothing but that it failed.
            app.telemetry.panicked();
            refused(ApiError::caused(Code::InternalError, "the request panicked"))
        }
        Err(_) => {
            app.telemetry.timed_out();
            refused(ApiError::caused(Code::ServiceUnavailable, "the request took too long"))
        }
    }
}

/// What the router is to see of a target that the HTTP library did not hold: all of it if that
/// fits, else its path.
fn routable(target: &str) -> Uri {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    [target, path]
        .into_iter()
        .filter_map(|text| text.parse::<Uri>().ok())
        .find(|uri| uri.path().starts_with('/'))
        .unwrap_or_else(|| Uri::from_static(NO_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_fits_is_routed_whole_and_any_other_by_its_path() {
        let long = format!("/?A={}", "x".repeat(100_000));
        let long_path = format!("/{}", "x".repeat(100_000));
        for (target, path, query) in [
            ("/ui/?a=%22", "/ui/", Some("a=%22")),
            (long.as_str(), "/", None),
            ("http://127.0.0.1:8080/?A=1", "/", Some("A=1")),
            (long_path.as_str(), NO_PATH, None),
            ("*", NO_PATH, None),
            ("", NO_PATH, None),
        ] {
            let uri = routable(target);
            assert_eq!((uri.path(), uri.query()), (path, query), "{:.40}", target);
        }
    }
}
