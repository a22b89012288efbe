//! Watches the clients' file for the running server.
//!
//! Must never end a client's access because the file is unreadable for a moment.

use super::clients::ClientList;
use super::directory::State;
use super::error::StateError;
use super::usage::Usage;
use docxy_host::files::file_fingerprint::{Fingerprint, POLL_INTERVAL};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The clients, always up to date.
#[derive(Debug, Clone)]
pub struct ClientWatch {
    lists: watch::Receiver<Arc<ClientList>>,
    /// The number of polls so far.
    polls: watch::Receiver<u64>,
    poll_now: Arc<Notify>,
    path: Arc<Path>,
    /// Of the file that the latest list is from.
    last: Arc<Mutex<Option<Fingerprint>>>,
}

impl ClientWatch {
    /// Reads the file, and watches it until the last receiver is dropped. What `usage` has of a client whose name was
    /// invited again since is forgotten. Needs a running runtime.
    ///
    /// # Errors
    /// If the file cannot be read now. Later errors are logged.
    pub fn start(state: &State, usage: Usage) -> Result<Self, StateError> {
        let path = state.clients_path();
        // Before the file is read, so that a change in between is noticed.
        let last = Arc::new(Mutex::new(Fingerprint::of(std::fs::metadata(&path))));
        let clients = state.clients()?;
        usage.forget_predecessors(&clients);
        let (sender, receiver) = watch::channel(Arc::new(clients));
        let (counter, polls) = watch::channel(0);
        let poll_now = Arc::<Notify>::default();
        let path = Arc::<Path>::from(path);
        let watch = Self { lists: receiver, polls, poll_now, path, last };
        let (state, last, notified) = (state.clone(), Arc::clone(&watch.last), Arc::clone(&watch.poll_now));
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = watch_file((&state, &usage), &last, &notified, &sender, &counter) => {}
            }
        });
        Ok(watch)
    }

    /// Polls the file without waiting for the interval.
    pub fn poll_now(&self) {
        self.poll_now.notify_one();
    }

    /// The latest list. Each new one wakes the receivers.
    ///
    /// The holder of a connection should authenticate its client again with each new list: the same name may
    /// have been revoked and invited again in between.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClientList>> {
        self.lists.clone()
    }

    /// Whether the file has changed since the latest list. Looks at the file at once, without another thread, so that it
    /// takes equally long on a busy machine.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        // The file may be on a network that does not respond.
        let found = tokio::task::block_in_place(|| Fingerprint::of(std::fs::metadata(&self.path)));
        found != *self.last.lock()
    }

    /// Polls once more, and waits for that, however long it takes on a busy machine. After that, the latest list
    /// includes all changes that were made before the call.
    pub async fn next_poll(&self) {
        let mut polls = self.polls.clone();
        // The running poll may have started before the change.
        for _ in 0..2 {
            let seen = *polls.borrow();
            self.poll_now();
            // An error means that the server is ending.
            let _ = polls.wait_for(|polls| *polls > seen).await;
        }
    }
}

async fn watch_file(
    state: (&State, &Usage),
    last: &Mutex<Option<Fingerprint>>,
    poll_now: &Notify,
    sender: &watch::Sender<Arc<ClientList>>,
    polls: &watch::Sender<u64>,
) {
    let mut last_error = None;
    loop {
        // A timeout is the usual case.
        let _ = tokio::time::timeout(POLL_INTERVAL, poll_now.notified()).await;
        poll(state, last, &mut last_error, sender).await;
        polls.send_modify(|polls| *polls += 1);
    }
}

async fn poll(
    (state, usage): (&State, &Usage),
    last: &Mutex<Option<Fingerprint>>,
    last_error: &mut Option<String>,
    sender: &watch::Sender<Arc<ClientList>>,
) {
    let path = &*state.clients_path();
    let found = Fingerprint::of(tokio::fs::metadata(path).await);
    if found == *last.lock() {
        return;
    }
    match read(path).await {
        Ok(list) => {
            let before = Arc::clone(&sender.borrow());
            if list != *before {
                let (added, removed) = (list.count_not_in(&before), before.count_not_in(&list));
                tracing::info!(added, removed, "the clients have changed");
                usage.forget_replaced(&before, &list);
                sender.send_replace(Arc::new(list));
            }
            let state = state.clone();
            tokio::task::spawn_blocking(move || state.remember_clients_file());
            *last.lock() = found;
            if last_error.take().is_some() {
                tracing::info!("the clients' file can be used again");
            }
        }
        // Tried again at the next poll: a revocation must not be lost because no file descriptor was free
        // for a moment. Logged once, not twice a second.
        Err(error) => {
            let error = Some(error.to_string());
            if let Some(error) = error.as_ref().filter(|_| error != *last_error) {
                let file = path.display();
                tracing::error!(%error, %file, "the clients' file cannot be used, so the clients are unchanged: correct it, or restore it from a backup");
            }
            *last_error = error;
        }
    }
}

async fn read(path: &Path) -> Result<ClientList, Box<dyn std::error::Error + Send + Sync>> {
    Ok(ClientList::parse(&tokio::fs::read(path).await?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::link::ClientSecret;
    use jiff::Timestamp;
    use std::time::Duration;

    #[tokio::test]
    async fn a_running_server_learns_of_new_and_revoked_clients() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let mut watch = ClientWatch::start(&state, Usage::open(&state).unwrap()).unwrap().subscribe();
        assert!(watch.borrow_and_update().is_empty());
        let name = "laptop".parse().unwrap();
        let secret = ClientSecret::from_random([1; 32]);
        let now = Timestamp::UNIX_EPOCH;

        state.change_clients(|list| list.add(&name, &secret, now)).unwrap();
        changed(&mut watch).await;
        assert!(watch.borrow().authenticate(&name, &secret).is_ok());

        state.change_clients(|list| Ok(list.revoke(&name, now))).unwrap();
        changed(&mut watch).await;
        assert!(watch.borrow().authenticate(&name, &secret).is_err());
    }

    #[tokio::test]
    async fn an_added_client_is_known_after_the_next_poll() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let watch = ClientWatch::start(&state, Usage::open(&state).unwrap()).unwrap();
        let (name, secret) = ("laptop".parse().unwrap(), ClientSecret::from_random([1; 32]));
        state.change_clients(|list| list.add(&name, &secret, Timestamp::UNIX_EPOCH)).unwrap();
        watch.next_poll().await;
        assert!(watch.subscribe().borrow().authenticate(&name, &secret).is_ok());
    }

    #[tokio::test]
    async fn a_broken_file_disconnects_no_client() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let name = "laptop".parse().unwrap();
        let secret = ClientSecret::from_random([1; 32]);
        let now = Timestamp::UNIX_EPOCH;
        state.change_clients(|list| list.add(&name, &secret, now)).unwrap();
        let good = std::fs::read(state.clients_path()).unwrap();
        let clients = ClientWatch::start(&state, Usage::open(&state).unwrap()).unwrap();
        let mut watch = clients.subscribe();

        for broken in ["oops", "", "# 2 clients\n"] {
            std::fs::write(state.clients_path(), broken).unwrap();
            clients.next_poll().await;
        }
        std::fs::remove_file(state.clients_path()).unwrap();
        clients.next_poll().await;
        assert!(!watch.has_changed().unwrap());
        assert!(watch.borrow().authenticate(&name, &secret).is_ok());

        // Restored, it says what it said before, and changes count again.
        std::fs::write(state.clients_path(), good).unwrap();
        clients.next_poll().await;
        assert!(!watch.has_changed().unwrap());
        state.change_clients(|list| Ok(list.revoke(&name, now))).unwrap();
        changed(&mut watch).await;
        assert!(watch.borrow().authenticate(&name, &secret).is_err());
    }

    async fn changed(watch: &mut watch::Receiver<Arc<ClientList>>) {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, watch.changed()).await.unwrap().unwrap();
    }
}
