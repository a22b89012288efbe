//! A scripted registry that keeps what was requested from it.

use std::sync::{Arc, Mutex};

use futures_util::future::{FutureExt as _, pending, ready};

use crate::support::scripted_registry::{RegistryRequest, ScriptedRegistry, reply};

/// The registry with the `METHOD PATH` of each request to it, except `/v2/`.
pub(super) struct Recorded {
    pub(super) registry: ScriptedRegistry,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorded {
    /// `respond` returns the bytes of the response, or `None` for a registry that never responds. `/v2/` is 200.
    pub(super) async fn new<R: Into<Option<Vec<u8>>>>(
        respond: impl Fn(&RegistryRequest) -> R + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&requests);
        let respond = move |request: RegistryRequest| {
            let response = if request.path == "/v2/" {
                Some(reply("200 OK", "Content-Length: 2\r\n", "{}"))
            } else {
                kept.lock().unwrap().push(format!("{} {}", request.method, request.path));
                respond(&request).into()
            };
            response.map_or_else(|| pending().boxed(), |bytes| ready(bytes).boxed())
        };
        Self { registry: ScriptedRegistry::serving("", |_| {}, respond).await, requests }
    }

    /// What was requested since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}
