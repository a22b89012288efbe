//! The log of all requests to a stand-in, in order, with all header fields. A request is added when it arrives and
//! completed when the response starts, so that a test can wait for either.
//! Must never change a response.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use url::form_urlencoded;

use crate::steering::site::Site;

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// Counts up from 0.
    pub id: usize,
    /// The host that received it.
    pub site: Site,
    /// The client's address; requests on one connection have the same peer.
    pub peer: SocketAddr,
    /// The method.
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// The query, as sent, without the question mark.
    pub query: String,
    /// All header fields in order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, if it is a form.
    pub form: Option<String>,
    /// The status of the response; `None` until there is one.
    pub status: Option<u16>,
}

impl LoggedRequest {
    /// The first header field with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_lines(name).next()
    }

    /// All header fields with this name.
    pub fn header_lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `Basic` or `Bearer`, if the request carried credentials.
    pub fn authorization_scheme(&self) -> Option<&str> {
        self.header("authorization")?.split(' ').next()
    }

    /// All values of a query parameter.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        values(&self.query, name)
    }

    /// All values of a form field.
    pub fn form_values(&self, name: &str) -> Vec<String> {
        values(self.form.as_deref().unwrap_or_default(), name)
    }

    /// The method and the path: `GET /v2/…`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// No matching request arrived in time.
#[derive(Debug, thiserror::Error)]
#[error("no matching request within {within:?}; requests: {requests:#?}")]
pub struct RequestWaitError {
    /// How long it waited.
    pub within: Duration,
    /// The requests that arrived.
    pub requests: Vec<String>,
}

/// The list of requests.
pub struct RequestLog {
    entries: watch::Sender<Vec<LoggedRequest>>,
    /// Continues after the log is cleared.
    next_id: AtomicUsize,
    /// The addresses of all connections, those without a request included. They stay when the log is cleared.
    peers: Mutex<BTreeSet<SocketAddr>>,
}

impl RequestLog {
    pub(crate) fn new() -> Self {
        Self {
            entries: watch::Sender::new(Vec::new()),
            next_id: AtomicUsize::new(0),
            peers: Mutex::default(),
        }
    }

    pub(crate) fn record_peer(&self, peer: SocketAddr) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
    }

    /// The addresses from which connections were opened so far, also connections that no request used yet.
    pub fn peers(&self) -> BTreeSet<SocketAddr> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All requests so far.
    pub fn snapshot(&self) -> Vec<LoggedRequest> {
        self.entries.borrow().clone()
    }

    /// The requests to one host so far.
    pub fn of(&self, site: Site) -> Vec<LoggedRequest> {
        self.entries.borrow().iter().filter(|entry| entry.site == site).cloned().collect()
    }

    /// The number of matching requests so far.
    pub fn count(&self, matches: impl Fn(&LoggedRequest) -> bool) -> usize {
        self.entries.borrow().iter().filter(|entry| matches(entry)).count()
    }

    /// Deletes all requests, including those without a response yet.
    pub fn clear(&self) {
        self.entries.send_modify(Vec::clear);
    }

    /// The first matching request, whether it has arrived or arrives in time.
    pub async fn wait_for(
        &self,
        matches: impl Fn(&LoggedRequest) -> bool,
        within: Duration,
    ) -> Result<LoggedRequest, RequestWaitError> {
        let mut watch = self.entries.subscribe();
        let found =
            tokio::time::timeout(within, watch.wait_for(|entries| entries.iter().any(&matches))).await;
        let found = found.ok().and_then(Result::ok);
        found.and_then(|entries| entries.iter().find(|entry| matches(entry)).cloned()).ok_or_else(|| {
            RequestWaitError { within, requests: self.snapshot().iter().map(LoggedRequest::line).collect() }
        })
    }

    pub(crate) fn record_request<B>(&self, site: Site, peer: SocketAddr, request: &Request<B>) -> usize {
        let headers = request.headers().iter();
        let headers = headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let entry = LoggedRequest {
            id,
            site,
            peer,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers,
            form: None,
            status: None,
        };
        self.entries.send_modify(|entries| entries.push(entry));
        id
    }

    pub(crate) fn record_form(&self, id: usize, form: &str) {
        self.complete(id, |entry| entry.form = Some(form.to_owned()));
    }

    pub(crate) fn record_status(&self, id: usize, status: StatusCode) {
        self.complete(id, |entry| entry.status = Some(status.as_u16()));
    }

    fn complete(&self, id: usize, change: impl FnOnce(&mut LoggedRequest)) {
        self.entries.send_modify(|entries| {
            if let Some(entry) = entries.iter_mut().rfind(|entry| entry.id == id) {
                change(entry);
            }
        });
    }
}

fn values(encoded: &str, name: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(encoded.as_bytes());
    pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
}
